"""`nas export` with --precision int8 and --features: what is in the bundle, and what is refused."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from cli.main import main
from nas.core.arch import Arch, make_arch
from nas.core.errors import DataError, ExportError, InputError
from nas.core.files import sha256
from nas.export.bundle import write_bundle
from nas.export.features import Features
from nas.export.manifest import FileEntry, read_manifest
from nas.export.opened import open_bundle
from nas.export.parity import open_session, run, run_all
from nas.export.verify import verify_bundle
from nas.pipeline.calibration import calibration_inputs
from nas.pipeline.compose import load_supernet
from nas.pipeline.config import make_config
from nas.pipeline.events import silent
from nas.pipeline.export import Extras, export_subnet
from nas.pipeline.int8 import quantise
from nas.pipeline.search import SearchResult
from supernets.tasks.image_classification import ImageClassification

pytestmark = pytest.mark.usefixtures("profile_cache")


@pytest.fixture(scope="module")
def full(finished: SearchResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose winner has every file there is; not to be changed."""
    folder = shutil.copytree(finished.run_dir, tmp_path_factory.mktemp("full") / "run")
    export_subnet(folder, extras=Extras(int8=True, features=True))
    return folder


@pytest.fixture
def copy(full: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(full, tmp_path / "run"))


def manifest_of(bundle: Path) -> dict[str, Any]:
    return dict(json.loads((bundle / "manifest.json").read_text()))


def answers(path: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return run(open_session(path.read_bytes()), x, batch=len(x))


def reseal(folder: Path, **changes: Any) -> None:
    """Writes a manifest whose hashes are those of the files, as a forger would."""
    manifest = read_manifest((folder / "manifest.json").read_bytes())
    files = {name: FileEntry(sha256=sha256(data), size=len(data)) for name in manifest.files
             for data in [(folder / name).read_bytes()]}
    text = manifest.model_copy(update={"files": files, **changes}).to_text()
    (folder / "manifest.json").write_text(text)


def failed(folder: Path) -> list[str]:
    return [check.name for check in verify_bundle(folder).checks if not check.ok]


# int8 ----------------------------------------------------------------------------------------


def test_both_files_are_tested_and_measured(full: Path, finished: SearchResult) -> None:
    bundle = full / "best"
    assert failed(bundle) == []
    entry = manifest_of(bundle)["int8"]
    task = load_supernet(finished.payload["supernet"]).task
    batches = [(x.numpy(), y.numpy()) for x, y in task.batches("test")]
    for name in ("model.onnx", "model_int8.onnx"):
        wrong = sum(int((answers(bundle / name, x).argmax(1) != y).sum()) for x, y in batches)
        assert entry["test"][name]["error"] == pytest.approx(100 * wrong / 48)
        assert entry["latency_ms"][name] > 0
    assert entry["calibration"] == "64 inputs of the supernet's train_calib"
    assert entry["operators"]["QLinearConv"] > 3
    x = np.concatenate([x for x, _ in batches])
    logits = [answers(bundle / name, x) for name in ("model.onnx", "model_int8.onnx")]
    difference = np.abs(logits[0] - logits[1]).max()
    assert 0 < difference == pytest.approx(entry["agreement"]["max_abs_diff"], rel=1e-4)
    assert difference < 0.25 * np.abs(logits[0]).max()


def test_the_int8_file_says_of_itself_what_the_fp32_file_says(full: Path) -> None:
    def metadata(name: str) -> dict[str, str]:
        return {prop.key: prop.value for prop in onnx.load(full / "best" / name).metadata_props}

    assert metadata("model_int8.onnx") == metadata("model.onnx")


def test_the_same_again_gives_the_same_file(copy: Path, full: Path) -> None:
    export_subnet(copy, extras=Extras(int8=True))
    names = ("model_int8.onnx", "features.onnx", "model.onnx")
    for name in names:
        assert (copy / "best" / name).read_bytes() == (full / "best" / name).read_bytes()
    assert failed(copy / "best") == []


def test_a_tampered_int8_file_fails(copy: Path) -> None:
    bundle, path = copy / "best", copy / "best" / "model_int8.onnx"
    intact = path.read_bytes()
    path.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    assert failed(bundle) == ["model_int8.onnx hash"]
    path.unlink()
    assert failed(bundle) == ["files", "model_int8.onnx hash"]
    model = onnx.load_model_from_string(intact)
    for scale in model.graph.initializer:
        if "weight" in scale.name and scale.name.endswith("scale"):
            values = onnx.numpy_helper.to_array(scale)
            scale.CopyFrom(onnx.numpy_helper.from_array(np.asarray(-3 * values), scale.name))
    path.write_bytes(model.SerializeToString())
    reseal(bundle)
    assert "model_int8.onnx answers, batch 16" in failed(bundle)
    path.write_bytes((bundle / "features.onnx").read_bytes())
    reseal(bundle)
    assert "model_int8.onnx answers, batch 1" in failed(bundle)


def test_a_file_that_the_manifest_does_not_know_is_of_no_bundle(copy: Path) -> None:
    reseal(copy / "best", int8=None)
    assert failed(copy / "best") == ["manifest.json"]


def test_a_damaged_bundle_is_not_quantised(copy: Path) -> None:
    path = copy / "best" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ExportError, match=r"is damaged \(model.onnx is not what manifest.json"):
        export_subnet(copy, extras=Extras(int8=True))


