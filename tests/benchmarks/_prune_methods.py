"""The methods that `bench_prune` compares, each from a seed to an architecture at equal cost."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from _prune_bench import BATCH, Bench, rows, trained, unpruned
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.problem import Objective, Problem
from nas.core.protocols import Screening
from nas.core.rng import derive_rng
from nas.core.types import IntArray
from nas.execution.serial import SerialExecutor
from nas.pipeline.knowledge import make_predictor
from nas.pipeline.proxies import load_proxy
from nas.search.factory import make_searcher
from supernets.tas.methods.layer_tickets import LayerTickets
from supernets.tas.methods.magnitude import magnitude
from supernets.tas.methods.n2n import N2N
from supernets.tas.methods.precrop import precrop
from supernets.tas.methods.random import random
from supernets.tas.methods.uniform import uniform
from supernets.tas.relaxed import Relaxed
from supernets.tas.search import TasConfig, TasSearch
from supernets.tas.subject import Subject
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.tasks.splits import halves
from supernets.timm.families import describe_model
from supernets.timm.importance import by_activation, sort_units
from supernets.timm.supernet import TimmSupernet
from supernets.training.distill import TeacherLoss
from supernets.training.sampling import SinglePath
from supernets.training.trainer import TrainConfig, Trainer

VALIDATIONS = 100  # of LINAS on shared weights
DRAWS = 20  # of N2N: 8 removals, 12 shrinkages, an epoch of training each


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A gradient search.

    Attributes:
        name: Of its checkpoint.
        length: Its epochs, as a multiple of a training's.
        warm_up: Of these, the ones before the architecture is learnt, likewise.
        temperature: Of the first epoch.
        trained: Whether it starts with the unpruned network's weights, as `nas prune` does.
    """

    name: str
    length: float = 1.0
    warm_up: float = 0.0
    temperature: float = 10.0
    trained: bool = False


@dataclass(frozen=True)
class Found:
    """An architecture, the network whose space it is of, and what is to be told of the search."""

    net: TimmSupernet
    arch: Arch
    said: Mapping[str, Any]


def simple(method: Callable[[Subject], Arch], bench: Bench, seed: int, draw: int) -> Found:
    """Methods that look at costs alone."""
    net = bench.supernet(seed)
    subject = Subject(supernet=net, budget=bench.budget(net), seed=seed + 100 * draw)
    return Found(net, method(subject), {})


