"""A bundle checked again from its files alone: no supernet, no data, no torch."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from safetensors.numpy import load

from nas.core.errors import ExportError, InputError
from nas.core.files import sha256
from nas.export import generator_entry
from nas.export.generator_check import draw_again, read_sample
from nas.export.manifest import (
    ARCH,
    EXAMPLE,
    FEATURES,
    FEATURES_REFERENCE,
    INT8,
    MANIFEST,
    ONNX,
    REFERENCE,
    WEIGHTS,
    Manifest,
    read_manifest,
)
from nas.export.parity import (
    OTHER_SIZES,
    compare,
    largest_difference,
    open_session,
    run,
    run_all,
)
from nas.export.shared_weights import inlined


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
    checks = [check, _check_names(folder, manifest), *_check_files(folder, manifest, files)]
    if all(check.ok for check in checks):
        checks += [_guarded(name, test, manifest, files)
                   for name, test in _contents(manifest).items()]
    return VerifyReport(tuple(checks))


def _read_manifest(folder: Path) -> tuple[Manifest | None, Check]:
    try:
        manifest = read_manifest((folder / MANIFEST).read_bytes())
        if set(manifest.files) != set(manifest.hashed):
            raise ExportError(f"it lists {', '.join(manifest.files)}, not "
                              f"{', '.join(manifest.hashed)}")
    except OSError as error:
        return None, Check(MANIFEST, False, f"cannot be read: {error.strerror}")
    except ExportError as error:
        return None, Check(MANIFEST, False, str(error))
    return manifest, Check(MANIFEST, True, f"network {manifest.arch_digest} of "
                                           f"{manifest.space_id}, own hash agrees")


def _check_names(folder: Path, manifest: Manifest) -> Check:
    found = {path.name for path in folder.iterdir()}
    wanted = {MANIFEST, *manifest.hashed}
    parts = [f"missing: {name}" for name in sorted(wanted - found)]
    parts += [f"not of the bundle: {name}" for name in sorted(found - wanted)]
    return Check("files", not parts, "; ".join(parts) or f"{len(wanted)} files")


def _check_files(folder: Path, manifest: Manifest, files: dict[str, bytes]) -> Iterator[Check]:
    for name in manifest.hashed:
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


def _check_onnx(name: str) -> "_Test":
    def check(manifest: Manifest, files: Mapping[str, bytes]) -> str:
        model = onnx.load_model_from_string(files[name])
        onnx.checker.check_model(model, full_check=True)
        metadata = {prop.key: prop.value for prop in model.metadata_props}
        missing = set(manifest.onnx.metadata_keys) - set(metadata) if name != FEATURES else ()
        if missing:
            raise ExportError(f"metadata lacks {', '.join(sorted(missing))}")
        if metadata.get("nas:digest") != manifest.arch_digest:
            raise ExportError("metadata names another network than the manifest")
        opset = next(entry.version for entry in model.opset_import if entry.domain == "")
        return f"opset {opset}, metadata {', '.join(sorted(metadata))}"

    return check


def _check_parity(batch: int) -> "_Test":
    def check(manifest: Manifest, files: Mapping[str, bytes]) -> str:
        del manifest
        reference = load(files[REFERENCE])
        found = run(open_session(files[ONNX]), reference["inputs"], batch=batch)
        parity = compare(reference["logits"], found)
        if not parity.ok:
            raise ExportError(str(parity))
        return str(parity)

    return check


def _check_sizes(manifest: Manifest, files: Mapping[str, bytes]) -> str:
    del manifest
    reference = load(files[REFERENCE])
    session, found = open_session(files[ONNX]), []
    for name in OTHER_SIZES:
        inputs = reference[f"inputs_{name}"]
        for batch in (len(inputs), 1):
            parity = compare(reference[f"logits_{name}"], run(session, inputs, batch=batch))
            if not parity.ok:
                raise ExportError(f"inputs {inputs.shape}, batch {batch}: {parity}")
        found.append(f"{inputs.shape[1:]}: max |Δ| {parity.max_abs_diff:.1e}")
    return ", ".join(found)


def _check_example(manifest: Manifest, files: Mapping[str, bytes]) -> str:
    assert manifest.example is not None
    compile(files[EXAMPLE], EXAMPLE, "exec")
    return f"takes {manifest.example.takes}, needs {', '.join(manifest.example.needs)}"


def _check_weights(manifest: Manifest, files: Mapping[str, bytes]) -> str:
    state = load(files[WEIGHTS])
    missing = set(manifest.buffers) - set(state)
    if missing:
        raise ExportError(f"lacks {', '.join(sorted(missing))}")
    count = sum(tensor.size for name, tensor in state.items() if name not in manifest.buffers)
    if count != manifest.costs.params:
        raise ExportError(f"{count} parameters where the manifest says {manifest.costs.params}")
    return f"{count} parameters"


def _check_int8(batch: int) -> "_Test":
    def check(manifest: Manifest, files: Mapping[str, bytes]) -> str:
        assert manifest.int8 is not None
        allowed = manifest.int8.agreement.tolerance
        reference = load(files[REFERENCE])
        found = run(open_session(files[INT8]), reference["inputs"], batch=batch)
        largest = compare(reference["logits"], found).max_abs_diff
        line = (f"{len(found)} inputs: max |Δlogit| to fp32 {largest:.2g} (allowed "
                f"{allowed:.2g})")
        if not largest <= allowed:  # NaN compares false
            raise ExportError(line)
        return line

    return check


def _check_features(batch: int) -> "_Test":
    def check(manifest: Manifest, files: Mapping[str, bytes]) -> str:
        assert manifest.features is not None
        reference = load(files[FEATURES_REFERENCE])
        inputs = load(files[REFERENCE])["inputs"][:len(next(iter(reference.values())))]
        found = run_all(open_session(files[FEATURES]), inputs, batch=batch)
        names = [output.name for output in manifest.features.outputs]
        if list(found) != names or set(reference) != set(names):
            raise ExportError(f"outputs {', '.join(found)} where the manifest says "
                              f"{', '.join(names)}")
        largest = max(largest_difference(reference[name], found[name]) for name in names)
        line = (f"{len(names)} outputs, {len(inputs)} inputs: largest difference {largest:.1e} "
                f"(allowed {manifest.features.tolerance:.0e})")
        if not largest <= manifest.features.tolerance:
            raise ExportError(line)
        return line

    return check


def _check_part(name: str) -> "_Test":
    def check(manifest: Manifest, files: Mapping[str, bytes]) -> str:
        model = inlined(files[name], files[generator_entry.WEIGHTS])
        onnx.checker.check_model(model, full_check=True)
        metadata = {prop.key: prop.value for prop in model.metadata_props}
        if metadata.get("nas:digest") != manifest.arch_digest:
            raise ExportError("metadata names another network than the manifest")
        return f"inputs {', '.join(value.name for value in model.graph.input)}"

    return check


def _check_draws(manifest: Manifest, files: Mapping[str, bytes]) -> str:
    assert manifest.generator is not None
    parts = {name: files[name] for name in (*manifest.generator.models, generator_entry.WEIGHTS)}
    return str(draw_again(parts, read_sample(files[generator_entry.REFERENCE])))


def _check_script(manifest: Manifest, files: Mapping[str, bytes]) -> str:
    assert manifest.generator is not None
    compile(files[generator_entry.SCRIPT], generator_entry.SCRIPT, "exec")
    return f"needs {', '.join(manifest.generator.needs)}"


_Test = Callable[[Manifest, Mapping[str, bytes]], str]  # what was found, or an exception


def _contents(manifest: Manifest) -> dict[str, _Test]:
    tests: dict[str, _Test] = {
        f"{ARCH} digest": _check_arch,
        f"{ONNX} checker and metadata": _check_onnx(ONNX),
        f"{ONNX} answers, batch 16": _check_parity(16),
        f"{ONNX} answers, batch 1": _check_parity(1),
        f"{WEIGHTS} parameters": _check_weights,
    }
    if manifest.parity.sizes is not None:
        tests[f"{ONNX} answers, other sizes"] = _check_sizes
    if manifest.int8 is not None:
        tests[f"{INT8} checker and metadata"] = _check_onnx(INT8)
        tests[f"{INT8} answers, batch 16"] = _check_int8(16)
        tests[f"{INT8} answers, batch 1"] = _check_int8(1)
    if manifest.features is not None:
        tests[f"{FEATURES} checker and metadata"] = _check_onnx(FEATURES)
        tests[f"{FEATURES} answers, batch 2"] = _check_features(2)
        tests[f"{FEATURES} answers, batch 1"] = _check_features(1)
    if manifest.generator is not None:
        tests |= {f"{name} checker and metadata": _check_part(name)
                  for name in manifest.generator.models}
        tests["generator draws"] = _check_draws
        tests[f"{generator_entry.SCRIPT} compiles"] = _check_script
    if manifest.example is not None:
        tests[f"{EXAMPLE} compiles"] = _check_example
    return tests


def _guarded(name: str, test: _Test, manifest: Manifest, files: Mapping[str, bytes]) -> Check:
    # The files are those that were written, so what fails here is the network or one of several
    # libraries, whose errors have no common base; the message is the finding.
    try:
        return Check(name, True, test(manifest, files))
    except Exception as error:
        return Check(name, False, next(iter(str(error).splitlines()), type(error).__name__))
