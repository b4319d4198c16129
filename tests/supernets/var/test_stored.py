import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from var_folders import (
    SMALL_FEATURES,
    save_small,
    small_classifier,
    small_splits,
    small_statistics,
)
from var_nets import SMALL, SMALL_VAE, perturbed, small_net, small_vae

from nas.core.errors import DataError, InputError, SpaceError
from nas.core.files import sha256
from supernets.folder import load_folder, load_plan
from supernets.tasks.visual_generation import TokenMaps, VisualGeneration
from supernets.var.image_supernet import ImageSupernet
from supernets.var.space import variant_arch
from supernets.var.stored import save_supernet
from supernets.var.supernet import VarSupernet

ARCH = variant_arch(SMALL, bridge=2, depth=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("stored") / "var")


@pytest.fixture(scope="module")
def supernet(folder: Path) -> ImageSupernet:
    found = load_folder(folder)
    assert isinstance(found, ImageSupernet)
    return found


def test_weights_come_back_in_half_precision(supernet: ImageSupernet) -> None:
    assert not supernet.training
    for found, wanted in ((supernet.net, small_net()), (supernet.vae, perturbed(small_vae()))):
        state = found.state_dict()
        assert list(state) == list(wanted.state_dict())
        for name, tensor in wanted.state_dict().items():
            assert torch.equal(state[name], tensor.half().float()), name


def test_the_task_has_the_token_maps(supernet: ImageSupernet) -> None:
    task = supernet.task
    assert isinstance(task, VisualGeneration)
    for split, maps in small_splits().items():
        inputs, targets = next(iter(task.batches(split)))
        np.testing.assert_array_equal(targets.numpy(), maps.tokens_NL)
        np.testing.assert_array_equal(inputs[:, 0].numpy(), maps.labels_N)
    network = supernet.extract(ARCH)
    error = task.metrics(network, task.batches("search"))["error"]
    assert error > 100  # random weights are sure of the wrong codes


def test_the_task_can_be_that_of_real_looking_images(supernet: ImageSupernet) -> None:
    task = supernet.task
    assert isinstance(task, VisualGeneration)
    generating = task.with_measure("fid", samples=12)
    network = supernet.extract(ARCH)
    found = generating.metrics(network, [])
    assert found == generating.metrics(network, [])
    assert found["error"] > 0
    assert 0 <= found["class_accuracy"] <= 100
    assert "small-features/1" in generating.quality.error
    with pytest.raises(InputError, match="does not"):
        generating.metrics(small_classifier(), [])


def test_space_and_blocks_are_planned_without_weights(folder: Path,
                                                      supernet: ImageSupernet) -> None:
    space, vocabulary = load_plan(folder)
    assert space == supernet.space
    codes = space.sample_codes(4, np.random.default_rng(0))
    np.testing.assert_array_equal(vocabulary.block_ids(codes), supernet.block_ids(codes))
    with pytest.raises(InputError, match="resolution"):
        load_plan(folder, resolution=32)


@pytest.mark.parametrize("name", ["weights.safetensors", "vae.safetensors", "features.safetensors",
                                  "images.npz"])
def test_missing_and_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    folder = save_small(tmp_path / "var")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + b"!")
    with pytest.raises(DataError, match=f"{name} is damaged"):
        load_folder(folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"lacks {name}"):
        load_folder(folder)


def _vouched(folder: Path, name: str, content: bytes) -> None:
    # As somebody who copies files between folders and mends the hashes.
    card = json.loads((folder / "supernet.json").read_text())
    card["sha256"][name] = sha256(content)
    (folder / "supernet.json").write_text(json.dumps(card))
    (folder / name).write_bytes(content)


def _set(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(card: dict[str, Any]) -> None:
        for key in keys[:-1]:
            card = card[key]
        card[keys[-1]] = value
    return change


@pytest.mark.parametrize(("change", "match"), [
    (_set("config", "var", "depth", value=10), "weights.safetensors does not fit"),
    (_set("config", "var", "depth", value=5), "depths"),
    (_set("config", "vae", "vocabulary", value=99), "vocabulary"),
    (_set("config", "vae", "width", value=8), "vae.safetensors does not fit"),
    (_set("config", "classifier", "classes", value=4), "feature net"),
    (_set("config", "classifier", "widths", value=[4, 8]), "features.safetensors does not fit"),
    (_set("config", "classifier", value=None), "config.classifier"),
    (_set("task", "real_images", value=0), "task.real_images"),
    (_set("task", "real_images", value=6), "too few"),
    (_set("task", "kind", value="speech"), "task.kind")])
def test_cards_that_fit_no_file_are_refused(tmp_path: Path, match: str,
                                            change: Callable[[dict[str, Any]], None]) -> None:
    folder = save_small(tmp_path / "var")
    card = json.loads((folder / "supernet.json").read_text())
    change(card)
    (folder / "supernet.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match=match) as caught:
        load_folder(folder)
    assert "\n" not in str(caught.value)


def test_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    folder = save_small(tmp_path / "var")
    deeper = VarSupernet(replace(SMALL, depth=10))
    _vouched(folder, "weights.safetensors",
             save({name: tensor.half() for name, tensor in deeper.state_dict().items()}))
    with pytest.raises(DataError, match=r"weights\.safetensors does not fit"):
        load_folder(folder)


def test_what_does_not_belong_together_is_not_saved(tmp_path: Path) -> None:
    good = (small_net(), small_vae(), small_classifier(), small_splits(), small_statistics(), {})

    def refused(error: type[Exception], match: str, **other: Any) -> None:
        names = ("net", "vae", "classifier", "splits", "statistics", "provenance")
        with pytest.raises(error, match=match):
            save_supernet(tmp_path, **(dict(zip(names, good, strict=True)) | other))
        assert not list(tmp_path.iterdir())

    refused(SpaceError, "code_dim", vae=small_vae(replace(SMALL_VAE, code_dim=6)))
    refused(InputError, "feature net", classifier=small_classifier(
        replace(SMALL_FEATURES, image_size=28)))
    refused(InputError, "features of", classifier=small_classifier(
        replace(SMALL_FEATURES, name="other/1")))
    one = small_splits()
    refused(DataError, "test lacks", splits={name: one[name] for name in ("train_calib", "search")})
    short = TokenMaps(np.zeros((3, 4), np.uint16), np.zeros(3, np.uint16))
    refused(DataError, "4 tokens", splits={**one, "test": short})


def test_the_card_says_what_it_is(folder: Path) -> None:
    card = json.loads((folder / "supernet.json").read_text())
    assert card["family"] == "var"
    assert card["config"]["var"]["depth"] == asdict(SMALL)["depth"]
    assert card["provenance"] == {"made": "for tests"}
