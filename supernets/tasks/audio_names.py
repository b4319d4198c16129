"""What the names of audio files say of them: labels, speakers."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from nas.core.errors import DataError, InputError

Fields = Mapping[str, tuple[str, ...]]  # by name, the value of each file


def fields_of(files: Sequence[str], pattern: str | None = None) -> Fields:
    """Returns what names say.

    Args:
        files: Paths relative to the data folder, with slashes.
        pattern: Such as ``{label}_{speaker}_{index}.wav`` of a file's name, or, with a slash, of
            its path: ``{label}/{speaker}_nohash_{index}.wav``. A field has no slash, and is as
            short as it can be, the left ones first. Without a suffix, any is right. None: files in
            sub-folders have the field ``label``, the first folder's name; others have no field.

    Raises:
        InputError: A pattern without fields, or whose fields cannot be told apart.
        DataError: A file whose name is not of the pattern; or some lie in sub-folders and some not.
    """
    if pattern is None:
        return _folders(files)
    names, expression = _parsed(pattern)
    found: dict[str, list[str]] = {name: [] for name in names}
    wrong = []
    for file in files:
        subject = file if "/" in pattern else PurePosixPath(file).name
        if not PurePosixPath(pattern).suffix:
            subject = str(PurePosixPath(subject).with_suffix(""))
        match = expression.fullmatch(subject)
        if match is None:
            wrong.append(file)
            continue
        for name in names:
            found[name].append(match[name])
    if wrong:
        raise DataError(f"{len(wrong)} of {len(files)} files are not named as {pattern}, the first "
                        f"{wrong[0]}; rename them or give another pattern")
    return {name: tuple(values) for name, values in found.items()}


def _folders(files: Sequence[str]) -> Fields:
    loose = [file for file in files if "/" not in file]
    if loose and len(loose) < len(files):
        raise DataError(f"{loose[0]} lies in no sub-folder, and others do; move it into one, or "
                        "give a pattern of the names")
    return {} if loose else {"label": tuple(file.partition("/")[0] for file in files)}


def _parsed(pattern: str) -> tuple[list[str], re.Pattern[str]]:
    parts = re.split(r"\{([a-z]\w*)\}", pattern)  # literal, field, literal, …
    names, between = parts[1::2], parts[2:-1:2]
    if not names or len(set(names)) != len(names) or "" in between:
        raise InputError(f"name pattern {pattern!r} must have fields such as {{label}}, each once, "
                         "with something between them")
    return names, re.compile("".join(
        f"(?P<{part}>[^/]+?)" if place % 2 else re.escape(part)
        for place, part in enumerate(parts)))
