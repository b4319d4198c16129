"""The log of a training for TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self


class Board:
    """Writes event files into a folder; to be used as a context manager.

    Args:
        folder: Made if it is not there; what other runs of the training wrote stays.
        step: From which this run goes on: what a stopped one wrote after it is not shown.
    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        from tensorboardX import SummaryWriter  # takes as long as numpy, and few want a log

        # Files are named by the second, and one must not take the place of another.
        self._writer = SummaryWriter(str(folder), purge_step=step, filename_suffix=f".{step}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._writer.close()

    def step(self, step: int, *, loss: float, learning_rate: float) -> None:
        """Notes one step, counted from 1."""
        self._writer.add_scalar("train/loss", loss, step)
        self._writer.add_scalar("train/learning_rate", learning_rate, step)

    def validation(self, step: int, results: Mapping[str, Mapping[str, float]]) -> None:
        """Notes the metrics of each network, by its name."""
        for network, metrics in results.items():
            for metric, value in metrics.items():
                self._writer.add_scalar(f"{metric}/{network}", value, step)
        self._writer.flush()
