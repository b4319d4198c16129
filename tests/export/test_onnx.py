import onnx
import pytest
import torch
from torch import nn

from nas.core.errors import ExportError, InputError
from nas.export.onnx import export_onnx
from nas.export.parity import compare, open_session, run


def small_network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(),
                             nn.Linear(3 * 36, 4)).eval()


def test_one_quiet_self_contained_file_with_a_free_batch(tmp_path, capfd):
    module, path = small_network(), tmp_path / "model.onnx"
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    export_onnx(module, torch.randn(2, 1, 8, 8), path, metadata={"labels": '["a"]'},
                input_name="image", output_names=["logits"])
    assert capfd.readouterr() == ("", "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]
    assert all(torch.equal(state[name], tensor) for name, tensor in module.state_dict().items())

    model = onnx.load(path)
    assert {prop.key: prop.value for prop in model.metadata_props} == {"labels": '["a"]'}
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["logits"]
    assert b".py" not in path.read_bytes()  # no source files of this machine

    session = open_session(path.read_bytes())
    x = torch.randn(7, 1, 8, 8)
    with torch.no_grad():
        logits = module(x).numpy()
    for batch in (1, 2, 7):
        assert compare(logits, run(session, x.numpy(), batch=batch)).ok


def test_what_cannot_be_exported_is_one_line(tmp_path):
    class DataDependent(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    path = tmp_path / "model.onnx"
    with pytest.raises(InputError, match="evaluation mode"):
        export_onnx(small_network().train(), torch.zeros(2, 1, 8, 8), path, metadata={})
    with pytest.raises(InputError, match="at least 2, not 1"):
        export_onnx(small_network(), torch.zeros(1, 1, 8, 8), path, metadata={})
    with pytest.raises(ExportError, match="DataDependent") as caught:
        export_onnx(DataDependent().eval(), torch.zeros(2, 3), path, metadata={})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
