"""The trainer's loop: resumption, accumulation, averages, precision, validation, what goes wrong.

`test_training.py` has the defaults; here is what a recipe or the caller may ask for.
"""

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tensorboardX.proto import event_pb2
from tiny_mlp import SPACE, TinyMlp, mlp_data, mlp_task
from torch import Tensor, nn

from nas.core.errors import DataError, EvaluationError, InputError
from nas.core.rng import derive_rng
from nas.core.space import Gene, GeneSpace
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import ImageClassification
from supernets.training.data import Augmentation, TrainingData
from supernets.training.distill import LabelLoss, TeacherLoss
from supernets.training.plain import PlainTraining
from supernets.training.processes import Processes
from supernets.training.recipe import Recipe
from supernets.training.sampling import Sandwich, Uniform
from supernets.training.shrinking import ProgressiveShrinking
from supernets.training.trainer import Progress, TrainConfig, Trainer, Validated
from supernets.training.validation import Validation, landmarks

CONFIG = TrainConfig(epochs=2, learning_rate=0.1, warmup_epochs=0.5, seed=5)
RICH = replace(CONFIG, optimizer="adamw", learning_rate=0.01, schedule="one-cycle",
               layer_decay=0.8, accumulation=2, clip_norm=0.5, ema_decay=0.9)


class StoppedError(Exception):
    """What a test stops a training with."""


def make_trainer(checkpoint: Path, *, dropout: float = 0.0, **changes: Any) -> Trainer:
    task = mlp_task()
    return Trainer(**{"supernet": TinyMlp(task, dropout=dropout), "task": task,
                      "data": mlp_data(task), "config": CONFIG, "checkpoint": checkpoint,
                      **changes})


def stop_at(step: int) -> Callable[[Progress], None]:
    def on_step(progress: Progress) -> None:
        if progress.step == step:
            raise StoppedError
    return on_step


def trained(trainer: Trainer) -> dict[str, Tensor]:
    trainer.run()
    return {name: tensor.clone() for name, tensor in trainer.supernet.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.allclose(a[name], b[name], atol=1e-5) for name in a)


# The same as a loop written by hand

def test_a_training_is_the_loop_it_stands_for(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "c.pt")
    losses: list[float] = []
    trainer.on_step = lambda progress: losses.append(progress.loss)
    found = trained(trainer)

    net, data = TinyMlp(trainer.task), trainer.data
    exempt = {"stem.weight"}
    decayed = [p for n, p in net.named_parameters() if p.ndim > 1 and n not in exempt]
    free = [p for n, p in net.named_parameters() if p.ndim < 2 or n in exempt]
    optimizer = torch.optim.SGD([{"params": decayed, "weight_decay": 1e-4}, {"params": free}],
                                lr=0.1, momentum=0.9, nesterov=True)
    for step in range(8):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * ((step / 4 + 0.25) / 0.5 if step < 2 else
                                 0.5 * (1 + math.cos(math.pi * (step / 4 - 0.5) / 1.5)))
        x, targets = data.batch(step)
        archs = Sandwich()(SPACE, derive_rng(5, "sampling", index=step))
        optimizer.zero_grad()
        teacher = net(x, archs[0])
        loss = F.cross_entropy(teacher, targets, label_smoothing=0.05)
        assert loss.item() == losses[step]
        (loss / 4).backward()
        for arch in archs[1:]:
            student = F.cross_entropy(net(x, arch), teacher.detach().softmax(1))
            (student / 4).backward()
        optimizer.step()
    assert equal(found, net.state_dict())


def test_how_networks_are_called_and_what_the_first_teaches_can_be_given(tmp_path: Path) -> None:
    def forward(net: Any, inputs: Tensor, arch: Any) -> Tensor:
        return 3 * net(inputs, arch)

    def teach(outputs: Tensor, first: Tensor) -> Tensor:
        return (outputs - first.detach()).abs().mean()

    trainer = make_trainer(tmp_path / "c.pt", forward=forward, teach=teach, task=None,
                           rule=Sandwich(n_random=1), config=replace(CONFIG, epochs=1))
    losses: list[float] = []
    trainer.on_step = lambda progress: losses.append(progress.loss)
    found = trained(trainer)
    net, data = TinyMlp(mlp_task()), trainer.data
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for step in range(4):
        x, targets = data.batch(step)
        first, *others = (forward(net, x, arch) for arch in Sandwich(n_random=1)(
            SPACE, derive_rng(5, "sampling", index=step)))
        loss = F.cross_entropy(first, targets, label_smoothing=0.05)
        assert loss.item() == pytest.approx(losses[step], rel=1e-3)
        optimizer.param_groups[0]["lr"] = trainer.config.learning_rate_at(step, steps_per_epoch=4)
        optimizer.zero_grad()
        ((loss + sum(teach(other, first) for other in others)) / 3).backward()
        optimizer.step()
    assert all(torch.allclose(found[name], tensor, atol=1e-3)  # but for the weight decay
               for name, tensor in net.state_dict().items())


