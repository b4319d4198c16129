"""All that decides the space of a timm supernet, and what it takes and gives."""

import hashlib
import json
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from torch import nn

from nas.core.errors import SpaceError
from nas.core.protocols import Task
from supernets.timm.create import create_model
from supernets.timm.elastic import Elastic, Ratios
from supernets.timm.excluded import excluding
from supernets.timm.families import ModelFacts, describe_model
from supernets.timm.supernet import TimmSupernet

VERSION = 1  # of the spaces: raise it when the same model gets other genes


class TimmConfig(BaseModel):
    """What a timm supernet is made of.

    Attributes:
        model: timm's name.
        classes: Length of the logits.
        channels: Of the input images.
        side: Of the input images, in pixels.
        inner: `Ratios.inner`.
        width: `Ratios.width`.
        depth: `Ratios.depth`.
        depth_step: `Ratios.depth_step`.
        multiple: `Ratios.multiple`.
        nearest: `Ratios.nearest`.
        kernels: `Ratios.kernels`.
        exclude: Patterns of layers that are left as they are: see `excluding`.
        drop_order: `Elastic.drop_order`.
        sides: `Elastic.sides`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: StrictStr
    classes: int = Field(ge=2)
    channels: int = Field(ge=1)
    side: int = Field(ge=1)
    inner: tuple[float, ...] = Ratios().inner
    width: tuple[float, ...] = Ratios().width
    depth: float = Ratios().depth
    depth_step: int = Ratios().depth_step
    multiple: int = Ratios().multiple
    nearest: bool = Ratios().nearest
    kernels: bool = Ratios().kernels
    exclude: tuple[StrictStr, ...] = ()
    drop_order: dict[StrictStr, tuple[int, ...]] = {}
    sides: tuple[int, ...] = ()

    @property
    def ratios(self) -> Ratios:
        """Which sizes are choices.

        Raises:
            SpaceError: Ratios out of range.
        """
        return Ratios(inner=self.inner, width=self.width, depth=self.depth,
                      depth_step=self.depth_step, multiple=self.multiple, nearest=self.nearest,
                      kernels=self.kernels)

    def facts(self, model: nn.Module) -> ModelFacts:
        """Returns what is elastic in the model, without the layers that are excluded.

        Raises:
            InputError: Nothing is, or a pattern matches no layer.
        """
        found = describe_model(model)
        if not self.exclude:
            return found
        return excluding(found, self.exclude, [path for path, _ in model.named_modules() if path])

    def elastic(self, facts: ModelFacts) -> Elastic:
        """Returns the space of the model.

        Its id names all that decides the genes and which blocks a depth keeps: the model, the
        version, the side, and by a hash what differs from the defaults.

        Args:
            facts: Of the model: see `facts`.

        Raises:
            SpaceError: Ratios or sides out of range.
        """
        if self.sides and self.sides[-1] != self.side:
            raise SpaceError(f"resolutions {self.sides} must end with {self.side}, that of the "
                             "images that are given")
        usual = {stage.name: stage.droppable[::-1] for stage in facts.stages if stage.droppable}
        order = {stage: places for stage, places in sorted(self.drop_order.items())
                 if usual.get(stage) != places}
        other: dict[str, Any] = {"drop_order": order} if order else {}
        if self.sides:
            other["sides"] = self.sides
        first, usual_ratios = ("inner", "width", "depth"), Ratios()
        if any(getattr(self, name) != getattr(usual_ratios, name) for name in first):
            other["ratios"] = [getattr(self, name) for name in first]
        for name in ("depth_step", "multiple", "nearest", "kernels"):
            if getattr(self, name) != getattr(usual_ratios, name):
                other[name] = getattr(self, name)
        if self.exclude:
            other["exclude"] = sorted(self.exclude)
        end = f"-{hashlib.sha256(json.dumps(other).encode()).hexdigest()[:8]}" if other else ""
        return Elastic(f"timm:{self.model}/{VERSION}@{self.side}{end}", facts, self.ratios,
                       self.drop_order, self.sides)

    def make_model(self) -> nn.Module:
        """Returns the model with weights that say nothing.

        Raises:
            InputError: timm has no such model, or it cannot be of that shape.
        """
        with torch.random.fork_rng(devices=[]):
            return create_model(self.model, num_classes=self.classes, in_chans=self.channels,
                                img_size=self.side)

    def make_supernet(self, task: Task) -> TimmSupernet:
        """Returns the supernet with weights that say nothing.

        Raises:
            InputError: timm has no such model, it cannot be of that shape, or nothing in it is
                elastic.
            SpaceError: Ratios out of range.
        """
        model = self.make_model()
        return TimmSupernet(model, self.elastic(self.facts(model)), task)
