"""The use-case of `nas export`, and of the last step of a search."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.protocols import Supernet
from nas.core.trial import Outcome
from nas.export.bundle import write_bundle
from nas.pipeline.compose import open_supernet
from nas.pipeline.config import SearchConfig
from nas.pipeline.events import Event, Watcher, silent
from nas.pipeline.run_dir import RunDir
from nas.search.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Bundle:
    """An exported network: its folder, test metrics and largest difference of ONNX from torch."""

    folder: Path
    test: Mapping[str, float]
    max_abs_diff: float


def export_subnet(run_dir: Path, *, digest: str, out: Path | None = None,
                  watch: Watcher = silent) -> Bundle:
    """Exports a network that a run has validated.

    Raises:
        InputError: No such run or network, or the output folder exists.
    """
    run, config, _ = RunDir.open(run_dir)
    ledger = open_ledger(run, config)
    found = [outcome for outcome in ledger.outcomes()
             if outcome.trial.arch.digest == digest and outcome.ok]
    if not found:
        raise InputError(f"{run_dir} has no validated network {digest!r}; see the digests in "
                         f"{run.pareto}")
    supernet = open_supernet(config.supernet)
    return write(supernet, found[0], out or run_dir / digest, watch=watch)


def open_ledger(run: RunDir, config: SearchConfig) -> Ledger:
    """Returns the ledger of a run."""
    raise NotImplementedError
