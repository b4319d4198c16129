"""Finding the features of an arbitrary classifier just before they are pooled."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(slots=True)
class FeatureTap:
    """Remembers the features of the last forward pass, where hooks of `watch` ran in it.

    Features are, in this order:
    - the input of the last global pooling: a module without parameters that makes one number of
      each channel of (B, C, positions…), such as ``AdaptiveAvgPool2d(1)`` or timm's
      ``SelectAdaptivePool2d``. A pooling that is followed by a convolution over several positions
      belongs to a squeeze-and-excite gate inside the network and does not count;
    - else the input of the last Linear layer that runs: the pooled or the class token's embedding
      in a vision transformer, whose pooling is no module;
    - else the network's output.
    """

    _pooled: Tensor | None = field(default=None, init=False)
    _linear: Tensor | None = field(default=None, init=False)

    def watch(self, model: nn.Module) -> None:
        """Adds the hooks; `guard.preserved` takes them away."""
        for module in model.modules():
            module.register_forward_hook(self._see)

    def take(self, outputs: Tensor) -> Tensor:
        """Returns the features of the pass that gave these outputs, and forgets them."""
        pooled, linear, self._pooled, self._linear = self._pooled, self._linear, None, None
        if pooled is not None:
            return pooled
        return outputs if linear is None else linear

    def _see(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not args or not isinstance(args[0], Tensor) or not isinstance(output, Tensor):
            return
        if isinstance(module, nn.Linear):
            self._linear = args[0]
        elif isinstance(module, _CONVS) and _positions(args[0]) > 1:
            self._pooled = None
        elif _positions(args[0]) > 1 and output.shape[:2] == args[0].shape[:2] \
                and output.numel() == output.shape[0] * output.shape[1] \
                and next(module.parameters(), None) is None:
            self._pooled = args[0]


def _positions(x: Tensor) -> int:
    return x.shape[2:].numel() if x.dim() > 2 else 1
