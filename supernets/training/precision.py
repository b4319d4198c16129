"""Mixed precision: which operators run in 16 bits, and what keeps the gradients of fp16 alive."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from nas.core.errors import InputError

PRECISIONS = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """How the numbers of one training are held; weights and their updates stay float32.

    torch's own autocast and scaler, which is what `accelerate.Accelerator` wraps: that object
    fixes one precision for the whole process, and two trainings in one may differ.

    Args:
        name: One of `PRECISIONS`.
        device: What is computed with.

    Raises:
        InputError: A device that cannot train in that precision.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "fp16" and device.type != "cuda":
            raise InputError(f"precision fp16 needs a GPU, and training runs on {device.type}; "
                             "use bf16 or no")
        if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise InputError("this GPU does not compute in bf16; use fp16 or no")
        self._type, self._device = PRECISIONS[name], device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> AbstractContextManager[object]:
        """Returns the context of one forward pass.

        Enter a new one for each: a weight cast in one is kept until its end, and its graph does
        not outlive the first backward pass.
        """
        if self._type is None:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._type)

    def backward(self, loss: Tensor) -> None:
        """Adds a loss's gradients, scaled where the precision wants it."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def update(self, optimizer: torch.optim.Optimizer, *, clip_norm: float | None) -> None:
        """Makes one update; with fp16 none where a gradient overflowed."""
        if clip_norm is not None:
            self.scaler.unscale_(optimizer)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        self.scaler.step(optimizer)
        self.scaler.update()