def test_validation_needs_a_task(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="validation needs a task"):
        make_trainer(tmp_path / "c.pt", task=None, validation=Validation())


# Resuming

@pytest.mark.parametrize("rich", [False, True], ids=["defaults", "all-options"])
def test_steps_50_to_100_are_the_same_after_a_stop_at_50(tmp_path: Path, rich: bool) -> None:
    config = replace(RICH if rich else CONFIG, epochs=50 if rich else 25)

    def make(name: str, on_step: Callable[[Progress], None], checkpoint_s: float) -> Trainer:
        return make_trainer(tmp_path / name, dropout=0.3, on_step=on_step,
                            config=replace(config, checkpoint_s=checkpoint_s),
                            rule=ProgressiveShrinking(total_steps=100) if rich else Sandwich(),
                            validation=Validation() if rich else None)

    whole: list[Progress] = []
    expected = trained(make("whole.pt", whole.append, 1e9))
    assert len(whole) == 100
    with pytest.raises(StoppedError):
        make("cut.pt", stop_at(51), 0.0).run()  # before the checkpoint of its own step
    rest: list[Progress] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)  # another process has another state
        found = trained(make("cut.pt", rest.append, 1e9))
    assert rest == whole[50:]
    assert equal(found, expected)


def test_layers_draw_anew_at_each_step_and_leave_the_global_generator_alone(
        tmp_path: Path) -> None:
    masks: list[Tensor] = []
    trainer = make_trainer(tmp_path / "c.pt", dropout=0.5, rule=Sandwich(n_random=0))
    drop = trainer.supernet.blocks[0].drop
    drop.register_forward_hook(lambda *a: masks.append(a[2] == 0))
    before = torch.random.get_rng_state()
    trainer.run()
    assert torch.equal(torch.random.get_rng_state(), before)
    largest = masks[::2]
    assert len(largest) == 8
    assert all(not torch.equal(a, b) for i, a in enumerate(largest) for b in largest[:i])


def test_a_convolutional_supernet_resumes_too(tmp_path: Path, tiny_supernet: MobileNetSupernet,
                                              tiny_task: ImageClassification) -> None:
    start = {name: tensor.clone() for name, tensor in tiny_supernet.state_dict().items()}
    data = TrainingData(task=tiny_task, data=tiny_task.splits["train_calib"], batch_size=16,
                        seed=1, augmentation=Augmentation())

    def run(name: str, stop: int) -> tuple[list[float], dict[str, Tensor]]:
        losses: list[float] = []

        def on_step(progress: Progress) -> None:
            losses.append(progress.loss)
            if progress.step == stop:
                raise StoppedError

        tiny_supernet.load_state_dict(start)
        trainer = Trainer(supernet=tiny_supernet, task=tiny_task, data=data, on_step=on_step,
                          config=replace(RICH, layer_decay=None, checkpoint_s=0.0),
                          checkpoint=tmp_path / name)
        with contextlib.suppress(StoppedError):
            trainer.run()
        return losses, {k: v.clone() for k, v in tiny_supernet.state_dict().items()}

    losses, weights = run("whole.pt", -1)
    run("cut.pt", 3)
    rest, again = run("cut.pt", -1)
    assert rest == losses[2:]
    assert equal(weights, again)


@pytest.mark.slow
def test_steps_50_to_100_are_the_same_after_a_kill(tmp_path: Path) -> None:
    config = replace(RICH, epochs=50, checkpoint_s=0.0)
    whole: list[float] = []
    make_trainer(tmp_path / "whole.pt", config=config, dropout=0.3,
                 on_step=lambda progress: whole.append(progress.loss)).run()
    killed = launched(tmp_path, "", kill=51)
    assert killed.returncode == -signal.SIGKILL
    rest: list[float] = []
    make_trainer(tmp_path / "process.pt", config=config, dropout=0.3,
                 on_step=lambda progress: rest.append(progress.loss)).run()
    assert rest == whole[50:]