def test_a_half_written_int8_file_is_put_right(copy: Path) -> None:
    (copy / "best" / "model_int8.onnx").write_bytes(b"of a kill between both files")
    assert failed(copy / "best") == ["model_int8.onnx hash"]
    export_subnet(copy, extras=Extras(int8=True))
    assert failed(copy / "best") == []


class Cosine(nn.Module):
    """Nothing in it has an integer form."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cos(x)


class ThreeNumbers:
    """A task whose every split is the same."""

    def example_inputs(self, batch: int, rng: np.random.Generator) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal((batch, 3), np.float32))

    def batches(self, split: str) -> Any:
        del split
        yield self.example_inputs(16, np.random.default_rng(0)), torch.zeros(16)

    def onnx_metadata(self) -> dict[str, str]:
        return {}


def test_a_network_that_cannot_be_quantised_is_named_in_one_line(tmp_path: Path) -> None:
    task: Any = ThreeNumbers()
    write_bundle(tmp_path / "best", arch=Arch("tiny/1", ()), module=Cosine(), task=task,
                 metrics={}, costs={"params": 0, "macs": 0, "activation_bytes": 24},
                 provenance={})
    with pytest.raises(ExportError, match=r"integer form of none of Cos; the fp32") as caught:
        quantise(open_bundle(tmp_path / "best"), task, make_config({}), calibration=None,
                 watch=silent)
    assert "\n" not in str(caught.value)
    assert failed(tmp_path / "best") == []


def test_only_calibration_images_are_calibrated_with(tiny_task: ImageClassification) -> None:
    class Watched(ImageClassification):
        def batches(self, split: str) -> Any:
            seen.append(split)
            return super().batches(split)

    seen: list[str] = []
    task = Watched(**{name: getattr(tiny_task, name) for name in
                      ("labels", "input_shape", "mean", "std", "splits", "batch_size")})
    found = calibration_inputs(task, None)
    assert seen == ["train_calib"]
    assert found.inputs.shape == (64, 1, 16, 16)
    expected = np.concatenate([x.numpy() for x, _ in tiny_task.batches("train_calib")])
    assert np.array_equal(found.inputs, expected)


def test_images_of_ones_own(tiny_task: ImageClassification, tmp_path: Path) -> None:
    pixels = np.random.default_rng(9).integers(0, 256, (5, 16, 16), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "deep" / "er" / f"{index}.png")
    wanted = tiny_task.to_input(pixels).numpy()
    np.save(tmp_path / "inputs.npy", wanted)
    for name in ("images.npy", "inputs.npy", "deep"):
        found = calibration_inputs(tiny_task, tmp_path / name)
        assert np.array_equal(found.inputs, wanted)
        assert found.described == f"5 inputs of {name}"


def unfit(write: Callable[[Path], Any], message: str, name: str = "c.npy") -> Any:
    return pytest.param(write, name, message, id=message)


@pytest.mark.parametrize(("write", "name", "message"), [
    unfit(lambda path: path.write_bytes(b"\x93NUMPY"), r"cannot be read"),
    unfit(lambda path: np.save(path, np.zeros((0, 16, 16), np.uint8)), "holds no images"),
    unfit(lambda path: np.save(path, np.zeros((4, 16, 16), np.float64)), "must be uint8"),
    unfit(lambda path: np.save(path, np.zeros((4, 16, 17), np.uint8)), r"images are \(1, 16, 17\)"),
    unfit(lambda path: np.save(path, np.zeros((4, 2, 16, 16), np.float32)), "takes .1, 16, 16"),
    unfit(lambda path: np.save(path, np.full((4, 1, 16, 16), np.nan, np.float32)), "not all fin"),
    unfit(lambda path: path.mkdir(), "holds no images", "empty"),
    unfit(lambda _: None, "does not exist", "nowhere"),
])
def test_images_that_do_not_fit_are_one_line(
        tiny_task: ImageClassification, tmp_path: Path, write: Callable[[Path], Any], name: str,
        message: str) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        calibration_inputs(tiny_task, tmp_path / name)
    assert "\n" not in str(caught.value)


def test_images_that_are_tested_on_are_refused(tiny_task: ImageClassification,
                                               tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", tiny_task.splits["test"].images)
    with pytest.raises(DataError, match="48 of the 48 calibration images are in the test"):
        calibration_inputs(tiny_task, tmp_path / "c.npy")


def test_a_task_without_calibration_images_says_what_to_give(tiny_task: ImageClassification
                                                             ) -> None:
    task = ImageClassification(labels=tiny_task.labels, input_shape=tiny_task.input_shape,
                               mean=0.5, std=0.3, splits={"test": tiny_task.splits["test"]})
    with pytest.raises(DataError, match="give --calibration a folder"):
        calibration_inputs(task, None)


# Features ------------------------------------------------------------------------------------


def test_features_are_those_of_torch(full: Path, finished: SearchResult) -> None:
    supernet = load_supernet(finished.payload["supernet"])
    module = supernet.extract(make_arch(supernet.space, finished.payload["best"]["arch"])).eval()
    module.load_state_dict(load_file(full / "best" / "model.safetensors"))
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 1, 16, 16), np.float32))
    found = run_all(open_session((full / "best" / "features.onnx").read_bytes()), x.numpy(),
                    batch=3)
    with torch.no_grad():
        maps = module.forward_intermediates(x, intermediates_only=True)
    assert len(found) == len(maps) == 2
    for values, reference in zip(found.values(), maps, strict=True):
        np.testing.assert_allclose(values, reference.numpy(), atol=1e-4)
    outputs = manifest_of(full / "best")["features"]["outputs"]
    assert [output["channels"] for output in outputs] == [m.shape[1] for m in maps]
    assert [output["reduction"] for output in outputs] == [16 // m.shape[-1] for m in maps]
    assert [output["shape"] for output in outputs] == [["batch", *m.shape[1:]] for m in maps]


def test_the_head_is_not_in_the_file(full: Path) -> None:
    whole, features = (Counter(node.op_type for node in onnx.load(full / "best" / name).graph.node)
                       for name in ("model.onnx", "features.onnx"))
    assert features["Gemm"] == 0 < whole["Gemm"]
    assert features["Conv"] == whole["Conv"] - 1  # that of the head


def test_stages_can_be_chosen(copy: Path) -> None:
    export_subnet(copy, extras=Extras(features=True, indices=[1]))
    entry = manifest_of(copy / "best")["features"]
    assert [output["name"] for output in entry["outputs"]] == ["feature1"]
    assert failed(copy / "best") == []
    for wrong, message in (([2], r"no stage 2; its stages are 0 … 1"), ([], "none was asked for"),
                           ([-1], "no stage -1")):
        with pytest.raises(InputError, match=message):
            export_subnet(copy, extras=Extras(features=True, indices=wrong))


def test_tampered_features_fail(copy: Path) -> None:
    path = copy / "best" / "features.onnx"
    model = onnx.load(path)
    weights = next(t for t in model.graph.initializer if len(t.dims) == 4)
    values = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(np.asarray(values + 0.01), weights.name))
    path.write_bytes(model.SerializeToString())
    assert failed(copy / "best") == ["features.onnx hash"]
    reseal(copy / "best")
    assert failed(copy / "best") == ["features.onnx answers, batch 2",
                                     "features.onnx answers, batch 1"]


def test_a_network_without_feature_maps_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="a Linear gives no feature maps") as caught:
        Features(nn.Linear(2, 2))
    assert "\n" not in str(caught.value)


# Both ----------------------------------------------------------------------------------------


def test_every_field_and_file_is_documented(full: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "run-folder.md").read_text()
    manifest = manifest_of(full / "best")
    fields = [*(f"int8.{name}" for name in manifest["int8"] if name != "agreement"),
              *(f"int8.agreement.{name}" for name in manifest["int8"]["agreement"]),
              *(f"features.{name}" for name in manifest["features"]),
              *(f"features.outputs[].{name}" for name in manifest["features"]["outputs"][0]),
              *(path.name for path in (full / "best").iterdir())]
    for name in fields:
        assert f"| `{name}` |" in page, name


def test_another_network_with_all_files_at_once(full: Path, tmp_path: Path) -> None:
    digest = json.loads((full / "pareto.json").read_text())["pareto"][-1]["digest"]
    extras = Extras(int8=True, features=True)
    bundle = export_subnet(full, digest=digest, out=tmp_path / "mine", extras=extras)
    assert bundle.manifest.arch_digest == digest
    assert bundle.manifest.int8 is not None
    assert failed(tmp_path / "mine") == []
    again = export_subnet(full, digest=digest, out=tmp_path / "mine", extras=extras)
    assert again.manifest.files.keys() == bundle.manifest.files.keys()


def test_the_command_says_all_and_the_report_both_files(copy: Path,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(copy), "--precision", "int8", "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["int8"] == manifest_of(copy / "best")["int8"]
    assert "model_int8.onnx: " in (copy / "report.html").read_text()
    assert main(["export", str(copy), "--features", "--out-indices", "0,1"]) == 0
    said = capsys.readouterr().out
    assert "feature1" in said
    assert "this machine" in said


@pytest.mark.parametrize(("options", "message"), [
    ("", "give --digest for another network"), ("--out new --features", "--out is for the network"),
    ("--precision fp16", "not 'fp16'"), ("--calibration x", "--calibration is for --precision"),
    ("--out-indices 1", "--out-indices is for --features"),
    ("--features --out-indices 1,x", "no list of whole numbers")])
def test_options_that_do_not_fit(full: Path, capsys: pytest.CaptureFixture[str], options: str,
                                 message: str) -> None:
    assert main(["export", str(full), *options.split()]) == 2
    line, = (line for line in capsys.readouterr().err.splitlines() if line.startswith("nas: "))
    assert message in line
