"""Learning from a teacher's feature maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core.errors import InputError
from supernets.training.distill import Criterion, Loss


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureLoss:
    """Another criterion, and the mean squared distance of feature maps to a teacher's.

    Romero et al., FitNets, arXiv 1412.6550, section 2.2, without its regressors: maps must be of
    one shape, so a student whose widths differ is to be compared where they do not.

    Attributes:
        base: The criterion it is added to.
        student: Outputs of the network that learns → its maps; `Taps` has them.
        teacher: Inputs → the teacher's maps, in the same order.
        weight: Of the distance, the mean over the maps.
    """

    base: Criterion
    student: Callable[[Any], Sequence[Tensor]] = field(repr=False)
    teacher: Callable[[Any], Sequence[Tensor]] = field(repr=False)
    weight: float = 1.0

    def __call__(self, inputs: Any, targets: Any) -> Loss:
        """Returns the loss of outputs.

        The loss raises:
            InputError: Maps that are not of the teacher's number or shapes.
        """
        base = self.base(inputs, targets)
        with torch.no_grad():
            taught = [feature.detach() for feature in self.teacher(inputs)]

        def loss(outputs: Any) -> Tensor:
            own = self.student(outputs)
            shapes = [[tuple(feature.shape) for feature in maps] for maps in (taught, own)]
            if shapes[0] != shapes[1] or not taught:
                raise InputError(f"the teacher's feature maps are {shapes[0]}, the network's "
                                 f"{shapes[1]}; compare maps of one shape")
            distances = [F.mse_loss(a, b) for a, b in zip(own, taught, strict=True)]
            return base(outputs) + self.weight * torch.stack(distances).mean()

        return loss

    def identity(self) -> str:
        """Returns its weight and the base's identity; which maps it compares is not in it."""
        return f"FeatureLoss(weight={self.weight!r}) {self.base.identity()}"


class Taps:
    """The outputs of named submodules at a module's last call.

    Args:
        module: Any network.
        names: Of its submodules, as `named_modules` has them.

    Raises:
        InputError: It has no such submodule.
    """

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        known = dict(module.named_modules())
        unknown = [name for name in names if name not in known]
        if unknown:
            raise InputError(f"a {type(module).__name__} has no layer {unknown[0]!r}; "
                             "named_modules() lists what it has")
        self._maps: dict[str, Tensor] = {}
        self._names = tuple(names)
        self._hooks = [known[name].register_forward_hook(self._keeping(name)) for name in names]

    def maps(self, _: Any = None) -> list[Tensor]:
        """Returns the maps of the last call, in the order of the names."""
        return [self._maps[name] for name in self._names]

    def close(self) -> None:
        """Takes the hooks away."""
        for hook in self._hooks:
            hook.remove()
        self._maps.clear()

    def _keeping(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self._maps[name] = output
        return keep
