"""A search decides, meets its budget, and goes on from a checkpoint as if never stopped."""

from dataclasses import dataclass

import pytest
import timm
import torch
from tas_subjects import make_subject, make_supernet
from torch.nn import functional as F

from nas.core.errors import DataError, EvaluationError, InputError
from supernets.tas.relaxed import Relaxed
from supernets.tas.search import TasConfig, TasSearch

STEPS = 4  # of an epoch


@dataclass(frozen=True)
class Squares:
    """Batches of images with a bright quarter, whose place is the label."""

    seed: int
    broken: bool = False
    steps_per_epoch: int = STEPS

    def checked_steps_per_epoch(self):
        return self.steps_per_epoch

    def identity(self):
        return {"images": self.seed}

    def batch(self, step):
        generator = torch.Generator().manual_seed(1000 * self.seed + step)
        images = torch.randn(16, 3, 8, 8, generator=generator)
        labels = torch.randint(4, (16,), generator=generator)
        for image, label in zip(images, labels.tolist(), strict=True):
            top, left = divmod(label, 2)
            image[:, 4 * top:4 * top + 4, 4 * left:4 * left + 4] += 2
        return images * (float("nan") if self.broken else 1.0), labels


class Task:
    """Cross-entropy."""

    def loss(self, outputs, targets):
        return F.cross_entropy(outputs, targets)


@pytest.fixture(scope="module")
def subject():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("cifar_resnet20", num_classes=4, depth=2, width=0.5)
    supernet = make_supernet("cifar_resnet20", model=model)
    return make_subject(supernet, 0.6)


def make_search(subject, path, **given):
    relaxed = Relaxed(subject.supernet.model, subject.supernet.elastic)
    config = {"epochs": 3, "temperatures": (5.0, 0.5), "seed": 1, "checkpoint_s": 0.0}
    config |= given.pop("config", {})
    return TasSearch(**{"relaxed": relaxed, "task": Task(), "weights": Squares(1),
                        "choices": Squares(2), "budget": subject.budget,
                        "config": TasConfig(**config), "checkpoint": path, **given})


class Stopped(Exception):
    """Raised in place of a killed process."""


def test_a_stopped_search_goes_on(subject, tmp_path):
    told = {}

    def tell(name):
        return lambda found: told.setdefault(name, []).append(found)

    whole = make_search(subject, tmp_path / "whole.pt", on_epoch=tell("whole")).run()

    def stop(step, total):
        assert total == 3 * STEPS
        if step == STEPS + 2:
            raise Stopped

    with pytest.raises(Stopped):
        make_search(subject, tmp_path / "s.pt", on_epoch=tell("stopped"), on_step=stop).run()
    steps = []
    found = make_search(subject, tmp_path / "s.pt", on_epoch=tell("stopped"),
                        on_step=lambda step, _: steps.append(step)).run()
    assert steps == list(range(STEPS + 2, 3 * STEPS + 1))  # after the last checkpoint
    assert told["stopped"] == told["whole"]
    assert [epoch.epoch for epoch in told["whole"]] == [1, 2, 3]
    assert found.probabilities == whole.probabilities
    assert (found.arch, found.likeliest) == (whole.arch, whole.likeliest)
    for name, tensor in whole.relaxed.state_dict().items():
        assert torch.equal(tensor, found.relaxed.state_dict()[name]), name


def test_a_finished_search_is_read_again(subject, tmp_path):
    first = make_search(subject, tmp_path / "s.pt").run()
    again = make_search(subject, tmp_path / "s.pt", on_step=lambda *_: pytest.fail("a step")).run()
    assert (first.arch, first.probabilities) == (again.arch, again.probabilities)


def test_it_learns_and_ends_at_the_budget(subject, tmp_path):
    told = []
    found = make_search(subject, tmp_path / "s.pt", config={"epochs": 7, "warmup_epochs": 1},
                        on_epoch=told.append).run()
    assert subject.budget.is_met(subject.budget.cost.of(found.arch))
    assert told[-1].loss < 0.9 * told[0].loss
    assert told[-1].certainty > told[0].certainty + 0.1
    assert found.likeliest == subject.supernet.space.canonical(found.likeliest)
    for gene in subject.supernet.space.genes:
        assert sum(found.probabilities[gene.name]) == pytest.approx(1.0)


def test_the_likeliest_network_is_within_the_band(subject, tmp_path):
    # However short a search is: its images alone have led it anywhere.
    cost, told = subject.budget.cost, []
    for seed in range(3):
        found = make_search(subject, tmp_path / f"{seed}.pt", config={"epochs": 1, "seed": seed},
                            on_epoch=told.append).run()
        assert abs(cost.of(found.likeliest) / subject.budget.limit - 1) <= 0.05
    assert max(abs(epoch.cost / subject.budget.limit - 1) for epoch in told) > 0.05


def test_in_the_warm_up_the_architecture_is_left_alone(subject, tmp_path):
    certainty = []
    make_search(subject, tmp_path / "s.pt", config={"epochs": 3, "warmup_epochs": 2},
                on_epoch=lambda epoch: certainty.append(epoch.certainty)).run()
    assert certainty[0] == certainty[1] != certainty[2]


def test_a_checkpoint_of_another_search_is_refused(subject, tmp_path):
    make_search(subject, tmp_path / "s.pt").run()
    with pytest.raises(DataError, match=r"cost_weight is 2.0 there, 3.0 here"):
        make_search(subject, tmp_path / "s.pt", config={"cost_weight": 3.0}).run()
    with pytest.raises(DataError, match=r"choices_images is 2 there, 3 here"):
        make_search(subject, tmp_path / "s.pt", choices=Squares(3)).run()


def test_losses_that_are_not_finite_are_errors(subject, tmp_path):
    with pytest.raises(EvaluationError, match="the architecture's loss is nan at step 0"):
        make_search(subject, tmp_path / "s.pt", choices=Squares(2, broken=True)).run()


@pytest.mark.parametrize(("given", "message"), [
    ({"epochs": 2, "warmup_epochs": 2}, "at least one must be left"),
    ({"temperatures": (0.1, 1.0)}, "must be positive and fall"),
    ({"temperatures": (1.0, 0.0)}, "must be positive and fall")])
def test_configurations_that_contradict_themselves(given, message):
    with pytest.raises(InputError, match=message):
        TasConfig(**given)


def test_the_architecture_learns_as_much_in_fewer_steps():
    config = TasConfig()
    assert config.arch_rate(600 * 97) == pytest.approx(1e-3)
    assert config.arch_rate(6 * 970) == pytest.approx(1e-2)
    assert config.arch_rate(100) == 0.1
    assert TasConfig(arch_learning_rate=0.02).arch_rate(100) == 0.02
