"""From a timm model to its supernet: what matters most is put in front."""

from collections.abc import Iterator

from torch import Tensor, nn

from nas.core.errors import InputError
from nas.core.protocols import Batch, Task
from supernets.timm.config import TimmConfig
from supernets.timm.families import ModelFacts
from supernets.timm.importance import (
    Importance,
    by_activation,
    by_magnitude,
    by_taylor,
    drop_order,
    sort_units,
)
from supernets.timm.supernet import TimmSupernet

IMPORTANCE = ("activation", "magnitude", "taylor", "none")
IMAGES = 256  # of train_calib, that importance is judged on


def make_supernet(model: nn.Module, config: TimmConfig, task: Task, *,
                  importance: str = "activation", images: int = IMAGES
                  ) -> tuple[TimmSupernet, TimmConfig]:
    """Returns the supernet of a model, in evaluation mode, and what it is made of.

    The whole architecture computes what the model did.

    Args:
        model: Stock, of timm; it is kept, and its units are sorted in place.
        config: Of the model; its drop order is replaced.
        task: What its inputs, loss and quality are; ``train_calib`` is read.
        importance: One of `IMPORTANCE`; ``none`` leaves the model's order and drops last blocks
            first.
        images: To judge importance on, at most.

    Raises:
        InputError: Nothing in the model is elastic, or there is no such importance.
    """
    facts = config.facts(model)
    if importance not in IMPORTANCE:
        raise InputError(f"importance {importance!r} is none of {', '.join(IMPORTANCE)}")
    model.eval()
    if importance != "none":
        found = _judged(model, facts, task, importance, images)
        sort_units(model, facts, found)
        config = config.model_copy(update={"drop_order": drop_order(facts, found)})
    return TimmSupernet(model, config.elastic(facts), task).eval(), config


def _judged(model: nn.Module, facts: ModelFacts, task: Task, importance: str,
            images: int) -> Importance:
    if importance == "magnitude":
        return by_magnitude(model, facts)
    batches = _first(task, images)
    if importance == "activation":
        return by_activation(model, facts, (inputs for inputs, _ in batches))
    return by_taylor(model, facts, _losses(model, task, batches))


def _losses(model: nn.Module, task: Task, batches: Iterator[Batch]) -> Iterator[Tensor]:
    for inputs, targets in batches:
        yield task.loss(model(inputs), targets)


def _first(task: Task, images: int) -> Iterator[Batch]:
    left = images
    for inputs, targets in task.batches("train_calib"):
        if left <= 0:
            return
        yield inputs[:left], targets[:left]
        left -= len(targets)