def test_a_checkpoint_of_another_recipe_rule_or_teacher_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path / "c.pt").run()
    for changes, name in (
            ({"config": replace(CONFIG, ema_decay=0.9)}, "ema_decay"),
            ({"config": replace(CONFIG, precision="bf16")}, "precision"),
            ({"rule": Uniform()}, "rule"),
            ({"criterion": TeacherLoss(teacher=nn.Linear(1, 1).eval())}, "criterion")):
        with pytest.raises(DataError, match=f"is of another training \\({name} is"):
            make_trainer(tmp_path / "c.pt", **changes).run()


# What a recipe may ask for

def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    task = mlp_task()
    small = make_trainer(tmp_path / "small.pt", config=replace(CONFIG, accumulation=2))
    large = make_trainer(tmp_path / "large.pt", data=mlp_data(task, batch_size=24))
    steps: list[Progress] = []
    small.on_step = steps.append
    assert close(trained(small), trained(large))
    assert len(steps) == 4
    assert steps[-1].total_steps == 4


def test_what_does_not_fill_an_update_is_left_out(tmp_path: Path) -> None:
    seen: list[int] = []

    class Noting(TrainingData):
        def batch(self, step: int) -> Any:
            seen.append(step)
            return super().batch(step)

    task = mlp_task()
    data = mlp_data(task)
    trainer = make_trainer(tmp_path / "c.pt", config=replace(CONFIG, accumulation=3), data=Noting(
        task=task, data=data.data, batch_size=12, seed=0, augmentation=None))
    trainer.run()
    assert seen == [0, 1, 2, 4, 5, 6]  # of 4 batches an epoch


def test_clipping_bounds_what_a_step_changes(tmp_path: Path) -> None:
    config = replace(CONFIG, momentum=0.0, weight_decay=0.0, clip_norm=1e-3, warmup_epochs=0.0)
    trainer = make_trainer(tmp_path / "c.pt", config=config)
    parameters = list(trainer.supernet.parameters())
    before = [[p.detach().clone() for p in parameters]]
    changes: list[float] = []

    def on_step(progress: Progress) -> None:
        now = [p.detach().clone() for p in parameters]
        squares = sum(((a - b) ** 2).sum() for a, b in zip(now, before[-1], strict=True))
        changes.append(float(squares) ** 0.5 / progress.learning_rate)
        before.append(now)

    trainer.on_step = on_step
    trainer.run()
    np.testing.assert_allclose(changes, 1e-3, rtol=0.01)  # of float32 weights' differences


def test_the_average_is_the_result_and_the_checkpoint_has_the_rest(tmp_path: Path) -> None:
    plain = trained(make_trainer(tmp_path / "plain.pt"))
    trainer = make_trainer(tmp_path / "c.pt", config=replace(CONFIG, ema_decay=0.5))
    history: list[dict[str, Tensor]] = []
    trainer.on_step = lambda _: history.append(
        {name: tensor.clone() for name, tensor in trainer.supernet.state_dict().items()})
    found = trained(trainer)
    expected = TinyMlp(trainer.task).state_dict()
    for step, weights in enumerate(history):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = {k: decay * v + (1 - decay) * weights[k] for k, v in expected.items()}
    assert close(found, expected)
    saved = torch.load(tmp_path / "c.pt", weights_only=True)
    assert equal(saved["supernet"], plain)  # the average does not change what is trained
    assert not close(found, plain)
    # A finished training that is asked for again gives the same.
    assert equal(trained(make_trainer(tmp_path / "c.pt", config=trainer.config)), found)


def test_half_precision_runs_layers_in_16_bits_and_learns_the_same(tmp_path: Path) -> None:
    losses: dict[str, list[float]] = {"no": [], "bf16": []}
    kinds: set[torch.dtype] = set()
    for precision, found in losses.items():
        trainer = make_trainer(tmp_path / precision, config=replace(CONFIG, precision=precision))
        net = trainer.supernet
        net.stem.register_forward_hook(lambda *a: kinds.add(a[2].dtype))
        trainer.on_step = lambda progress, found=found: found.append(progress.loss)
        trainer.run()
        assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert kinds == {torch.float32, torch.bfloat16}
    assert losses["no"] != losses["bf16"]
    np.testing.assert_allclose(losses["bf16"], losses["no"], rtol=0.05)


# Who learns from whom