def tas(variant: Variant, bench: Bench, seed: int, _draw: int) -> Found:
    """The gradient search, half of the images for the weights and half for the choices."""
    weights, choices = halves(bench.training, derive_rng(seed, "halves"))
    net = bench.supernet(seed)
    if variant.trained:
        net.model.load_state_dict(unpruned(bench, seed).state_dict())
    config = TasConfig(epochs=round(variant.length * bench.epochs), seed=seed,
                       warmup_epochs=round(variant.warm_up * bench.epochs),
                       temperatures=(variant.temperature, 0.1))
    budget = bench.budget(net)
    found = TasSearch(
        relaxed=Relaxed(net.model, net.elastic).to(memory_format=torch.channels_last),
        task=bench.task, weights=bench.batches(seed, weights),
        choices=bench.batches(seed + 1000, choices), budget=budget, config=config,
        checkpoint=bench.work / f"{variant.name}-{seed}.pt").run()
    sure = [max(values) for values in found.probabilities.values()]
    steps = (config.epochs - config.warmup_epochs) * (len(weights.labels) // BATCH)
    return Found(net, found.arch, {
        "certainty": round(float(np.mean(sure)), 3),
        "likeliest_of_budget": round(budget.cost.of(found.likeliest) / budget.limit, 4),
        "arch_learning_rate": round(config.arch_rate(steps), 5),
        "temperatures": list(config.temperatures)})


def linas(bench: Bench, seed: int, _draw: int) -> Found:
    """The same space with weights shared by single paths, searched by LINAS.

    Weights are trained on one half of the images for twice the epochs, a network a step, which
    takes less time than the gradient search; 100 networks within 2 % of the budget are validated
    on the other half, batch norms recalibrated. The best one is the result.
    """
    weights, choices = halves(bench.training, derive_rng(seed, "halves"))
    net, task = bench.supernet(seed), validating(bench, choices)
    Trainer(supernet=net, task=bench.task, rule=SinglePath(), data=bench.batches(seed, weights),
            config=TrainConfig(epochs=2 * bench.epochs, learning_rate=0.1, weight_decay=5e-4,
                               label_smoothing=0.0, seed=seed),
            checkpoint=bench.work / f"shared-{seed}.pt").run()
    budget = bench.budget(net)

    def screen(codes: IntArray) -> Screening:
        passed = np.array([budget.is_met(cost) for cost in budget.cost.predict(codes)], dtype=bool)
        return Screening(passed, {"macs": int((~passed).sum())})

    problem = Problem(space=net.space, objectives=(Objective("error", "%"),), screen=screen,
                      seed=seed, features=net.space.features, predictor=make_predictor)
    searcher = make_searcher("linas", problem, budget=VALIDATIONS)
    outcomes: list[Any] = []
    while len(outcomes) < VALIDATIONS:
        batch = list(SerialExecutor().run(
            lambda arch: task.metrics(net.recalibrated(arch, task.batches("train_calib")).eval(),
                                      task.batches("search")), searcher.ask(4)))
        searcher.tell(batch)
        outcomes += batch
    best = min(outcomes, key=lambda outcome: float(outcome.metrics["error"]))
    errors = [float(outcome.metrics["error"]) for outcome in outcomes]
    return Found(net, best.trial.arch, {"validations": len(outcomes), "best_error": min(errors),
                                        "median_error": float(np.median(errors))})


def layer_tickets(bench: Bench, seed: int, _draw: int) -> Found:
    """Blocks go by SNIP on a batch, before training; then widths evenly."""
    proxy: Any = load_proxy("snip")
    batch = next(iter(bench.task.batches("train_calib")))

    def scores(model: nn.Module) -> Mapping[str, Tensor]:
        found: Mapping[str, Tensor] = proxy.scores(model, batch, loss=bench.task.loss,
                                                   rng=derive_rng(seed, "layer tickets"))
        return found

    tickets, fresh = LayerTickets(scores=scores), bench.supernet(seed)
    order = tickets.order(fresh.model, describe_model(fresh.model))
    net = bench.supernet(seed, order)
    return Found(net, tickets(Subject(supernet=net, budget=bench.budget(net), seed=seed)),
                 {"order": {stage: list(places) for stage, places in order.items()}})


def by_magnitude(bench: Bench, seed: int, _draw: int) -> Found:
    """torch-pruning on the trained unpruned network."""
    net = bench.supernet(seed)
    net.model.load_state_dict(unpruned(bench, seed).state_dict())
    return Found(net, magnitude(Subject(supernet=net, budget=bench.budget(net), seed=seed)), {})


def n2n(bench: Bench, seed: int, _draw: int) -> Found:
    """Drawn networks inherit from the trained unpruned one and learn from it for an epoch."""
    weights, choices = halves(bench.training, derive_rng(seed, "halves"))
    task, teacher, net = validating(bench, choices), unpruned(bench, seed), bench.supernet(seed)
    net.model.load_state_dict(teacher.state_dict())
    facts = net.elastic.facts
    sort_units(net.model, facts, by_activation(
        net.model.eval(), facts, (inputs for inputs, _ in bench.task.batches("train_calib"))))

    def reached(module: nn.Module) -> float:
        return 1.0 - float(task.metrics(module.eval(), task.batches("search"))["error"]) / 100.0

    def after_an_epoch(arch: Arch) -> float:
        return reached(trained(bench, net.extract(arch), seed, TeacherLoss(teacher=teacher),
                               data=weights, epochs=1))

    found = N2N(accuracy=after_an_epoch, unpruned_accuracy=reached(teacher),
                removals=round(DRAWS * 0.4), shrinkages=round(DRAWS * 0.6),
                log=bench.work / f"n2n-{seed}.json")(
                    Subject(supernet=net, budget=bench.budget(net), seed=seed))
    return Found(net, found, {"draws": DRAWS})


def validating(bench: Bench, choices: LabelledImages) -> ImageClassification:
    """Returns the task with images to search on, which weights are not trained on."""
    task = bench.task
    return ImageClassification(
        labels=task.labels, input_shape=task.input_shape, mean=task.mean, std=task.std,
        batch_size=task.batch_size,
        splits={"train_calib": rows(bench.training, range(2000)), "search": choices})


TAS = {"tas": Variant(name="tas-plain"),
       "tas warm-up": Variant(name="tas-warm", warm_up=0.25),
       "tas twice as long": Variant(name="tas-long", length=2.0),
       "tas temperature 5": Variant(name="tas-cool", temperature=5.0),
       "tas from trained": Variant(name="tas-trained", trained=True)}
METHODS: dict[str, Callable[[Bench, int, int], Found]] = {
    "uniform": partial(simple, uniform), "random": partial(simple, random),
    "precrop": partial(simple, precrop),
    **{name: partial(tas, variant) for name, variant in TAS.items()},
    "linas": linas, "layer-tickets": layer_tickets, "magnitude": by_magnitude, "n2n": n2n}
