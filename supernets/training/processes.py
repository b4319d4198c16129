"""Several processes that train one network, as ``accelerate launch`` or ``torchrun`` start them.

Each has its own GPU and the whole network, computes on its share of every batch's rows, and
averages gradients with the others once a step. torch's DistributedDataParallel would do that at
every backward pass, of which a supernet has one for each architecture of a step.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from accelerate.utils import reduce  # type: ignore[import-untyped]
from torch import Tensor, nn

from nas.core.errors import InputError
from nas.core.protocols import Batch


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of a training.

    Attributes:
        count: Of all.
        index: Of this one, from 0; the first one writes files and reports.
    """

    count: int = 1
    index: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this one writes and reports."""
        return self.index == 0

    def share(self, batch: Batch) -> Batch:
        """Returns every count-th row of a batch.

        Raises:
            InputError: Rows that cannot be shared evenly: the mean would not be the batch's.
        """
        if self.count == 1:
            return batch
        inputs, targets = batch
        if len(targets) % self.count:
            raise InputError(f"a batch of {len(targets)} is not shared evenly by {self.count} "
                             f"processes; use a batch size that is a multiple of {self.count}")
        return inputs[self.index::self.count], targets[self.index::self.count]

    def mean(self, value: Tensor) -> Tensor:
        """Returns the mean of a tensor over all processes."""
        if self.count == 1:
            return value
        found: Tensor = reduce(value, reduction="mean")
        return found

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sets all gradients to their means over the processes.

        The architectures of a step are the same everywhere, hence so are the parameters that
        have a gradient.
        """
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def wait(self) -> None:
        """Returns when all processes have come here."""
        if self.count > 1:
            PartialState().wait_for_everyone()


def started(device: torch.device) -> Processes:
    """Returns this process among those that the launcher started; one if there was none.

    Args:
        device: What it computes with: `own_device`, where there are several.
    """
    state = PartialState(cpu=device.type == "cpu")
    return Processes(state.num_processes, state.process_index)


def own_device() -> torch.device:
    """Returns the device of this process: its own GPU where there is one, else the CPU."""
    device: torch.device = PartialState(cpu=not torch.cuda.is_available()).device
    return device
