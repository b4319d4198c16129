"""`TrainedEvaluator`: pure, resumable after each epoch; what it validates on it never trains on."""

import json
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.errors import ArchError, DataError, EvaluationError
from nas.core.protocols import Batch
from nas.evaluation.trained import TrainedEvaluator
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import ImageClassification
from supernets.training.plain import PlainFit, PlainTraining
from supernets.training.recipe import Recipe

EPOCHS = 3


@pytest.fixture
def fit(tiny_task: ImageClassification) -> PlainFit:
    return PlainFit(task=tiny_task, images=tiny_task.splits["train_calib"], batch_size=16,
                    recipe=Recipe(epochs=EPOCHS, learning_rate=0.1, warmup_epochs=0.5))


@pytest.fixture
def make(tiny_supernet: MobileNetSupernet, fit: PlainFit, tmp_path: Path) -> Any:
    def made(name: str = "training", **changes: Any) -> TrainedEvaluator:
        return TrainedEvaluator(**{"supernet": tiny_supernet, "fit": fit,
                                   "folder": tmp_path / name, "seed": 3, **changes})

    return made


@pytest.fixture
def arch(tiny_supernet: MobileNetSupernet) -> Arch:
    return tiny_supernet.space.extreme(largest=True)


def weights(evaluate: TrainedEvaluator, arch: Arch) -> Mapping[str, Tensor]:
    return evaluate.network(arch).state_dict()


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def endings(folder: Path) -> set[str]:
    return {path.suffix for path in folder.iterdir()}


def test_metrics_come_after_each_epoch_and_are_those_of_the_network(
        make: Any, arch: Arch, tiny_task: ImageClassification) -> None:
    evaluate = make(costs=lambda arch: {"params": len(arch.choices)})
    found = list(evaluate.epochs(arch))
    assert len(found) == evaluate.total_epochs == EPOCHS
    assert evaluate(arch) == found[-1]
    network = evaluate.network(arch)
    assert found[-1] == {**tiny_task.metrics(network, tiny_task.batches("search")),
                         "params": len(arch.choices)}
    assert evaluate.histories() == {arch.digest: found}
    assert endings(evaluate.folder) == {".json", ".safetensors"}


def test_it_is_a_pure_function_of_architecture_and_seed(make: Any, arch: Arch) -> None:
    first, again, other = make("a"), make("b"), make("c", seed=4)
    assert list(first.epochs(arch)) == list(again.epochs(arch))
    assert same(weights(first, arch), weights(again, arch))
    assert not same(weights(first, arch), weights(other, arch))


def test_an_order_of_networks_changes_nothing(make: Any, arch: Arch) -> None:
    small = make().supernet.space.extreme(largest=False)
    a, b = make("a"), make("b")
    assert [a(arch), a(small)] == [b(small), b(arch)][::-1]


def test_from_scratch_forgets_the_supernet(make: Any, arch: Arch) -> None:
    inherited, scratch = make("a"), make("b", from_="scratch")
    assert not same(weights(inherited, arch), weights(scratch, arch))
    for tensor in scratch.supernet.parameters():
        torch.nn.init.constant_(tensor, 0.5)
    after = make("c", from_="scratch")
    assert same(weights(scratch, arch), weights(after, arch))


@pytest.mark.parametrize("after", range(1, EPOCHS + 1))
def test_it_goes_on_after_each_epoch_bit_for_bit(make: Any, arch: Arch, after: int) -> None:
    whole, stopped = make("a"), make("b")
    expected = list(whole.epochs(arch))
    epochs = stopped.epochs(arch)
    for _ in range(after):
        next(epochs)
    epochs.close()
    trained: list[int] = []
    resumed = make("b", fit=Counted(stopped._fit, trained))
    assert list(resumed.epochs(arch)) == expected
    assert trained == list(range(after, EPOCHS))
    assert same(weights(whole, arch), weights(resumed, arch))
    assert endings(resumed.folder) == {".json", ".safetensors"}


@pytest.mark.parametrize(("suffix", "count"), [(".json", 1), (".json", 2), (".json", 3),
                                               (".pt", 1), (".pt", 2), (".safetensors", 1)])
