"""Extracted encoders as folders: what transformers loads, what it refuses, what is damaged."""

import json
from pathlib import Path

import pytest
import torch
from hubert_nets import make_supernet, random_archs, scaled, waves
from torch import nn
from transformers import AutoFeatureExtractor, AutoModel, HubertModel

from nas.core.errors import DataError, InputError
from supernets.hubert.folder import open_folder, save_folder
from supernets.hubert.plain import PlainHubert
from supernets.hubert.presets import SMALL

NET = make_supernet(scaled(SMALL))
ARCHS = {"stock": NET.space.extreme(largest=True), "plain": random_archs(NET, 1)[0]}


@pytest.fixture(params=ARCHS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[nn.Module, Path]:
    module = NET.extract(ARCHS[request.param])
    save_folder(module, tmp_path / "encoder")
    return module, tmp_path / "encoder"


def test_a_folder_holds_the_encoder(saved: tuple[nn.Module, Path]) -> None:
    module, folder = saved
    loaded = open_folder(folder)
    assert type(loaded) is type(module)
    assert not loaded.training
    found, wanted = loaded.state_dict(), module.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    with torch.no_grad():
        assert torch.equal(loaded(waves()).last_hidden_state, module(waves()).last_hidden_state)
    assert not list(folder.parent.glob("*.partial"))


def test_transformers_loads_what_it_can(saved: tuple[nn.Module, Path]) -> None:
    module, folder = saved
    prepare = AutoFeatureExtractor.from_pretrained(folder)
    x = prepare([3 + 2 * waves(1)[0].numpy(), waves(1)[0, :3000].numpy()], padding=True,
                sampling_rate=16_000, return_tensors="pt")
    assert x.attention_mask.sum(1).tolist() == [4800, 3000]
    assert abs(float(x.input_values[0].mean())) < 1e-5
    if isinstance(module, PlainHubert):
        with pytest.raises(ValueError, match="nas_hubert"):
            AutoModel.from_pretrained(folder)
        return
    model = AutoModel.from_pretrained(folder)
    assert isinstance(model, HubertModel)
    with torch.no_grad():
        found = model(**x).last_hidden_state
        assert torch.equal(found, module(**x).last_hidden_state)


def test_a_place_that_is_taken_stays_as_it_is(saved: tuple[nn.Module, Path]) -> None:
    module, folder = saved
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(FileExistsError):
        save_folder(module, folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_other_modules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a Linear is no encoder"):
        save_folder(nn.Linear(2, 2), tmp_path / "encoder")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"[]", b"{"])
def test_damaged_folders_are_refused(saved: tuple[nn.Module, Path], name: str,
                                     content: bytes | None) -> None:
    _, folder = saved
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_folder(folder)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_the_configuration_are_refused(
        saved: tuple[nn.Module, Path]) -> None:
    _, folder = saved
    config = json.loads((folder / "config.json").read_bytes())
    layers = config["subnet"]["layers"] if "subnet" in config else None
    if layers is None:
        config["num_hidden_layers"] += 1
    else:
        layers.append(layers[0])
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"encoder\.layers"):
        open_folder(folder)


@pytest.mark.parametrize("change", [{"model_type": "bert"}, {"model_type": None}])
def test_other_models_are_refused(saved: tuple[nn.Module, Path],
                                  change: dict[str, object]) -> None:
    _, folder = saved
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(DataError, match="is of model type"):
        open_folder(folder)
