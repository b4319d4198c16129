import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from nas.core.errors import InputError
from nas.core.files import sha256
from nas.export.manifest import FileEntry, read_manifest
from nas.export.verify import verify_bundle

FILES = ("arch.json", "model.onnx", "model.safetensors", "manifest.json", "reference.safetensors")


def failures(folder):
    report = verify_bundle(folder)
    assert report.ok == all(check.ok for check in report.checks)
    return {check.name: check.detail for check in report.checks if not check.ok}


def reseal(folder, **changes):
    """Writes a manifest whose hashes are those of the files, as a forger would."""
    manifest = read_manifest((folder / "manifest.json").read_bytes())
    files = {name: FileEntry(sha256=sha256(data), size=len(data)) for name in manifest.files
             for data in [(folder / name).read_bytes()]}
    text = manifest.model_copy(update={"files": files, **changes}).to_text()
    (folder / "manifest.json").write_text(text)


def test_an_intact_bundle_passes_every_check(bundle):
    report = verify_bundle(bundle)
    assert report.ok, report
    assert [check.name for check in report.checks] == [
        "manifest.json", "files", "arch.json hash", "model.onnx hash", "model.safetensors hash",
        "reference.safetensors hash", "arch.json digest", "model.onnx checker and metadata",
        "model.onnx answers, batch 16", "model.onnx answers, batch 1",
        "model.safetensors parameters"]


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_is_found_and_its_file_named(bundle, name):
    path = bundle / name
    intact = path.read_bytes()
    rng = np.random.default_rng(len(intact))
    for offset in [0, len(intact) - 1, *rng.integers(0, len(intact), 60).tolist()]:
        damaged = bytearray(intact)
        damaged[offset] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        found = failures(bundle)
        assert len(found) == 1, offset
        assert next(iter(found)).startswith(name), (offset, found)
    path.write_bytes(intact)
    assert not failures(bundle)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 0.5, -1])
def test_a_truncated_file_is_named(bundle, name, keep):
    data = (bundle / name).read_bytes()
    (bundle / name).write_bytes(data[:int(len(data) * keep) if keep >= 0 else -1])
    (found,) = failures(bundle)
    assert found.startswith(name)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    found = failures(bundle)
    assert any(name in check or name in detail for check, detail in found.items())
    (bundle / name).mkdir()
    assert any(check.startswith(name) for check in failures(bundle))


def test_a_file_too_many_is_named(bundle):
    (bundle / "notes.txt").touch()
    assert failures(bundle) == {"files": "not of the bundle: notes.txt"}


def test_a_missing_folder_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        verify_bundle(tmp_path / "nowhere")
    assert "manifest.json" in failures(tmp_path)


@pytest.mark.parametrize("text", [
    b"", b"{", b"[]", b"null", b'{"schema_version": 2}', b"\xff\xfe", b'"\\ud800"', b"1e999",
    b'{"schema_version": 1, "files": 3}'])
def test_what_is_no_manifest_is_one_line(bundle, text):
    (bundle / "manifest.json").write_bytes(text)
    (detail,) = failures(bundle).values()
    assert detail
    assert "\n" not in detail


def test_a_manifest_changed_by_hand_is_found(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["metrics"]["error"] = 0.0
    (bundle / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    assert failures(bundle) == {"manifest.json": "its text differs from its own hash"}


def test_resealed_weights_of_another_network_are_found(bundle):
    model = onnx.load(bundle / "model.onnx")
    tensor = max(model.graph.initializer, key=lambda item: len(item.raw_data))
    values = np.frombuffer(tensor.raw_data, np.float32) * np.float32(1.05)
    tensor.raw_data = values.tobytes()
    onnx.save(model, bundle / "model.onnx")
    reseal(bundle)
    found = failures(bundle)
    assert set(found) == {"model.onnx answers, batch 16", "model.onnx answers, batch 1"}
    assert "max |Δlogit|" in found["model.onnx answers, batch 1"]


def test_resealed_files_that_contradict_the_manifest_are_found(bundle):
    state = load_file(bundle / "model.safetensors")
    del state["classifier.bias"]
    save_file(state, bundle / "model.safetensors")
    model = onnx.load(bundle / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, bundle / "model.onnx")
    reseal(bundle, arch_digest="0" * 12)
    found = failures(bundle)
    assert set(found) == {"arch.json digest", "model.onnx checker and metadata",
                          "model.safetensors parameters"}
    assert "labels" in found["model.onnx checker and metadata"]


def test_resealed_rubbish_is_a_finding_not_a_crash(bundle):
    for name in ("arch.json", "model.onnx", "model.safetensors", "reference.safetensors"):
        (bundle / name).write_bytes(b"rubbish")
    reseal(bundle)
    found = failures(bundle)
    assert len(found) == 5
    assert all(detail and "\n" not in detail for detail in found.values())


def test_verifying_needs_neither_torch_nor_timm(bundle):
    code = ("import sys; from pathlib import Path; from nas.export.verify import verify_bundle; "
            "assert verify_bundle(Path(sys.argv[1])).ok; "
            "assert not {'torch', 'timm', 'torchvision', 'supernets'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code, str(bundle)], check=True)
