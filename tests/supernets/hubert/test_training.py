"""Both stages: the loop they stand for, losses that fall, resumption, the sandwich."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hubert_trainings import (
    DIM,
    FIRST,
    SECOND,
    StoppedError,
    batches,
    clips,
    stopping,
    student,
    training,
    weights,
)
from torch import Tensor

from nas.core.errors import DataError, InputError
from nas.core.rng import derive_rng
from supernets.hubert.batches import SpeechBatches
from supernets.hubert.supernet import HubertSupernet
from supernets.hubert.training import (
    FeatureL1,
    StagedTraining,
    distillation_loss,
    predicted,
)
from supernets.training.sampling import Sandwich, SinglePath
from supernets.training.validation import landmarks


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def losses(net: HubertSupernet, data: SpeechBatches) -> dict[str, float]:
    """Returns the loss of the smallest, a middle and the largest network."""
    return {name: distillation_loss(net, arch, [data.batch(step) for step in range(6)])
            for name, arch in landmarks(net.space).items()}


# The loop

@pytest.mark.parametrize("stage", [1, 2])
def test_a_stage_is_the_loop_it_stands_for(tmp_path: Path, stage: int) -> None:
    config = replace(FIRST, epochs=1, weight_decay=0.0, clip_norm=None)
    data, reported = batches(tmp_path), []
    found = weights(training(
        tmp_path, data=data, first=config if stage == 1 else None,
        second=config if stage == 2 else None,
        on_step=lambda at, progress: reported.append((at, progress.loss))))
    net = student()
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.0)
    largest = net.space.extreme(largest=True)
    wanted = []
    for step in range(data.steps_per_epoch):
        inputs, targets = data.batch(step)
        rng = derive_rng(config.seed, "sampling", index=step)
        arch = largest if stage == 1 else SinglePath()(net.space, rng)[0]
        states = net(inputs.wave_BS, arch, inputs.padding_BS, mask=inputs.mask_BT)
        masked = states.last_hidden_state[inputs.mask_BT]
        loss = (net.prediction_head(masked, DIM) - targets[inputs.mask_BT]).abs().mean()
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate_at(step, steps_per_epoch=data.steps_per_epoch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wanted.append((stage, pytest.approx(loss.item(), rel=1e-4)))
    assert reported == wanted
    assert all(torch.allclose(found[name], tensor, atol=1e-3)
               for name, tensor in net.state_dict().items())


def test_stage_1_trains_the_largest_and_stage_2_all_three_sizes(tmp_path: Path) -> None:
    data = batches(tmp_path)
    net = student()
    start = losses(net, data)
    training(tmp_path, supernet=net, data=data, second=None).run()
    middle = losses(net, data)
    training(tmp_path, supernet=net, data=data, first=None).run()
    end = losses(net, data)
    assert middle["largest"] < 0.9 * start["largest"]
    for size in ("smallest", "middle", "largest"):
        assert end[size] < 0.9 * start[size]
    assert end["smallest"] < middle["smallest"]
    assert not net.training


def test_stage_2_starts_from_stage_1(tmp_path: Path) -> None:
    data, first = batches(tmp_path), []
    one = replace(FIRST, epochs=1)
    alone = training(tmp_path / "a", data=data, first=one, second=None)
    alone.run()
    second = replace(SECOND, epochs=1)
    training(tmp_path / "b", data=data, first=one, second=second,
             on_step=lambda stage, p: first.append(p.loss) if stage == 2 else None).run()
    net = alone.supernet
    arch = SinglePath()(net.space, derive_rng(SECOND.seed, "sampling", index=0))[0]
    assert first[0] == pytest.approx(distillation_loss(net, arch, [data.batch(0)]), rel=1e-5)


# Resuming

def often(folder: Path, **changes: Any) -> StagedTraining:
    """Returns a training of 2 × 12 steps, each with a checkpoint."""
    data = batches(folder.parent, waves=clips(8), batch_seconds=1.5)
    assert data.steps_per_epoch == 6
    return training(folder, data=data, second=replace(SECOND, epochs=2, checkpoint_s=0.0),
                    first=replace(FIRST, epochs=2, checkpoint_s=0.0, ema_decay=0.9), **changes)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return weights(often(tmp_path_factory.mktemp("whole") / "run"))


@pytest.mark.parametrize(("stage", "step"), [(1, 3), (1, 12), (2, 1), (2, 8)])
def test_a_resumed_training_is_the_uninterrupted_one(
        tmp_path: Path, uninterrupted: dict[str, Tensor], stage: int, step: int) -> None:
    with pytest.raises(StoppedError):
        often(tmp_path / "run", on_step=stopping(stage, step)).run()
    done: list[tuple[int, int]] = []
    found = weights(often(tmp_path / "run", on_step=lambda at, progress: done.append(
        (at, progress.step))))
    assert done[0] == (stage, step)  # the stop came before its checkpoint
    assert equal(found, uninterrupted)


def test_a_finished_training_is_read_and_not_made_again(tmp_path: Path) -> None:
    wanted = weights(often(tmp_path / "run"))
    found = weights(often(tmp_path / "run", on_step=stopping(1, 1)))
    assert equal(found, wanted)


def test_a_checkpoint_of_other_clips_or_another_start_is_refused(tmp_path: Path) -> None:
    first = replace(FIRST, epochs=1)
    training(tmp_path, first=first, second=None).run()
    with pytest.raises(DataError, match=r"is of another training .data_seed is 3 there, 4 here"):
        training(tmp_path, first=first, data=batches(tmp_path, seed=4)).run()
    with pytest.raises(DataError, match=r"is of another training .start is"):
        training(tmp_path, first=first, supernet=student(seed=1)).run()


# A sandwich

def test_a_sandwichs_share_of_teaching_is_the_difference_from_the_first(tmp_path: Path) -> None:
    data = batches(tmp_path)
    found = {}
    for share in (0.0, 0.5):
        second = replace(SECOND, epochs=1, teaching=share, learning_rate=1e-3)
        run = training(tmp_path / str(share), data=data, first=None, second=second,
                       rule=Sandwich(n_random=1))
        run.run()
        found[share] = run.supernet.state_dict()
    assert not equal(found[0.0], found[0.5])
    net, (inputs, targets) = student(), data.batch(0)
    archs = Sandwich(n_random=1)(net.space, derive_rng(SECOND.seed, "sampling", index=0))
    first, *others = (predicted(net, inputs, arch) for arch in archs)
    loss = FeatureL1()(inputs, targets)
    total = loss(first) + sum(0.5 * (other - first.detach()).abs().mean() + 0.5 * loss(other)
                              for other in others)
    (total / 3).backward()
    # Adam's first step is the learning rate, with the sign of the gradient.
    config = replace(SECOND, epochs=1, teaching=0.5, learning_rate=1e-3, weight_decay=0.0,
                     clip_norm=None)
    one = training(tmp_path / "one", data=data, first=None, second=config,
                   rule=Sandwich(n_random=1), on_step=stopping(2, 1))
    with pytest.raises(StoppedError):
        one.run()
    rate = config.learning_rate_at(0, steps_per_epoch=data.steps_per_epoch)
    for (name, after), before in zip(one.supernet.named_parameters(), net.parameters(),
                                     strict=True):
        assert before.grad is not None, name
        sure = before.grad.abs() > 1e-5
        step = (after - before).detach()
        assert torch.allclose(step[sure], -rate * before.grad.sign()[sure], rtol=0.02), name


# What is refused

def test_supernets_and_stages_that_cannot_be_trained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prediction head to train with; make it with"):
        training(tmp_path, supernet=student(target_dim=None))
    with pytest.raises(InputError, match="stage 1, stage 2 or both"):
        training(tmp_path, first=None, second=None)
    with pytest.raises(InputError, match="targets have 6 features, the prediction head 5"):
        training(tmp_path, supernet=student(target_dim=5)).run()
    with pytest.raises(InputError, match="1 batch or more"):
        distillation_loss(student(), student().space.extreme(largest=True), [])
