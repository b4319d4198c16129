"""Quality after training: each network is trained by itself, epoch by epoch, and validated."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from torch import nn

from nas.core.arch import Arch
from nas.core.errors import DataError
from nas.core.files import sha256
from nas.core.problem import Objective
from nas.core.protocols import Supernet
from nas.core.rng import derive_seed
from nas.evaluation.costs import finite
from nas.evaluation.fit import Fit
from nas.evaluation.fresh import initialise
from nas.evaluation.training_files import TrainingFiles

TrainFrom = Literal["inherited", "scratch"]


class TrainedEvaluator:
    """The `EpochEvaluator` that trains; on a CPU a pure function of the architecture and seed.

    Each network is an extracted copy; the supernet is never written to. Every epoch ends with
    files in `folder`: a training that was stopped anywhere goes on from its last epoch, in
    whatever process, and ends with the same weights.

    Args:
        supernet: Whose networks, task and first weights are used.
        fit: Trains one network.
        folder: Of the files; on a cluster, one that all nodes share.
        seed: Of initial weights and batches, with the network's digest.
        from_: Whether networks start with the supernet's weights or with new ones.
        costs: Architecture → cost metrics, reported beside the task's.
        objectives: Of the search.
        split: Validated on; ``"search"`` while searching.

    Attributes:
        identity: Digest of what must be equal for trainings to be continued, but for the
            supernet's weights.
    """

    def __init__(self, supernet: Supernet, fit: Fit, *, folder: Path, seed: int = 0,
                 from_: TrainFrom = "inherited",
                 costs: Callable[[Arch], Mapping[str, float]] | None = None,
                 objectives: Sequence[Objective] = (Objective("error", "%"),),
                 split: str = "search") -> None:
        self.supernet = supernet
        self.objectives: Sequence[Objective] = tuple(objectives)
        self.folder = folder.absolute()  # workers have working directories of their own
        self._fit = fit
        self._seed = seed
        self._from = from_
        self._costs = costs or _no_costs
        self._split = split
        identity = {**fit.identity(), "seed": seed, "from": from_, "split": split}
        self.identity = sha256(json.dumps(identity, sort_keys=True).encode())[:12]

    @property
    def total_epochs(self) -> int:
        """After which a network is fully trained."""
        return self._fit.epochs

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        """Returns the metrics of a fully trained network.

        Raises:
            EvaluationError: A loss or metric that is not finite.
            DataError: A file of the network is damaged or of another training.
        """
        *_, last = self.epochs(arch)
        return last

    def epochs(self, arch: Arch) -> Iterator[Mapping[str, float]]:
        """Yields the metrics after each epoch.

        Epochs whose files are there are not trained again: the metrics are the same, and come at
        once. After the last one the weights are in `folder`.

        Raises:
            ArchError: An architecture of another space.
            EvaluationError: A loss or metric that is not finite; nothing of the training is kept.
            DataError: A file of the network is damaged or of another training.
        """
        arch = self.supernet.space.canonical(arch)
        files = self._files(arch.digest)
        history = files.history()
        if len(history) == self.total_epochs and files.finished:
            yield from history
            return
        try:
            yield from self._train(arch, files, history)
        except Exception:
            files.remove_state()
            raise

    def abandon(self, arch: Arch) -> None:
        """Removes what only further training of a network needs; its metrics stay."""
        self._files(self.supernet.space.canonical(arch).digest).remove_state()

    def histories(self) -> Mapping[str, Sequence[Mapping[str, float]]]:
        """Returns what was found after each epoch of every network in `folder`, by digest."""
        digests = sorted(path.stem for path in self.folder.glob("*.json"))
        return {digest: self._files(digest).history() for digest in digests}

    def network(self, arch: Arch) -> nn.Module:
        """Returns a fully trained network in evaluation mode; it is trained if it is not yet.

        Raises:
            EvaluationError, DataError: As for `epochs`.
        """
        arch = self.supernet.space.canonical(arch)
        self(arch)
        module = self.supernet.extract(arch)
        module.load_state_dict(self._files(arch.digest).weights())
        return module.eval()

    def _train(self, arch: Arch, files: TrainingFiles,
               history: list[Mapping[str, float]]) -> Iterator[Mapping[str, float]]:
        module = self.supernet.extract(arch)
        if self._from == "scratch":
            initialise(module, derive_seed(self._seed, f"initial weights {arch.digest}"))
        training = self._fit(module, seed=derive_seed(self._seed, f"training {arch.digest}"))
        state = files.state()
        if state is not None:
            training.load(state)
        if len(history) < training.done:
            raise DataError(f"the metrics of network {arch.digest} in {self.folder} end before its "
                            "checkpoint; remove both to train it anew")
        history = history[:training.done]
        yield from history
        while training.done < self.total_epochs:
            network = training.advance()
            history.append(self._metrics(arch, network))
            files.write_history(history)
            if training.done < self.total_epochs:
                files.write_state(training.state())
            else:
                files.write_weights(network.state_dict())
            yield history[-1]

    def _metrics(self, arch: Arch, network: nn.Module) -> Mapping[str, float]:
        task = self.supernet.task
        found = task.metrics(network, task.batches(self._split))
        return dict(finite({**found, **self._costs(arch)}, arch))

    def _files(self, digest: str) -> TrainingFiles:
        return TrainingFiles(self.folder, digest, self.identity)


def _no_costs(arch: Arch) -> Mapping[str, float]:
    del arch
    return {}