def test_without_a_teacher_all_learn_from_the_labels(tmp_path: Path) -> None:
    uniform = make_trainer(tmp_path / "c.pt", rule=Uniform(count=3), config=replace(
        CONFIG, epochs=1, momentum=0.0, weight_decay=0.0, warmup_epochs=0.25))
    uniform.on_step = stop_at(1)
    with pytest.raises(StoppedError):
        uniform.run()
    net = TinyMlp(uniform.task)
    x, targets = uniform.data.batch(0)
    archs = Uniform(count=3)(SPACE, derive_rng(5, "sampling", index=0))
    torch.stack([F.cross_entropy(net(x, arch), targets, label_smoothing=0.05)
                 for arch in archs]).mean().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    assert close(net.state_dict(), uniform.supernet.state_dict())


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_taught_networks_learn_from_labels_as_far_as_they_are_told(
        tmp_path: Path, share: float) -> None:
    trainer = make_trainer(tmp_path / "c.pt", config=replace(
        CONFIG, epochs=1, momentum=0.0, weight_decay=0.0, warmup_epochs=0.25, teaching=share))
    trainer.on_step = stop_at(1)
    with pytest.raises(StoppedError):
        trainer.run()
    net = TinyMlp(trainer.task)
    x, targets = trainer.data.batch(0)
    largest, *others = Sandwich()(SPACE, derive_rng(5, "sampling", index=0))
    teacher = net(x, largest)
    losses = [F.cross_entropy(teacher, targets, label_smoothing=0.05)]
    for arch in others:
        taught = F.cross_entropy(net(x, arch), teacher.detach().softmax(1))
        labels = F.cross_entropy(net(x, arch), targets, label_smoothing=0.05)
        losses.append(share * taught + (1.0 - share) * labels)
    torch.stack(losses).mean().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    assert close(net.state_dict(), trainer.supernet.state_dict())


def test_a_share_of_teaching_outside_0_to_1_is_refused() -> None:
    with pytest.raises(InputError, match=r"teaching 1\.5 must be a share"):
        replace(CONFIG, teaching=1.5)


def test_a_frozen_teacher_teaches_the_supernet(tmp_path: Path) -> None:
    task = mlp_task()
    teacher = TinyMlp(task, seed=7).extract(SPACE.extreme(largest=True)).eval()
    criterion = TeacherLoss(teacher=teacher, weight=1.0)
    trainer = make_trainer(tmp_path / "c.pt", criterion=criterion,
                           config=replace(CONFIG, epochs=10, learning_rate=0.02))
    x, targets = trainer.data.batch(0)

    def distance() -> float:
        with torch.no_grad():
            return float(criterion(x, targets)(
                trainer.supernet(x, SPACE.extreme(largest=True))))

    before = distance()
    trainer.run()
    assert distance() < 0.5 * before


def test_a_plain_network_learns_from_a_teacher() -> None:
    task = mlp_task()
    data = mlp_data(task)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    criterion = TeacherLoss(teacher=teacher, weight=1.0)
    training = PlainTraining(student, task=task, data=data, criterion=criterion,
                             recipe=Recipe(epochs=20, learning_rate=0.02, ema_decay=0.8))
    x, targets = data.batch(0)
    before = criterion(x, targets)(student(x)).item()
    for _ in range(20):
        network = training.advance()
    assert criterion(x, targets)(network(x)).item() < 0.3 * before
    assert not torch.equal(network[1].weight, student[1].weight)  # the average


# Validation and the log

def test_landmarks() -> None:
    found = landmarks(SPACE)
    assert found["smallest"] == SPACE.extreme(largest=False)
    assert found["largest"] == SPACE.extreme(largest=True)
    middle = SPACE.encode([found["middle"]])[0]
    assert middle.tolist() == [0, 1, 0]  # depth 1, where the second block's width is dead
    assert all(SPACE.canonical(arch) == arch for arch in found.values())
    pairs = GeneSpace("pairs/1", tuple(Gene(name, (1, 2)) for name in "abcd"))
    assert pairs.encode([landmarks(pairs)["middle"]]).tolist() == [[0, 1, 0, 1]]