def test_a_kill_between_two_files_costs_at_most_an_epoch(
        make: Any, arch: Arch, suffix: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(make("a").epochs(arch))
    with monkeypatch.context() as patch:
        patch.setattr("nas.evaluation.training_files.replace_file", Dying(suffix, count))
        with pytest.raises(KilledError):
            list(make("b").epochs(arch))
    assert list(make("b").epochs(arch)) == expected
    assert same(weights(make("a"), arch), weights(make("b"), arch))


def test_what_is_abandoned_keeps_its_metrics_and_can_be_trained_after_all(
        make: Any, arch: Arch) -> None:
    evaluate = make("a")
    epochs = evaluate.epochs(arch)
    first = next(epochs)
    epochs.close()
    assert endings(evaluate.folder) == {".json", ".pt"}
    evaluate.abandon(arch)
    assert endings(evaluate.folder) == {".json"}
    assert evaluate.histories() == {arch.digest: [first]}
    assert list(evaluate.epochs(arch)) == list(make("b").epochs(arch))


def test_it_survives_pickling(make: Any, arch: Arch) -> None:
    evaluate = make("a")
    sent = pickle.loads(pickle.dumps(make("b")))
    assert list(evaluate.epochs(arch)) == list(sent.epochs(arch))


# The splits

def test_search_and_test_images_are_never_trained_on(
        tiny_task: ImageClassification, make: Any, fit: PlainFit, arch: Arch,
        tiny_supernet: MobileNetSupernet) -> None:
    watched = WatchedTask(**{name: getattr(tiny_task, name) for name in (
        "labels", "input_shape", "mean", "std", "splits", "batch_size")})
    tiny_supernet.task = watched
    make(fit=replace(fit, task=watched))(arch)
    assert "test" not in watched.reads
    assert watched.reads == ["train_calib", "search"] * EPOCHS
    assert watched.with_gradient == EPOCHS * 4  # the batches of 16 of 64 training images
    forbidden = {image.tobytes() for split in ("search", "test")
                 for image in tiny_task.splits[split].images}
    assert not any(image.tobytes() in forbidden for image in fit.images.images)


def test_the_supernet_is_never_written_to(make: Any, arch: Arch,
                                          tiny_supernet: MobileNetSupernet) -> None:
    before = {name: tensor.clone() for name, tensor in tiny_supernet.state_dict().items()}
    make("a")(arch)
    make("b", from_="scratch")(arch)
    assert same(before, tiny_supernet.state_dict())


# What goes wrong

def test_another_recipe_does_not_go_on(make: Any, arch: Arch, fit: PlainFit) -> None:
    make()(arch)
    for changes in ({"fit": replace(fit, recipe=replace(fit.recipe, epochs=4))}, {"seed": 9},
                    {"from_": "scratch"}, {"fit": replace(fit, batch_size=8)}):
        with pytest.raises(DataError, match="is of another training"):
            make(**changes)(arch)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"identity": 1}', b'{"epochs": 3}', b"\xff"])
def test_damaged_metrics_are_one_line(make: Any, arch: Arch, content: bytes) -> None:
    evaluate = make()
    evaluate.folder.mkdir()
    path = evaluate.folder / f"{arch.digest}.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path} cannot be read .*; remove it"):
        evaluate(arch)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_damaged_states_are_one_line(make: Any, arch: Arch, suffix: str) -> None:
    evaluate = make()
    if suffix == "pt":
        epochs = evaluate.epochs(arch)
        next(epochs)
        epochs.close()
    else:
        evaluate(arch)
    path = evaluate.folder / f"{arch.digest}.{suffix}"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=f"{path} cannot be read .*; remove it"):
        evaluate.network(arch)


def test_metrics_that_end_before_the_checkpoint(make: Any, arch: Arch) -> None:
    evaluate = make()
    epochs = evaluate.epochs(arch)
    next(epochs), next(epochs)
    epochs.close()
    path = evaluate.folder / f"{arch.digest}.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "epochs": found["epochs"][:1]}))
    with pytest.raises(DataError, match="end before its checkpoint"):
        evaluate(arch)


def test_a_training_that_fails_leaves_no_state(make: Any, arch: Arch) -> None:
    costs = iter([1.0, float("inf")])
    evaluate = make(costs=lambda _: {"params": next(costs)})
    epochs = evaluate.epochs(arch)
    next(epochs)
    assert endings(evaluate.folder) == {".json", ".pt"}
    with pytest.raises(EvaluationError, match=r"metric .params. of network .* is inf"):
        next(epochs)
    assert endings(evaluate.folder) == {".json"}


def test_a_training_that_diverges(make: Any, fit: PlainFit, arch: Arch) -> None:
    evaluate = make(fit=replace(fit, recipe=replace(fit.recipe, learning_rate=1e30)))
    with pytest.raises(EvaluationError, match=r"not finite|lower the learning rate"):
        evaluate(arch)


def test_an_architecture_of_another_space(make: Any, arch: Arch) -> None:
    with pytest.raises(ArchError):
        make()(replace(arch, space_id="other/1"))


class KilledError(BaseException):
    """Nobody catches it."""


class Dying:
    """Writes files until one is to be written for the nth time."""

    def __init__(self, suffix: str, count: int) -> None:
        self.suffix, self.left = suffix, count

    def __call__(self, path: Path, data: bytes) -> None:
        if path.suffix == self.suffix:
            self.left -= 1
            if self.left == 0:
                raise KilledError
        path.write_bytes(data)


@dataclass
class Counted:
    """A fit that notes which epochs are trained."""

    inner: PlainFit
    trained: list[int]

    @property
    def epochs(self) -> int:
        return self.inner.epochs

    def identity(self) -> Mapping[str, Any]:
        return self.inner.identity()

    def __call__(self, module: nn.Module, *, seed: int) -> PlainTraining:
        training = self.inner(module, seed=seed)
        advance = training.advance

        def counted() -> nn.Module:
            self.trained.append(training.done)
            return advance()

        training.advance = counted  # type: ignore[method-assign]
        return training


@dataclass(frozen=True, kw_only=True)
class WatchedTask(ImageClassification):
    """A task that notes which splits are read, and how many batches were trained on."""

    reads: list[str] = field(default_factory=list)
    seen: list[bool] = field(default_factory=list)

    @property
    def with_gradient(self) -> int:
        return sum(self.seen)

    def batches(self, split: str) -> Iterator[Batch]:
        self.reads.append(split)
        inner = ImageClassification(**{name: getattr(self, name) for name in (
            "labels", "input_shape", "mean", "std", "splits", "batch_size")})
        return inner.batches(split)

    def to_targets(self, labels: Any) -> Tensor:
        self.seen.append(len(labels) == 16)
        return super().to_targets(labels)

    def metrics(self, model: nn.Module, batches: Iterable[Batch]) -> Mapping[str, float]:
        assert not model.training
        return super().metrics(model, batches)


