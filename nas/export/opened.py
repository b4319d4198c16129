"""A bundle that files are added to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.core.errors import ExportError, InputError
from nas.core.files import os_error_line, replace_file, sha256
from nas.export.bundle import file_entry
from nas.export.generator_entry import GeneratorEntry
from nas.export.manifest import (
    HASHED,
    MANIFEST,
    ExampleEntry,
    FeaturesEntry,
    Int8Entry,
    Manifest,
    read_manifest,
)

_FIELDS: Mapping[type, str] = {Int8Entry: "int8", FeaturesEntry: "features",
                               ExampleEntry: "example",
                               GeneratorEntry: "generator"}  # of the manifest


@dataclass(frozen=True, slots=True)
class OpenedBundle:
    """A bundle whose files, those that every one has, are as they were written.

    Attributes:
        folder: Where it is.
        manifest: What it says.
        files: Name → contents.
    """

    folder: Path
    manifest: Manifest
    files: Mapping[str, bytes]

    def add(self, files: Mapping[str, bytes],
            entry: Int8Entry | FeaturesEntry | ExampleEntry | GeneratorEntry) -> Manifest:
        """Writes files into the folder, in place of older ones, and then the manifest.

        What is killed in between is put right by the same call again.

        Args:
            files: Name → contents; all that the entry stands for.
            entry: What the manifest is to say of them.

        Raises:
            ExportError: A file cannot be written.
        """
        field = _FIELDS[type(entry)]
        entries = {**self.manifest.files,
                   **{name: file_entry(data) for name, data in files.items()}}
        manifest = self.manifest.model_copy(update={field: entry, "files": entries})
        try:
            for name, data in files.items():
                replace_file(self.folder / name, data)
            replace_file(self.folder / MANIFEST, manifest.to_text().encode())
        except OSError as error:
            raise ExportError(f"bundle {self.folder} cannot be written ({os_error_line(error)}); "
                              "remedy that, then export again") from None
        return manifest


def open_bundle(folder: Path) -> OpenedBundle:
    """Reads a bundle.

    Raises:
        InputError: There is none.
        ExportError: A file that every bundle has is damaged.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise InputError(f"{folder} is no bundle: its {MANIFEST} cannot be read "
                         f"({error.strerror})") from None
    try:
        manifest = read_manifest(text)
        files = {name: _intact(folder, name, manifest) for name in HASHED}
    except ExportError as error:
        raise ExportError(f"bundle {folder} is damaged ({error}); `nas verify {folder}` says "
                          "more; export it again") from None
    return OpenedBundle(folder, manifest, files)


def _intact(folder: Path, name: str, manifest: Manifest) -> bytes:
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise ExportError(f"{name} cannot be read: {error.strerror}") from None
    if name not in manifest.files or sha256(data) != manifest.files[name].sha256:
        raise ExportError(f"{name} is not what {MANIFEST} lists")
    return data