def test_validation_after_every_epoch_changes_nothing(tmp_path: Path) -> None:
    config = replace(CONFIG, ema_decay=0.5)
    without = trained(make_trainer(tmp_path / "a.pt", config=config))
    found: list[Validated] = []
    order: list[Any] = []
    trainer = make_trainer(tmp_path / "b.pt", config=config, validation=Validation(),
                           on_validation=lambda v: (found.append(v), order.append(v.epoch)),
                           on_epoch=lambda epoch: order.append(f"end of {epoch}"))
    assert equal(trained(trainer), without)
    assert order == [1, "end of 1", 2, "end of 2"]
    # The last one is of the result.
    net, task = trainer.supernet, trainer.task
    for name, arch in landmarks(SPACE).items():
        module = net.recalibrated(arch, task.batches("train_calib"))
        assert found[-1].results[name] == task.metrics(module, task.batches("search"))


def test_what_is_validated_is_the_average(tmp_path: Path) -> None:
    seen: list[dict[str, Tensor]] = []

    def validation(net: TinyMlp, _: object) -> dict[str, Any]:
        seen.append({name: tensor.clone() for name, tensor in net.state_dict().items()})
        return {}

    result = trained(make_trainer(tmp_path / "c.pt", config=replace(CONFIG, ema_decay=0.5),
                                  validation=validation))
    assert len(seen) == 2
    assert equal(seen[-1], result)
    saved = torch.load(tmp_path / "c.pt", weights_only=True)["supernet"]
    assert not close(saved, result)


def test_validation_is_on_recalibrated_copies(tiny_supernet: MobileNetSupernet,
                                              tiny_task: ImageClassification) -> None:
    before = {name: tensor.clone() for name, tensor in tiny_supernet.state_dict().items()}
    results = Validation(batches=1, calibration_batches=1)(tiny_supernet, tiny_task)
    assert equal(before, tiny_supernet.state_dict())
    first = [next(iter(tiny_task.batches(split))) for split in ("train_calib", "search")]
    module = tiny_supernet.recalibrated(landmarks(tiny_supernet.space)["middle"], first[:1])
    assert results["middle"] == tiny_task.metrics(module, first[1:])


def test_an_epoch_that_a_stop_cut_is_reported_later(tmp_path: Path) -> None:
    def interrupted(_: Validated) -> None:
        raise StoppedError

    first = make_trainer(tmp_path / "c.pt", validation=Validation(), on_validation=interrupted,
                         config=replace(CONFIG, checkpoint_s=0.0))
    with pytest.raises(StoppedError):
        first.run()
    epochs: list[int] = []
    make_trainer(tmp_path / "c.pt", validation=Validation(),
                 on_validation=lambda found: epochs.append(found.epoch)).run()
    assert epochs == [1, 2]


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Returns what TensorBoard would show: tag → step → value; what a file purged is gone."""
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data, start = path.read_bytes(), 0
        while start < len(data):
            size = int.from_bytes(data[start:start + 8], "little")
            event = event_pb2.Event.FromString(data[start + 12:start + 12 + size])
            start += 16 + size
            if event.HasField("session_log"):
                found = {tag: {step: value for step, value in steps.items() if step < event.step}
                         for tag, steps in found.items()}
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_a_log_has_every_step_and_validation(tmp_path: Path) -> None:
    config = replace(CONFIG, checkpoint_s=0.0)
    steps: list[Progress] = []
    with pytest.raises(StoppedError):
        make_trainer(tmp_path / "c.pt", config=config, log=tmp_path / "log", on_step=stop_at(6),
                     validation=Validation()).run()
    make_trainer(tmp_path / "c.pt", config=config, log=tmp_path / "log", on_step=steps.append,
                 validation=Validation()).run()
    log = scalars(tmp_path / "log")
    assert {"train/loss", "train/learning_rate", "error/smallest", "error/middle",
            "error/largest"} <= set(log)
    assert list(log["train/loss"]) == list(range(1, 9))
    np.testing.assert_allclose(list(log["train/loss"].values())[5:], [p.loss for p in steps],
                               rtol=1e-6)
    assert list(log["error/middle"]) == [4, 8]


# Several processes

SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import pytest
sys.path[:0] = [sys.argv[1] + "/tests", sys.argv[1] + "/tests/supernets"]
import test_trainer as t
out, kill = Path(sys.argv[2]), int(sys.argv[3])
def on_step(progress):
    if progress.step == kill:
        os.kill(os.getpid(), signal.SIGKILL)
config = t.replace(t.RICH, epochs=50 if kill else 2, checkpoint_s=0.0)
trainer = t.make_trainer(out / "process.pt", config=config, dropout=0.3 if kill else 0.0,
                         on_step=on_step, validation=None if kill else t.Validation())
trainer.run()
torch.save(trainer.supernet.state_dict(), out / ("result" + os.environ.get("RANK", "") + ".pt"))
"""


