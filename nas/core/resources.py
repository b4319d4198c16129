"""What an executor may use."""

from dataclasses import dataclass

from nas.core.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Workers and what each of them gets.

    Attributes:
        workers: Trials that run at once, ≥ 1; None: as many as the executor finds fit.
        threads: Of each worker's computations; None: 1, which gives every executor equal results.
        gpus_per_trial: Share of a GPU that a trial takes; 0: none.
        address: Of the cluster to run on, such as ``"ray://head:10001"``; None: this machine.
        attempts: How often a trial is started whose worker dies, ≥ 1; then it has failed.

    Raises:
        InputError: A number out of range.
    """

    workers: int | None = None
    threads: int | None = None
    gpus_per_trial: float = 0.0
    address: str | None = None
    attempts: int = 3

    def __post_init__(self) -> None:
        for name in ("workers", "threads", "attempts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, not {value}")
        if self.gpus_per_trial < 0:
            raise InputError(f"GPUs per trial must be 0 or more, not {self.gpus_per_trial}")
