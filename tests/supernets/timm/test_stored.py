"""timm supernets as folders: what is kept, and what may have happened to folder and images."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_folders import SMALL, write_classes

from nas.core.costs import ClosedFormCosts
from nas.core.errors import DataError, InputError
from supernets.card import CARD, WEIGHTS
from supernets.folder import load_folder, load_plan
from supernets.tasks.timm_images import Opened
from supernets.timm.config import TimmConfig
from supernets.timm.make import IMPORTANCE, make_supernet
from supernets.timm.stored import READABLE, ROOT_VARIABLE, Images, save_supernet
from supernets.timm.supernet import TimmSupernet

SIDE = 32
CLASSES = {"ant": 24, "bee": 25, "cow": 30}
HOW = replace(SMALL, input_shape=(3, SIDE, SIDE))


@dataclass(frozen=True)
class Stored:
    """A saved supernet, and what it was saved from."""

    folder: Path
    root: Path
    supernet: TimmSupernet
    opened: Opened


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Not to be changed."""
    base = tmp_path_factory.mktemp("stored")
    root, folder = write_classes(base / "images", CLASSES), base / "net"
    images = Images(dataset="folder", root=root, seed=3, calibration=30)
    found = images.open(folder, HOW)
    config = TimmConfig(model="test_convnext", classes=3, channels=3, side=SIDE,
                        inner=(0.5, 1.0), width=(0.75, 1.0))
    supernet, config = make_supernet(config.make_model(), config, found.task)
    with torch.no_grad():
        for name, tensor in supernet.named_parameters():
            if "kernel_maps" in name:  # as training would have changed them
                tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)),
                            alpha=0.1)
    save_supernet(folder, supernet, config, found.task, images, {"trained_by": "nobody"})
    return Stored(folder, root, supernet, found)


def test_round_trip(stored: Stored) -> None:
    loaded = load_folder(stored.folder)
    space = stored.supernet.space
    assert (loaded.space.id, loaded.space.genes) == (space.id, space.genes)
    archs = [space.extreme(largest=True), space.extreme(largest=False),
             *space.decode(space.sample_codes(3, np.random.default_rng(0)))]
    x = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for arch in archs:
            torch.testing.assert_close(loaded(x, arch), stored.supernet(x, arch), rtol=1e-5,
                                       atol=1e-6)
    for split in ("train_calib", "search", "test"):
        for (x, y), (x0, y0) in zip(loaded.task.batches(split), stored.opened.task.batches(split),
                                    strict=True):
            assert torch.equal(x, x0)
            assert torch.equal(y, y0)


def test_a_plan_needs_neither_weights_nor_images(stored: Stored, tmp_path: Path) -> None:
    shutil.copy(stored.folder / CARD, tmp_path)
    space, vocabulary = load_plan(tmp_path)
    supernet = stored.supernet
    assert (space.id, space.genes) == (supernet.space.id, supernet.space.genes)
    assert [block.key for block in vocabulary.blocks] == [block.key
                                                          for block in supernet.vocabulary]
    codes = space.sample_codes(5, np.random.default_rng(0))
    assert np.array_equal(vocabulary.block_ids(codes), supernet.block_ids(codes))


def test_a_plan_for_images_of_another_side(stored: Stored) -> None:
    space, vocabulary = load_plan(stored.folder)
    larger, larger_vocabulary = load_plan(stored.folder, resolution=64)
    assert larger.id == space.id.replace("@32", "@64") != space.id
    codes = space.encode([space.extreme(largest=True)])
    costs = [ClosedFormCosts(found.blocks, found.block_ids)
             for found in (vocabulary, larger_vocabulary)]
    params, macs = (np.array([model.predict(metric, codes).value[0] for model in costs])
                    for metric in ("params", "macs"))
    assert params[0] == params[1]
    assert 3.9 < macs[1] / macs[0] < 4.1


def test_a_plan_at_a_side_that_the_model_does_not_take(stored: Stored, tmp_path: Path) -> None:
    change_card(stored, tmp_path, ("config", "model"), "test_vit")
    with pytest.raises(InputError, match="does not take images of 50×50"):
        load_plan(tmp_path, resolution=50)


# Images

