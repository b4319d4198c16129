"""The spaces of pruned networks that `bench_tas.py` is about, and what their networks cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from hardware_profiles.host import HostConfig, host_key
from hardware_profiles.host_run import run_host
from hardware_profiles.profile import HardwareProfile, MeasureProtocol
from hardware_profiles.store import ProfileStore
from nas.core.protocols import Batch
from nas.pipeline.prune.costs import network_cost
from nas.pipeline.prune.request import make_prune_request
from nas.pipeline.prune.space import prune_config
from supernets.tas.budget import NetworkCost
from supernets.timm.config import TimmConfig
from supernets.timm.supernet import TimmSupernet

CLASSES = 10
METRICS = ("macs", "params", "latency_ms")
# Enough for a table whose networks are told apart; absolute figures do not matter here.
QUICK = HostConfig(protocol=MeasureProtocol(warm_up=3, runs=10, passes=3, max_passes=4),
                   memory=False)


@dataclass(frozen=True)
class Noise:
    """A task of random images: for what does not depend on what is in them."""

    shape: tuple[int, int, int]
    images: int = 256

    def example_inputs(self, batch: int, rng: np.random.Generator) -> Tensor:
        """Returns x_BCHW."""
        return torch.from_numpy(rng.standard_normal((batch, *self.shape), dtype=np.float32))

    def batches(self, _split: str) -> Iterator[Batch]:
        """Yields one batch, always the same."""
        rng = np.random.default_rng(0)
        yield (self.example_inputs(self.images, rng),
               torch.from_numpy(rng.integers(CLASSES, size=self.images)))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the cross-entropy."""
        return F.cross_entropy(outputs, targets)

    def onnx_metadata(self) -> dict[str, str]:
        """Returns nothing."""
        return {}


def space_config(model: str, side: int, channels: int = 3) -> TimmConfig:
    """Returns the space that `nas prune` makes of a model."""
    request = make_prune_request({"model": f"timm:{model}", "data": Path(), "out": Path(),
                                  "macs": "50%"})
    return prune_config(request, classes=CLASSES, channels=channels, side=side)


def make_space(model: str, side: int, *, task: Any = None, channels: int = 3, seed: int = 0
               ) -> TimmSupernet:
    """Returns that space with random weights.

    Args:
        model: timm's name.
        side: Of the images.
        task: None: `Noise`.
        channels: Of the images.
        seed: Of the weights.
    """
    config = space_config(model, side, channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = timm.create_model(model, num_classes=CLASSES, in_chans=channels)
    return TimmSupernet(module, config.elastic(config.facts(module)),
                        task or Noise((channels, side, side))).eval()


def host_profile(supernet: TimmSupernet, work: Path) -> HardwareProfile:
    """Returns this machine's latencies of a space's blocks, measured once."""
    store = ProfileStore(work / "profiles")
    key = host_key(supernet.space, supernet.vocabulary, threads=QUICK.threads, batch=QUICK.batch,
                   precision=QUICK.precision)
    return store.find(key) or run_host(store, supernet.space, supernet.vocabulary,
                                       supernet.block_ids, seed=0, config=QUICK,
                                       keep_doubtful=True)


def cost_of(supernet: TimmSupernet, metric: str, work: Path) -> NetworkCost:
    """Returns a cost of a space's networks."""
    profile = host_profile(supernet, work) if metric == "latency_ms" else None
    return network_cost(supernet, metric, profile)
