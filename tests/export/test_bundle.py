import json
import os
import signal
import subprocess
import sys
import textwrap

import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nas.core.arch import Arch
from nas.core.errors import DataError, ExportError, InputError
from nas.export.bundle import write_bundle
from nas.export.verify import verify_bundle

FILES = {"arch.json", "model.onnx", "model.safetensors", "manifest.json", "reference.safetensors"}


class TinyTask:
    """Three features in; only the test split may be read."""

    def example_inputs(self, batch, rng):
        return torch.from_numpy(rng.standard_normal((batch, 3)).astype("float32"))

    def batches(self, split):
        assert split == "test"
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            yield torch.randn(9, 3, generator=generator), torch.zeros(9)

    def onnx_metadata(self):
        return {"labels": "[]"}


def write(folder, module, task=None, **changes):
    options = {"arch": Arch("tiny/1", (("width", 3),)), "module": module, "provenance": {},
               "task": task or TinyTask(), "metrics": {"error": 1.0},
               "costs": {"params": 8, "macs": 6, "activation_bytes": 20}, **changes}
    return write_bundle(folder, **options)


def test_a_bundle_holds_the_network_and_what_is_known_of_it(written, network):
    folder, manifest = written.folder, written.manifest
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "manifest.json").read_text() == manifest.to_text()
    assert Arch.from_json((folder / "arch.json").read_text(),
                          space=network.supernet.space) == network.arch
    assert manifest.arch_digest == network.arch.digest
    assert manifest.costs.model_dump() == network.costs
    assert manifest.metrics == {"error": 12.5, "latency_ms": 0.25}
    assert manifest.onnx.inputs[0].shape == ("batch", 1, 16, 16)
    assert manifest.onnx.outputs[0].shape == ("batch", 5)
    assert manifest.parity.inputs == 48
    assert manifest.parity.max_abs_diff <= 1e-4
    assert set(manifest.files) == FILES - {"manifest.json"}
    model = onnx.load(folder / "model.onnx")
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(metadata["labels"]) == list(network.task.labels)
    assert "mean" in json.loads(metadata["preprocessing"])
    assert metadata["nas:digest"] == network.arch.digest


def test_stored_weights_and_answers_are_those_of_the_network(written, network):
    module = network.supernet.extract(network.arch)
    module.load_state_dict(load_file(written.folder / "model.safetensors"))
    reference = load_file(written.folder / "reference.safetensors")
    first, _ = next(iter(network.task.batches("test")))
    assert torch.equal(reference["inputs"], first[:16])
    with torch.inference_mode():
        torch.testing.assert_close(module(reference["inputs"]), reference["logits"])


def test_writing_changes_neither_supernet_nor_network(written):
    for owner, state in written.before.items():
        for name, tensor in state.items():
            assert torch.equal(tensor, written.after[owner][name]), (owner, name)


@pytest.mark.parametrize("make", ["mkdir", "touch"])
def test_an_existing_place_is_left_alone(tmp_path, make):
    folder = tmp_path / "best"
    getattr(folder, make)()
    with pytest.raises(InputError, match="best exists"):
        write(folder, nn.Linear(3, 2))
    assert list(tmp_path.iterdir()) == [folder]


class Pretender(nn.Linear):
    """Another network for the exporter than for torch."""

    def __init__(self, difference: float) -> None:
        super().__init__(3, 2)
        self.difference = difference

    def forward(self, x):
        y = super().forward(x)
        return y + self.difference if torch.compiler.is_exporting() else y


def test_a_network_whose_onnx_answers_differ_is_refused_with_figures(tmp_path):
    with pytest.raises(ExportError, match=r"27 inputs: max \|Δlogit\| 2\.\de-04"):
        write(tmp_path / "best", Pretender(2e-4))
    assert not list(tmp_path.iterdir())
    write(tmp_path / "best", Pretender(2e-5))
    assert verify_bundle(tmp_path / "best").ok


@pytest.mark.parametrize(("changes", "message"), [
    ({"costs": {"params": 9, "macs": 6, "activation_bytes": 20}}, "has 8 parameters"),
    ({"costs": {"params": 8}}, "activation_bytes"),
    ({"costs": {"params": 8, "macs": 6.5, "activation_bytes": 20}}, "whole numbers"),
    ({"metrics": {"error": float("nan")}}, "'error'"),
])
def test_figures_that_cannot_be_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        write(tmp_path / "best", nn.Linear(3, 2), **changes)
    assert not list(tmp_path.iterdir())


def test_an_error_half_way_leaves_nothing(tmp_path):
    class Failing(TinyTask):
        def onnx_metadata(self):
            raise DataError("no labels")

    class Short(TinyTask):
        def batches(self, split):
            return list(super().batches(split))[:1]

    with pytest.raises(DataError, match="no labels"):
        write(tmp_path / "best", nn.Linear(3, 2), Failing())
    with pytest.raises(ExportError, match="9 inputs"):
        write(tmp_path / "best", nn.Linear(3, 2), Short())
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="cannot be written"):
        write(tmp_path / "file" / "best", nn.Linear(3, 2))


KILLED = """
    import os, signal, sys
    from pathlib import Path
    import torch
    from nas.core.arch import Arch
    from nas.export.bundle import write_bundle

    class Task:
        def batches(self, split):
            yield torch.zeros(16, 3), torch.zeros(16)
        def onnx_metadata(self):
            os.kill(os.getpid(), signal.SIGKILL)

    write_bundle(Path(sys.argv[1]), arch=Arch("tiny/1", ()), module=torch.nn.Linear(3, 2),
                 task=Task(), metrics={}, provenance={},
                 costs={"params": 8, "macs": 6, "activation_bytes": 20})
"""


def test_a_kill_leaves_no_half_bundle_and_the_next_export_cleans_up(tmp_path):
    folder = tmp_path / "best"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(folder)],
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
    write(folder, nn.Linear(3, 2))
    assert list(tmp_path.iterdir()) == [folder]
    assert verify_bundle(folder).ok
