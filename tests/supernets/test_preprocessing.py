"""From images of any size and mode to inputs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_folders import SMALL, picture, write_classes
from PIL import Image
from timm.data import create_loader, create_transform, resolve_data_config
from timm.data.dataset_factory import create_dataset

from nas.core.errors import DataError
from supernets.tasks.folders import open_folder
from supernets.tasks.preprocessing import Preprocessing, decoded
from supernets.tasks.sources import ImageSet
from supernets.tasks.timm_images import TimmImages

CONFIGS = [SMALL, replace(SMALL, crop_mode="squash", interpolation="bilinear"),
           replace(SMALL, crop_mode="border", interpolation="lanczos"),
           replace(SMALL, input_shape=(3, 12, 20), crop_fraction=1.0)]


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # timm leaves them open
@pytest.mark.parametrize("how", CONFIGS)
def test_inputs_are_those_of_timms_own_loader(tmp_path: Path, how: Preprocessing) -> None:
    root = write_classes(tmp_path / "val", {"a": 3, "b": 4})
    task = TimmImages(labels=("a", "b"), preprocessing=how, batch_size=3, splits={
        "search": ImageSet.whole(open_folder(tmp_path)["validation"])})
    loader = create_loader(
        create_dataset("", root=str(root), search_split=False), how.input_shape, batch_size=3,
        use_prefetcher=False, num_workers=0, persistent_workers=False, mean=how.mean, std=how.std,
        interpolation=how.interpolation, crop_pct=how.crop_fraction, crop_mode=how.crop_mode)
    for (x, targets), (expected, labels) in zip(task.batches("search"), loader, strict=True):
        assert torch.equal(x, expected)
        assert torch.equal(targets, labels)


def test_values_come_from_timms_configuration() -> None:
    config = resolve_data_config(pretrained_cfg={
        "input_size": (3, 40, 40), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6),
        "interpolation": "bilinear", "crop_pct": 0.95, "crop_mode": "squash"})
    how = Preprocessing.of_timm(config)
    image = picture(3, (70, 50))
    expected = create_transform(**config, is_training=False)(image)
    assert torch.equal(how.normalised(how.to_pixels()(image)), expected)


def test_the_description_is_what_is_done() -> None:
    how = json.loads(json.dumps(SMALL.describe()))
    pixels = SMALL.to_pixels()(picture(0))
    by_hand = (pixels.numpy() * how["scale"] - how["mean"]) / how["std"]
    np.testing.assert_allclose(SMALL.normalised(pixels).numpy(), by_hand, atol=1e-5)
    assert how["shape"] == list(pixels.shape)
    assert how["color"] == "RGB"


def saved(path: Path, image: Image.Image, **options: Any) -> Image.Image:
    image.save(path, **options)
    return Image.open(path)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("stored", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_usual_mode_is_converted(tmp_path: Path, stored: str, mode: str) -> None:
    original = picture(5)
    if stored == "I;16":
        grey = np.asarray(original.convert("L")).astype(np.uint16) * 257
        image = Image.fromarray(grey)
    else:
        image = original.convert(stored)
    with saved(tmp_path / ("a.jpg" if stored == "CMYK" else "a.png"), image) as opened:
        assert opened.mode == stored
        found = decoded(opened, mode)
    assert (found.mode, found.size) == (mode, original.size)
    if stored in ("L", "LA", "I;16"):
        np.testing.assert_array_equal(np.asarray(found.convert("L")),
                                      np.asarray(original.convert("L")))
    if stored in ("RGB", "RGBA"):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(original.convert(mode)))


def test_a_transparent_palette_is_converted_without_a_warning(tmp_path: Path) -> None:
    image = picture(1).convert("P")
    with saved(tmp_path / "a.png", image, transparency=bytes(range(256))) as opened:
        found = decoded(opened, "RGB")
    np.testing.assert_array_equal(np.asarray(found), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("pixels", [np.full((4, 4), 0.5, np.float32),
                                    np.full((4, 4), 70_000, np.int32)])
def test_pixels_without_an_agreed_range_are_refused(pixels: Any) -> None:
    with pytest.raises(ValueError, match="pixels"):
        decoded(Image.fromarray(pixels), "RGB")


@pytest.mark.parametrize(("changes", "message"), [
    ({"input_shape": (4, 8, 8)}, "channels must be 1 or 3"),
    ({"input_shape": (3, 0, 8)}, "are no images"),
    ({"mean": (0.5,)}, "1 values of mean for 3 channels"),
    ({"std": (0.1, 0.0, 0.1)}, "must be positive"),
    ({"crop_fraction": 0.0}, "crop fraction 0.0"),
    ({"crop_fraction": 1.5}, "crop fraction 1.5"),
    ({"interpolation": "random"}, "'random' is none of nearest"),
    ({"crop_mode": "middle"}, "'middle' is none of center"),
])
def test_values_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(SMALL, **changes)