def test_images_that_were_moved(stored: Stored, tmp_path: Path,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    change_card(stored, tmp_path, ("task", "root"), str(tmp_path / "gone"))
    with pytest.raises(DataError, match=f"no longer in .*gone; .* variable {ROOT_VARIABLE}, or"):
        load_folder(tmp_path)
    monkeypatch.setenv(ROOT_VARIABLE, str(stored.root))
    assert load_folder(tmp_path).space.id == stored.supernet.space.id


def test_images_that_were_changed(stored: Stored, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    root = shutil.copytree(stored.root, tmp_path / "copy")
    monkeypatch.setenv(ROOT_VARIABLE, str(root))
    load_folder(stored.folder)  # a copy will do
    shutil.copy(root / "bee" / "003.png", root / "bee" / "zzz.png")
    with pytest.raises(DataError, match=r"are not those that .* was made with"):
        load_folder(stored.folder)
    (root / "dog").mkdir()
    (root / "bee" / "zzz.png").rename(root / "dog" / "zzz.png")
    with pytest.raises(DataError, match=r"cannot be used: .* has 4 classes, but the network has 3"):
        load_folder(stored.folder)


def test_which_images_can_be_read_is_kept(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (stored.folder / READABLE).is_file()

    def reads(*_: Any) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr("supernets.tasks.sources.ImageSet.decode", reads)
    load_folder(stored.folder)


# The folder

def change_card(stored: Stored, folder: Path, place: tuple[str, ...], value: object) -> None:
    for name in (CARD, WEIGHTS):
        shutil.copy(stored.folder / name, folder)
    card = owner = json.loads((folder / CARD).read_text())
    for key in place[:-1]:
        owner = owner[key]
    owner[place[-1]] = value
    (folder / CARD).write_text(json.dumps(card))


@pytest.mark.parametrize(("place", "value", "said"), [
    (("config", "model"), "test_convnextt", "timm has no model 'test_convnextt'"),
    (("config", "model"), "test_resnet", "does not fit"),
    (("config", "classes"), 4, "classes or images"),
    (("config", "side"), 48, "classes or images"),
    (("config", "side"), "wide", r"config\.side"),
    (("config", "inner"), [0.5], "inner ratios"),
    (("config", "colour"), "red", r"config\.colour"),
    (("task", "kind"), "image_classification", r"task\.kind"),
    (("task", "seed"), 4, "are not those"),
    (("task", "labels"), ["ant", "bee", "cat"], "other classes"),
    (("task", "preprocessing", "std"), [0.1, 0.1, 0.0], "deviations .* must be positive"),
    (("task", "preprocessing", "size"), 3, r"task\.preprocessing\.size"),
    (("task", "dataset"), "torch/nothing", "cannot be used: torchvision has no data set"),
    (("sha256", WEIGHTS), "0" * 64, "is damaged"),
    (("sha256",), {}, "no hash of weights"),
    (("family",), "resnet", "family 'hubert' or 'mobilenet' or 'timm'"),
])
def test_damaged_cards(stored: Stored, tmp_path: Path, place: tuple[str, ...], value: object,
                       said: str) -> None:
    change_card(stored, tmp_path, place, value)
    with pytest.raises(InputError, match=said) as error:
        load_folder(tmp_path)
    assert "\n" not in str(error.value)


def test_damaged_weights(stored: Stored, tmp_path: Path) -> None:
    shutil.copy(stored.folder / CARD, tmp_path)
    with pytest.raises(DataError, match="lacks weights"):
        load_folder(tmp_path)
    (tmp_path / WEIGHTS).write_bytes((stored.folder / WEIGHTS).read_bytes()[:-4])
    with pytest.raises(DataError, match=r"weights\.safetensors is damaged"):
        load_folder(tmp_path)


# Making

@pytest.mark.parametrize("importance", IMPORTANCE)
def test_the_whole_architecture_is_the_model(stored: Stored, importance: str) -> None:
    config = TimmConfig(model="test_resnet", classes=3, channels=3, side=SIDE)
    model = config.make_model()
    x, _ = next(iter(stored.opened.task.batches("search")))
    with torch.no_grad():
        before = model(x)
    supernet, _ = make_supernet(model, config, stored.opened.task, importance=importance)
    with torch.no_grad():
        after = supernet(x, supernet.space.extreme(largest=True))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_importance_reads_few_images_of_train_calib_alone(stored: Stored) -> None:
    seen: list[int] = []
    task = replace(stored.opened.task, batch_size=8)
    config = TimmConfig(model="test_resnet", classes=3, channels=3, side=SIDE)
    model = config.make_model()
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    only = replace(task, splits={"train_calib": task.splits["train_calib"]})
    make_supernet(model, config, only, images=20)
    assert seen == [8, 8, 4]


def test_an_importance_that_is_not_known(stored: Stored) -> None:
    config = TimmConfig(model="test_resnet", classes=3, channels=3, side=SIDE)
    with pytest.raises(InputError, match="'guess' is none of activation, magnitude, taylor, none"):
        make_supernet(config.make_model(), config, stored.opened.task, importance="guess")


def test_the_id_names_what_decides_the_genes() -> None:
    usual = TimmConfig(model="test_vit", classes=3, channels=3, side=SIDE)

    def space_id(**changes: Any) -> str:
        config = usual.model_copy(update=changes)
        return config.make_supernet(_NoTask()).space.id

    assert space_id() == "timm:test_vit/1@32"
    assert space_id(classes=9) == space_id(channels=1) == space_id()
    last_first = tuple(range(6))[::-1]
    assert space_id(drop_order={"": last_first}) == space_id()
    others = [space_id(side=48), space_id(inner=(0.5, 1.0)), space_id(depth=0.7),
              space_id(drop_order={"": tuple(range(6))})]
    assert len({space_id(), *others}) == 5


class _NoTask:
    """A task that nothing is asked of."""
