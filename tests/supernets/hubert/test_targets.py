"""Targets: their mean, their norm, and the cache that spares the teacher."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hubert_trainings import DIM, FilterTeacher, clips

from nas.core.errors import DataError, EvaluationError
from supernets.hubert.targets import TargetCache, averaged


class HugeTeacher(FilterTeacher):
    """Its features are beyond half precision."""

    def __call__(self, wave_BS: torch.Tensor,
                 padding_BS: torch.Tensor | None = None) -> list[torch.Tensor]:
        return [1e6 * layer for layer in super().__call__(wave_BS, padding_BS)]


def test_a_target_is_the_mean_over_layers() -> None:
    layers = [torch.full((1, 4, 2), float(value)) for value in (1, 3, 8)]
    assert torch.equal(averaged(layers, instance_norm=False), torch.full((1, 4, 2), 4.0))


def test_instance_norm_is_over_the_time_of_each_feature_of_each_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([1.0, 10.0, 100.0])
    layers = [scales * torch.randn(2, 50, 3, generator=generator) + 7 for _ in range(2)]
    wanted = torch.stack([torch.nn.functional.instance_norm(layer.transpose(1, 2)).transpose(1, 2)
                          for layer in layers]).mean(0)
    assert torch.allclose(averaged(layers, instance_norm=True), wanted, atol=1e-5)


def test_what_the_cache_gives_is_what_is_computed(tmp_path: Path) -> None:
    waves = clips(3)
    cache = TargetCache(tmp_path, FilterTeacher())
    found = cache.prepare(waves)
    assert len(found) == 3
    for index, wave in enumerate(waves):
        assert found[index].dtype == np.float16
        assert found[index].shape == (len(wave) // 320, DIM)
        np.testing.assert_array_equal(found[index], cache.compute(wave))


def test_the_teacher_hears_each_clip_once(tmp_path: Path) -> None:
    waves, teacher, told = clips(4), FilterTeacher(), []
    first = TargetCache(tmp_path, teacher).prepare(waves, lambda *place: told.append(place))
    assert teacher.heard == 4
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    later = FilterTeacher()
    assert TargetCache(tmp_path, later).prepare(waves[::-1]).files == first.files[::-1]
    assert later.heard == 0


def test_a_stopped_preparation_goes_on(tmp_path: Path) -> None:
    waves = clips(4)

    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TargetCache(tmp_path, FilterTeacher()).prepare(waves, stop)
    teacher = FilterTeacher()
    TargetCache(tmp_path, teacher).prepare(waves)
    assert teacher.heard == 2


def test_teachers_and_settings_are_kept_apart(tmp_path: Path) -> None:
    waves = clips(2)
    caches = [TargetCache(tmp_path, FilterTeacher()), TargetCache(tmp_path, FilterTeacher(seed=1)),
              TargetCache(tmp_path, FilterTeacher(), instance_norm=True)]
    found = [cache.prepare(waves) for cache in caches]
    assert len({targets.identity() for targets in found}) == 3
    assert len({targets[0].tobytes() for targets in found}) == 3


def test_identity_knows_the_clips_and_their_order(tmp_path: Path) -> None:
    waves = clips(2)
    cache = TargetCache(tmp_path, FilterTeacher())
    kinds = [waves, waves[::-1], waves[:1], [waves[0], 0.5 * waves[1]]]
    assert len({cache.prepare(kind).identity() for kind in kinds}) == 4
    assert cache.prepare(waves).identity() == cache.prepare(clips(2)).identity()


@pytest.mark.parametrize("damage", ["cut", "flipped", "other"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    found = TargetCache(tmp_path, FilterTeacher()).prepare(clips(1))
    data = found.files[0].read_bytes()
    found.files[0].write_bytes({"cut": data[:-5], "flipped": data[:-1] + bytes([data[-1] ^ 4]),
                                "other": b"nothing"}[damage])
    with pytest.raises(DataError, match=rf"{found.files[0].name} is damaged .*; remove it"):
        found[0]
    found.files[0].unlink()
    with pytest.raises(DataError, match="is gone; start again"):
        found[0]


def test_what_is_no_clip(tmp_path: Path) -> None:
    cache = TargetCache(tmp_path, FilterTeacher())
    good, bad = clips(2)
    bad[7] = np.nan
    with pytest.raises(DataError, match="clip 1 has samples that are not finite"):
        cache.prepare([good, bad])
    with pytest.raises(DataError, match=r"clip 0 is float32 of shape \(2, 800\)"):
        cache.prepare([np.zeros((2, 800), np.float32)])
    with pytest.raises(DataError, match="clip 0 is float64"):
        cache.prepare([np.zeros(800)])  # type: ignore[list-item]


def test_features_beyond_half_precision(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="not finite in half precision; use instance norm"):
        TargetCache(tmp_path, HugeTeacher()).prepare(clips(1))
    found = TargetCache(tmp_path, HugeTeacher(), instance_norm=True).prepare(clips(1))
    assert np.isfinite(found[0]).all()
