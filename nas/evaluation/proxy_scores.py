"""Zero-cost scores of a supernet's networks, each computed once."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from nas.core.arch import Arch
from nas.core.errors import EvaluationError, InputError
from nas.core.protocols import Batch, Supernet, ZeroCostProxy
from nas.core.rng import derive_rng, derive_seed
from nas.core.trial import Outcome
from nas.core.types import FloatArray
from nas.core.types import Weights as Weights
from nas.evaluation.fresh import initialise


class ProxyScores:
    """The scorer of an early exit: one zero-cost proxy on extracted networks.

    A score is a pure function of the architecture: every network is initialised and scored from
    generators of its own. A network that the proxy cannot score has NaN, and `failures` says why.

    Args:
        name: Of the proxy.
        supernet: Whose networks are scored.
        proxy: The score.
        batch: Inputs and targets, of ``train_calib``.
        weights: ``"inherited"`` from the supernet, or ``"fresh"``: torch's default initialisation,
            which is what the proxies were published with.
        seed: Of initialisation and of what the proxy draws.
    """

    def __init__(self, name: str, supernet: Supernet, proxy: ZeroCostProxy, *, batch: Batch,
                 weights: Weights = "fresh", seed: int = 0) -> None:
        self._name = name
        self._supernet = supernet
        self._proxy = proxy
        self._batch = batch
        self._weights = weights
        self._seed = seed
        self._known: dict[str, float] = {}
        self._new: dict[str, float] = {}
        self._used: set[str] = set()
        self.failures: dict[str, str] = {}

    @property
    def name(self) -> str:
        """Of the proxy."""
        return self._name

    def __call__(self, archs: Sequence[Arch]) -> FloatArray:
        """Returns the scores (N,), higher is better; NaN where the proxy fails."""
        return np.array([self._score(arch) for arch in archs])

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Learns nothing: what was recorded by now is another batch's."""
        del outcomes
        self._new = {}

    def record(self) -> Mapping[str, float]:
        """Returns the scores first asked for since the last outcomes, by digest."""
        return dict(self._new)

    def recall(self, scores: Mapping[str, float]) -> None:
        """Takes scores that were found before."""
        self._known.update(scores)

    def _score(self, arch: Arch) -> float:
        digest = arch.digest
        if digest not in self._known:
            try:
                self._known[digest] = self.compute(arch)
            except EvaluationError as error:
                self._known[digest] = math.nan
                self.failures[digest] = str(error)
        if digest not in self._used:
            self._used.add(digest)
            if not math.isnan(self._known[digest]):
                self._new[digest] = self._known[digest]
        return self._known[digest]

    def compute(self, arch: Arch) -> float:
        """Returns the score of one network.

        Raises:
            EvaluationError: The proxy cannot score it.
        """
        module = self._supernet.extract(arch)
        if self._weights == "fresh":
            initialise(module, derive_seed(self._seed, "proxy initialisation"))
        rng = derive_rng(self._seed, f"proxy {self._name}")
        return self._proxy(module, self._batch, loss=self._supernet.task.loss, rng=rng)


def proxy_batch(batches: Iterable[Batch], size: int) -> Batch:
    """Returns the first inputs and targets of a split as one batch.

    Raises:
        InputError: The split has fewer.
    """
    inputs, targets, found = [], [], 0
    for x, y in batches:
        inputs.append(x[:size - found])
        targets.append(y[:size - found])
        found += len(inputs[-1])
        if found == size:
            return torch.cat(inputs), torch.cat(targets)
    raise InputError(f"the proxies need {size} training inputs, but train_calib has only {found}")
