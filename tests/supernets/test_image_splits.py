"""Division of images by use."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_folders import grey_images as images

from nas.core.errors import DataError
from supernets.tasks.sources import ArraySource, ImageSet
from supernets.tasks.splits import Divided, divide


def rows(divided: Divided) -> dict[str, set[tuple[str, int]]]:
    return {name: {(part.source.where, int(row)) for row in part.rows}
            for name in ("training", "train_calib", "search", "test")
            for part in [getattr(divided, name)]}


PARTS = st.sampled_from([(), ("validation",), ("test",), ("validation", "test")])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(counts=st.lists(st.integers(3, 40), min_size=2, max_size=6), given_=PARTS,
       seed=st.integers(0, 5), calibration=st.integers(2, 60))
def test_parts_are_disjoint_and_hold_every_image(counts: Sequence[int], given_: Sequence[str],
                                                 seed: int, calibration: int) -> None:
    found = {name: images(*counts, where=name) for name in ("train", *given_)}
    divided = divide(found, seed=seed, calibration=calibration)
    used = rows(divided)
    assert used["train_calib"] <= used["training"]
    assert not used["training"] & used["search"]
    assert not used["training"] & used["test"]
    assert not used["search"] & used["test"]
    everything = {(name, row) for name, data in found.items() for row in range(len(data))}
    assert used["training"] | used["search"] | used["test"] == everything
    for part in ("training", "search", "test"):
        assert set(getattr(divided, part).labels) == set(range(len(counts)))
    drawn = Counter(divided.train_calib.labels.tolist()).values()
    assert max(drawn) - min(drawn) <= 1
    assert sum(drawn) <= calibration


def test_a_tenth_of_each_class_is_held_out_where_nothing_is_given() -> None:
    divided = divide({"train": images(40, 100, 9)}, seed=0)
    for part in (divided.search, divided.test):
        assert np.bincount(part.labels).tolist() == [4, 10, 1]
    assert np.bincount(divided.training.labels).tolist() == [32, 80, 7]


def test_given_splits_are_taken_as_they_are() -> None:
    found = {"train": images(5, 5), "validation": images(4, 2), "test": images(1, 3)}
    divided = divide(found, seed=0)
    assert divided.training is found["train"]
    assert sorted(divided.search.rows) == list(range(6))
    assert sorted(divided.test.rows) == list(range(4))
    alone = divide({"train": found["train"], "validation": images(6, 8)}, seed=0)
    assert np.bincount(alone.search.labels).tolist() == [3, 4]


def test_classes_are_mixed_in_what_batch_norm_sees() -> None:
    labels = np.repeat([0, 1], 64)
    pixels = np.zeros((128, 2, 2), np.uint8)
    data = ImageSet.whole(ArraySource("sorted", pixels, labels, ("a", "b")))
    divided = divide({"train": data}, seed=0)
    for part in (divided.train_calib, divided.search, divided.test):
        assert len(set(part.labels[:6])) == 2


def test_division_follows_the_seed() -> None:
    found = {"train": images(50, 50)}
    assert rows(divide(found, seed=3)) == rows(divide(found, seed=3))
    assert rows(divide(found, seed=3)) != rows(divide(found, seed=4))


@pytest.mark.parametrize(("found", "message"), [
    ({"test": images(5, 5)}, "images for test, but none to train on"),
    ({"train": images(5, 2)}, "class b of memory has 2 images, too few"),
    ({"train": images(5, 5), "test": images(1, 1)}, "no image is left for the search split"),
])
def test_what_cannot_be_divided(found: dict[str, ImageSet], message: str) -> None:
    with pytest.raises(DataError, match=message):
        divide(found, seed=0)
