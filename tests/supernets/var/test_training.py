"""Training of depths: the schedule's probabilities and draws, the loss, distillation, resuming."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.core.errors import InputError
from supernets.tasks.visual_generation import TokenMaps, mean_cross_entropies
from supernets.training.processes import Processes
from supernets.training.trainer import Progress, TrainConfig
from supernets.var.depth_schedule import DepthSchedule, Phase, fixed, progressive
from supernets.var.space import build_space, full_arch, variant_arch
from supernets.var.supernet import VarSupernet, token_targets
from supernets.var.training import (
    TokenBatches,
    taught,
    teacher_forced,
    train_depths,
)
from tests.var_nets import SMALL, random_tokens, small_vae

SPACE, WHOLE = build_space(SMALL), full_arch(SMALL)
RECIPE = TrainConfig(epochs=3, learning_rate=3e-3, optimizer="adamw", beta2=0.95,
                     warmup_epochs=0.5, label_smoothing=0.0)


def _batches() -> TokenBatches:
    vae = small_vae()
    tokens = token_targets(random_tokens(vae, 6)).numpy().astype(np.uint16)
    return TokenBatches(vae=vae, maps=TokenMaps(np.tile(tokens, (4, 1)), (
        np.arange(24) % 6 % SMALL.classes).astype(np.uint16)),
                        batch_size=8, seed=0)


def _schedule(phases: tuple[Phase, ...], **settings: object) -> DepthSchedule:
    return DepthSchedule(config=SMALL, phases=phases, steps_per_epoch=10,
                         **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("epoch", "p"), [
    (0, 0.2), (4.99, 0.2), (5, 0.2), (12.5, 0.6), (20, 1.0), (25, 1.0), (100, 1.0)])
def test_the_probability_is_that_of_the_paper(epoch: float, p: float) -> None:
    assert _schedule(progressive()).probability(epoch) == pytest.approx(p)


def test_a_phase_of_no_epochs_is_left_out() -> None:
    assert progressive(joint=0) == progressive()[1:]


@pytest.mark.parametrize("draw", ["variant", "space"])
@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
def test_subnets_come_with_their_probability(draw: str, p: float) -> None:
    rule = _schedule(fixed(1, p), draw=draw)
    archs = [rule(SPACE, np.random.default_rng(step), step) for step in range(400)]
    assert all(len(drawn) == 1 for drawn in archs)
    share = np.mean([drawn[0] != WHOLE for drawn in archs])
    assert share == pytest.approx(p, abs=0.07 if 0 < p < 1 else 0)
    members = {variant_arch(SMALL, bridge=n, depth=d) for n in (1, 2, 3) for d in SMALL.depths}
    met = {drawn[0] for drawn in archs} - {WHOLE}
    if draw == "variant":
        assert met == (members if p else set())
    elif p:
        assert met - members


@pytest.mark.parametrize("draw", ["variant", "space"])
def test_a_phase_may_have_depths_and_bridges_of_its_own(draw: str) -> None:
    rule = _schedule((Phase(epochs=2, start=1.0, end=1.0, depths=(4,), bridges=(1,)),
                      Phase(epochs=1, start=1.0, end=1.0, depths=(2,), bridges=(3,))), draw=draw)
    first, second = (rule(SPACE, np.random.default_rng(0), step)[0] for step in (19, 20))
    assert first == variant_arch(SMALL, bridge=1, depth=4)
    assert second == variant_arch(SMALL, bridge=3, depth=2)


def test_the_whole_net_teaches_where_it_is_wanted() -> None:
    rule = _schedule(fixed(1, 1.0), distilled=True)
    first, second = rule(SPACE, np.random.default_rng(0), 0)
    assert rule.teaches
    assert first == WHOLE != second


def test_the_lesson_is_the_cross_entropy_with_the_teacher() -> None:
    student, teacher = torch.randn(2, 2, 30, 24, generator=torch.Generator().manual_seed(0))
    student.requires_grad_()
    teacher.requires_grad_()
    loss = taught(student, teacher)
    expected = -(teacher.softmax(-1) * student.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert teacher.grad is None
    assert student.grad is not None


def _trained(folder: Path, *, stop_at: int | None = None, distilled: bool = False) -> VarSupernet:
    def step(progress: Progress) -> None:
        if progress.step == stop_at:
            raise KeyboardInterrupt

    net = VarSupernet(SMALL, generator=torch.Generator().manual_seed(0))
    data = _batches()
    schedule = DepthSchedule(config=SMALL, phases=fixed(1, 0.5), distilled=distilled,
                             steps_per_epoch=data.steps_per_epoch)
    train_depths(net, data, schedule, config=replace(RECIPE, checkpoint_s=0.0, ema_decay=0.9),
                 checkpoint=folder / "var.pt", on_step=step)
    return net


@pytest.mark.parametrize("distilled", [False, True])
def test_a_stopped_training_goes_on_as_if_it_never_was(tmp_path: Path, distilled: bool) -> None:
    whole = _trained(tmp_path / "whole", distilled=distilled)
    with pytest.raises(KeyboardInterrupt):
        _trained(tmp_path / "parts", stop_at=4, distilled=distilled)
    resumed = _trained(tmp_path / "parts", distilled=distilled)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    start = VarSupernet(SMALL, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(whole.head.weight, start.head.weight)


def test_every_depth_learns(tmp_path: Path) -> None:
    data, net = _batches(), VarSupernet(SMALL, generator=torch.Generator().manual_seed(0))
    schedule = DepthSchedule(config=SMALL, phases=progressive(joint=5, transition=10, subnets=5),
                             steps_per_epoch=data.steps_per_epoch)
    archs = [WHOLE, *(variant_arch(SMALL, bridge=2, depth=d) for d in SMALL.depths)]
    (images, tokens_BL) = data.batch(0)

    def losses() -> list[list[float]]:
        return [mean_cross_entropies(lambda _, arch=arch: net(images, arch),  # type: ignore[misc]
                                     [(tokens_BL, tokens_BL)], SMALL.patch_nums)
                for arch in archs]

    before = losses()
    train_depths(net, data, schedule, config=replace(RECIPE, epochs=20, learning_rate=1e-2),
                 checkpoint=tmp_path / "var.pt")
    for fresh, trained in zip(before, losses(), strict=True):
        assert all(np.array(trained) < np.array(fresh))


def test_batches_are_the_tokens_and_what_came_before_them() -> None:
    data = _batches()
    images, tokens_BL = data.batch(2)
    row = int(np.flatnonzero((data.maps.tokens_NL == tokens_BL[0].numpy()).all(1))[0])
    alone, _ = teacher_forced(data.vae, data.maps.tokens_NL[[row]], data.maps.labels_N[[row]])
    torch.testing.assert_close(alone.inputs_BTE, images.inputs_BTE[:1])
    again, _ = data.batch(2)
    assert torch.equal(again.inputs_BTE, images.inputs_BTE)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Phase(epochs=0, start=0, end=1), "more than 0 epochs"),
    (lambda: Phase(epochs=1, start=0, end=1.5), "outside 0 … 1"),
    (lambda: Phase(epochs=1, start=0, end=1, depths=()), "1 depth and 1 bridge"),
    (lambda: _schedule(()), "1 phase or more"),
    (lambda: _schedule(fixed(1, 1), draw="dice"), "variant or space"),
    (lambda: _schedule((Phase(epochs=1, start=1, end=1, depths=(3,)),)), "not all among"),
    (lambda: replace(_batches(), batch_size=0), "must be positive"),
])
def test_settings_that_cannot_be(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]


def test_processes_share_a_batch_by_images() -> None:
    images, tokens_BL = _batches().batch(0)
    parts = [Processes(2, index).share((images, tokens_BL)) for index in (0, 1)]
    assert [len(inputs) for inputs, _ in parts] == [4, 4]
    for index, (inputs, targets) in enumerate(parts):
        assert torch.equal(inputs.inputs_BTE, images.inputs_BTE[index::2])
        assert torch.equal(inputs.labels_B, images.labels_B[index::2])
        assert torch.equal(targets, tokens_BL[index::2])