def launched(folder: Path, rank: str, *, kill: int = 0, port: int = 0) -> Any:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if rank:
        environment.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2", LOCAL_WORLD_SIZE="2",
                           MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[2]), str(folder),
               str(kill)]
    if rank:
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)


@pytest.mark.slow
def test_two_processes_train_the_network_that_one_does(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    both = [launched(tmp_path, rank, port=port) for rank in ("0", "1")]
    for process in both:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    results = [torch.load(tmp_path / f"result{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert equal(*results)
    alone = trained(make_trainer(tmp_path / "alone.pt", config=RICH))
    assert close(results[0], alone)


def test_rows_are_shared_evenly_or_not_at_all() -> None:
    batch = (torch.arange(12).reshape(6, 2), torch.arange(6))
    shares = [Processes(3, index).share(batch) for index in range(3)]
    assert sorted(torch.cat([targets for _, targets in shares]).tolist()) == list(range(6))
    for inputs, targets in shares:
        torch.testing.assert_close(inputs[:, 0], 2 * targets)
    with pytest.raises(InputError, match="use a batch size that is a multiple of 4"):
        Processes(4, 0).share(batch)


# What goes wrong

class Failing(TinyMlp):
    """Fails in one architecture, from its third call on."""

    def __init__(self, task: ImageClassification, error: Callable[[], object]) -> None:
        super().__init__(task)
        self.error, self.calls = error, 0

    def forward(self, x: Tensor, arch: Any) -> Tensor:
        if arch == SPACE.extreme(largest=False):
            self.calls += 1
            if self.calls == 3:
                self.error()
        return super().forward(x, arch)


def cuda_error() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@pytest.mark.parametrize("error", [cuda_error, lambda: torch.empty(2**58),
                                   lambda: np.empty(2**48)], ids=["cuda", "cpu", "numpy"])
def test_not_enough_memory_names_the_batch_size(tmp_path: Path,
                                                error: Callable[[], object]) -> None:
    task = mlp_task()
    trainer = make_trainer(tmp_path / "c.pt", supernet=Failing(task, error),
                           rule=Sandwich(n_random=0), config=replace(CONFIG, checkpoint_s=0.0))
    with pytest.raises(EvaluationError, match=(
            r"not enough memory on cpu at step 2, batch 2 of 12 rows; use smaller batches and "
            r"accumulate more of them, .*; the last good checkpoint is .*c\.pt$")) as found:
        trainer.run()
    assert "\n" not in str(found.value)


def test_other_failures_are_not_hidden(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        make_trainer(tmp_path / "c.pt", supernet=Failing(mlp_task(), fail)).run()


def test_a_loss_that_is_not_finite_names_all_that_made_it(tmp_path: Path) -> None:
    class Poisoned(TinyMlp):
        def forward(self, x: Tensor, arch: Any) -> Tensor:
            broken = arch == SPACE.extreme(largest=False)
            return super().forward(x, arch) * (float("nan") if broken else 1.0)

    with pytest.raises(EvaluationError, match=(
            rf"loss is nan at step 0, architecture {SPACE.extreme(largest=False).digest}, "
            r"batch 0 of 12 rows; lower the learning rate$")):
        make_trainer(tmp_path / "c.pt", supernet=Poisoned(mlp_task())).run()


@pytest.mark.parametrize(("changes", "error", "match"), [
    ({"config": replace(CONFIG, accumulation=5)}, DataError,
     "4 batches, fewer than the 5 of one update"),
    ({"config": replace(CONFIG, precision="fp16")}, InputError,
     "precision fp16 needs a GPU, and training runs on cpu"),
])
def test_recipes_that_cannot_be_followed(tmp_path: Path, changes: dict[str, Any],
                                         error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make_trainer(tmp_path / "c.pt", **changes).run()


def test_bad_validation() -> None:
    with pytest.raises(InputError, match="the test split is not for validation"):
        Validation(split="test")
    with pytest.raises(InputError, match="1 batch or more, not 0"):
        Validation(batches=0)


def test_the_default_criterion_is_that_of_the_recipe(tmp_path: Path) -> None:
    plain = trained(make_trainer(tmp_path / "a.pt"))
    given = trained(make_trainer(tmp_path / "b.pt", criterion=LabelLoss(smoothing=0.05)))
    assert equal(plain, given)
