"""A bundle checked again from its files alone: no supernet, no data, no torch."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from safetensors.numpy import load

from nas.core.errors import ExportError, InputError
from nas.core.files import sha256
from nas.export.manifest import (
    ARCH,
    HASHED,
    MANIFEST,
    ONNX,
    REFERENCE,
    WEIGHTS,
    Manifest,
    read_manifest,
)
from nas.export.parity import compare, open_session, run


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, whether it passed, and what was found."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All checks of a bundle, in the order in which they were made."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)


def verify_bundle(folder: Path) -> VerifyReport:
    """Repeats the checks of a bundle.

    A damaged file is named and not opened: the checks of contents are made only where all files
    are those that the manifest lists, and a damaged manifest is the only check there is.

    Raises:
        InputError: There is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"bundle folder {folder} does not exist; give the folder that holds "
                         f"{MANIFEST}")
    manifest, check = _read_manifest(folder)
    if manifest is None:
        return VerifyReport((check,))
    files: dict[str, bytes] = {}
    checks = [check, _check_names(folder), *_check_files(folder, manifest, files)]
    if all(check.ok for check in checks):
        checks += [_guarded(name, test, manifest, files) for name, test in _CONTENTS.items()]
    return VerifyReport(tuple(checks))


def _read_manifest(folder: Path) -> tuple[Manifest | None, Check]:
    try:
        manifest = read_manifest((folder / MANIFEST).read_bytes())
        if set(manifest.files) != set(HASHED):
            raise ExportError(f"it lists {', '.join(manifest.files)}, not {', '.join(HASHED)}")
    except OSError as error:
        return None, Check(MANIFEST, False, f"cannot be read: {error.strerror}")
    except ExportError as error:
        return None, Check(MANIFEST, False, str(error))
    return manifest, Check(MANIFEST, True, f"network {manifest.arch_digest} of "
                                           f"{manifest.space_id}, own hash agrees")


def _check_names(folder: Path) -> Check:
    found = {path.name for path in folder.iterdir()}
    wanted = {MANIFEST, *HASHED}
    parts = [f"missing: {name}" for name in sorted(wanted - found)]
    parts += [f"not of the bundle: {name}" for name in sorted(found - wanted)]
    return Check("files", not parts, "; ".join(parts) or f"{len(wanted)} files")


def _check_files(folder: Path, manifest: Manifest, files: dict[str, bytes]) -> Iterator[Check]:
    for name in HASHED:
        entry = manifest.files[name]
        try:
            files[name] = data = (folder / name).read_bytes()
        except OSError as error:
            yield Check(f"{name} hash", False, f"cannot be read: {error.strerror}")
            continue
        if len(data) != entry.size:
            yield Check(f"{name} hash", False, f"{len(data)} bytes where the manifest says "
                                               f"{entry.size}")
        elif sha256(data) != entry.sha256:
            yield Check(f"{name} hash", False, f"SHA-256 {sha256(data)[:12]}… where the manifest "
                                               f"says {entry.sha256[:12]}…")
        else:
            yield Check(f"{name} hash", True, f"SHA-256 {entry.sha256[:12]}…, {entry.size} bytes")


def _check_arch(manifest: Manifest, files: Mapping[str, bytes]) -> str:
    digest = sha256(files[ARCH])[:12]
    if digest != manifest.arch_digest:
        raise ExportError(f"digest {digest} where the manifest says {manifest.arch_digest}")
    if json.loads(files[ARCH])["space"] != manifest.space_id:
        raise ExportError(f"of another space than {manifest.space_id}")
    return f"digest {digest}"


def _check_onnx(manifest: Manifest, files: Mapping[str, bytes]) -> str:
    model = onnx.load_model_from_string(files[ONNX])
    onnx.checker.check_model(model, full_check=True)
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    missing = set(manifest.onnx.metadata_keys) - set(metadata)
    if missing:
        raise ExportError(f"metadata lacks {', '.join(sorted(missing))}")
    if metadata.get("nas:digest") != manifest.arch_digest:
        raise ExportError("metadata names another network than the manifest")
    return f"opset {manifest.onnx.opset}, metadata {', '.join(manifest.onnx.metadata_keys)}"


def _check_parity(batch: int) -> Callable[[Manifest, Mapping[str, bytes]], str]:
    def check(manifest: Manifest, files: Mapping[str, bytes]) -> str:
        del manifest
        reference = load(files[REFERENCE])
        found = run(open_session(files[ONNX]), reference["inputs"], batch=batch)
        parity = compare(reference["logits"], found)
        if not parity.ok:
            raise ExportError(str(parity))
        return str(parity)

    return check


def _check_weights(manifest: Manifest, files: Mapping[str, bytes]) -> str:
    state = load(files[WEIGHTS])
    missing = set(manifest.buffers) - set(state)
    if missing:
        raise ExportError(f"lacks {', '.join(sorted(missing))}")
    count = sum(tensor.size for name, tensor in state.items() if name not in manifest.buffers)
    if count != manifest.costs.params:
        raise ExportError(f"{count} parameters where the manifest says {manifest.costs.params}")
    return f"{count} parameters"


_CONTENTS: Mapping[str, Callable[[Manifest, Mapping[str, bytes]], str]] = {
    f"{ARCH} digest": _check_arch,
    f"{ONNX} checker and metadata": _check_onnx,
    f"{ONNX} answers, batch 16": _check_parity(16),
    f"{ONNX} answers, batch 1": _check_parity(1),
    f"{WEIGHTS} parameters": _check_weights,
}


def _guarded(name: str, test: Callable[[Manifest, Mapping[str, bytes]], str], manifest: Manifest,
             files: Mapping[str, bytes]) -> Check:
    # The files are those that were written, so what fails here is the network or one of several
    # libraries, whose errors have no common base; the message is the finding.
    try:
        return Check(name, True, test(manifest, files))
    except Exception as error:
        return Check(name, False, next(iter(str(error).splitlines()), type(error).__name__))
