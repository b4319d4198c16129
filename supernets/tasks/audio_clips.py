"""Folders of audio files as clips that are read when they are asked for.

Legend: N clips, S samples.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np

from nas.core.errors import DataError
from nas.core.types import IntArray
from supernets.tasks.audio import SUFFIXES, Reading, read_wave
from supernets.tasks.audio_names import Fields, fields_of
from supernets.tasks.waves import Wave

MOST_UNUSABLE = 0.01  # of all files; more is an error

ProgressCallback = Callable[[int, int], None]  # files done, files in all


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipSet(Sequence[Wave]):
    """Some clips of a folder; as a sequence, their waves (S,).

    Attributes:
        root: The folder.
        files: Relative to it, (N).
        samples: That each has as it is read, (N,).
        fields: What is known of each, such as ``label`` and ``speaker``.
        reading: How they are read.
    """

    root: Path
    files: tuple[str, ...]
    samples: IntArray
    fields: Fields
    reading: Reading

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, position: int) -> Wave: ...
    @overload
    def __getitem__(self, position: slice) -> "ClipSet": ...
    def __getitem__(self, position: int | slice) -> "Wave | ClipSet":
        """Reads a clip, or returns some of them unread.

        Raises:
            DataError: It is not as it was when the folder was opened.
        """
        if isinstance(position, slice):
            return self.take(np.arange(len(self))[position])
        return read_wave(self.root / self.files[position], self.reading)

    def take(self, positions: IntArray) -> "ClipSet":
        """Returns the clips at these positions."""
        return replace(self, files=_at(self.files, positions), samples=self.samples[positions],
                       fields={name: _at(values, positions) for name, values
                               in self.fields.items()})

    def field(self, name: str) -> tuple[str, ...]:
        """Returns a field of each clip.

        Raises:
            DataError: Nothing says it.
        """
        if name not in self.fields:
            raise DataError(f"nothing says the {name} of the clips of {self.root}; give a pattern "
                            f"of their names that has {{{name}}}")
        return self.fields[name]

    def classes(self, field: str) -> tuple[str, ...]:
        """Returns the distinct values of a field, sorted; raises as `field` does."""
        return tuple(sorted(set(self.field(field))))

    def targets(self, field: str, classes: Sequence[str]) -> IntArray:
        """Returns which of the classes each clip is of, (N,).

        Raises:
            DataError: See `field`; or a value that is no class.
        """
        index = {name: number for number, name in enumerate(classes)}
        values = self.field(field)
        unknown = sorted(set(values) - set(index))
        if unknown:
            raise DataError(f"{field} {unknown[0]!r} of clips of {self.root} is none of the "
                            f"{len(classes)} classes that are learnt; leave these clips out")
        return np.array([index[value] for value in values], dtype=np.int64)

    def fingerprint(self) -> str:
        """Returns 16 hex digits that other files, an order or a way of reading would change."""
        digest = hashlib.sha256(repr(self.reading).encode())
        for file, samples in zip(self.files, self.samples, strict=True):
            size = (self.root / file).stat().st_size
            digest.update(f"{file}\t{samples}\t{size}\n".encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Unusable:
    """Files that were left out.

    Attributes:
        files: How many were looked at.
        reasons: Of each that was left out, one line that names it.
    """

    files: int
    reasons: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Returns a line for the count and one for each file."""
        if not self.reasons:
            return [f"all {self.files} files can be used"]
        return [f"{len(self.reasons)} of {self.files} files cannot be used and are left out",
                *self.reasons]


def open_clips(root: Path, pattern: str | None = None, *, reading: Reading | None = None,
               threads: int = 1, on_file: ProgressCallback | None = None
               ) -> tuple[ClipSet, Unusable]:
    """Reads every audio file below a folder once, and returns those that can be used, by name.

    Hidden files and folders are passed over.

    Args:
        root: The folder.
        pattern: Of names: see `audio_names.fields_of`.
        reading: How to read them.
        threads: That read.
        on_file: Called after each file.

    Raises:
        DataError: No folder, no files, names that are not of the pattern, or more than
            `MOST_UNUSABLE` of the files cannot be used.
        InputError: A pattern that is none, or a package that is missing.
    """
    reading = reading or Reading()
    files = _files(root)
    fields = fields_of(files, pattern)

    def samples_of(file: str) -> int | DataError:
        try:
            return len(read_wave(root / file, reading))
        except DataError as error:
            return error

    found: list[int | DataError] = []
    with ThreadPoolExecutor(threads) as pool:
        for result in pool.map(samples_of, files):
            found.append(result)
            if on_file is not None:
                on_file(len(found), len(files))
    reasons = tuple(str(result) for result in found if isinstance(result, DataError))
    if len(reasons) > MOST_UNUSABLE * len(files):
        raise DataError(f"{len(reasons)} of {len(files)} files of {root} cannot be used, more than "
                        f"{MOST_UNUSABLE:.0%}; the first: {reasons[0]}")
    kept = np.flatnonzero([isinstance(result, int) for result in found])
    clips = ClipSet(root=root, files=tuple(files), fields=fields, reading=reading,
                    samples=np.array([result if isinstance(result, int) else 0
                                      for result in found], dtype=np.int64))
    return clips.take(kept), Unusable(len(files), reasons)


def _files(root: Path) -> list[str]:
    if not root.is_dir():
        raise DataError(f"{root} is no folder; give one of audio files")
    paths = (path.relative_to(root) for path in root.rglob("*")
             if path.suffix.lower() in SUFFIXES and path.is_file())
    files = sorted(path.as_posix() for path in paths
                   if not any(part.startswith(".") for part in path.parts))
    if not files:
        raise DataError(f"{root} holds no audio files ({', '.join(SUFFIXES)}); give a folder that "
                        "does")
    return files


def _at(values: tuple[str, ...], positions: IntArray) -> tuple[str, ...]:
    return tuple(values[position] for position in positions)
