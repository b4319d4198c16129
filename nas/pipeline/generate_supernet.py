"""Images from a supernet, with torch: of one of its networks, or of the deepest within bounds."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hardware_profiles.host import host_key
from hardware_profiles.store import user_store
from hardware_profiles.table import LatencyTable
from nas.core.arch import Arch
from nas.core.errors import InputError, ProfileError
from nas.core.types import FloatArray, IntArray
from nas.pipeline.compose import load_supernet
from nas.pipeline.device import one_thread
from nas.pipeline.generate import GUIDANCE, GenerateRequest, Made
from supernets.var.choice import deepest
from supernets.var.config import VarConfig
from supernets.var.generate import generate
from supernets.var.image_supernet import ImageSupernet
from supernets.var.sampling import Sampling
from supernets.var.space import variant_arch


class SupernetMaker:
    """The `Maker` of a network of a supernet.

    Raises:
        InputError: No such supernet, one that makes no images, or options that do not fit.
        ConstraintError: A bound that no network is within.
    """

    def __init__(self, request: GenerateRequest) -> None:
        found: object = load_supernet(request.source)
        if not isinstance(found, ImageSupernet):
            raise InputError(f"{request.source} makes no images; give a supernet that does, such "
                             "as var-fmnist")
        self._net, self._request = found, request
        config = found.net.config
        self.classes = config.classes
        self.labels: Sequence[str] = found.labels
        guidance = GUIDANCE if config.rows == 2 else 0.0
        self._sampling = Sampling(guidance=guidance if request.cfg is None else request.cfg,
                                  top_k=request.top_k, top_p=request.top_p)
        self._sampling.check(config)
        self._arch, self.facts = self._choose()

    def __call__(self, labels: IntArray, *, first: int) -> Made:
        """Returns images of classes, (B,), the first of this index."""
        net = self._net
        with one_thread():
            started = time.perf_counter()
            made = generate(net.net, net.vae, torch.from_numpy(labels).to(net.net.pos_1LC.device),
                            self._arch, sampling=self._sampling, seed=self._request.seed,
                            first=first)
            images = made.images.float().cpu().numpy()
            return Made(images, made.kv_bytes, time.perf_counter() - started)

    def _choose(self) -> tuple[Arch, Mapping[str, Any]]:
        asked, net = self._request, self._net
        config = net.net.config
        bounds = [f"--{name.replace('_', '-')}" for name in ("max_latency_ms", "max_kv_mb")
                  if getattr(asked, name) is not None]
        table = self._table() if asked.max_latency_ms is not None else None

        def latency_ms(codes: IntArray) -> FloatArray:
            assert table is not None
            return table.predict("latency_ms", codes).value

        if asked.bridge is None and asked.depth is None:
            arch = deepest(
                config, images=asked.at_once, guided=self._sampling.guidance > 0,
                max_kv_bytes=None if asked.max_kv_mb is None else int(asked.max_kv_mb * 1e6),
                max_latency_ms=asked.max_latency_ms, latency_ms=latency_ms if table else None)
        elif bounds:
            raise InputError(f"{bounds[0]} chooses a network, and --bridge and --depth say which; "
                             "give one or the other")
        else:
            arch = _variant(config, asked.bridge, asked.depth)
        facts: dict[str, Any] = {
            "runtime": "torch", "arch": arch.as_dict(),
            "depths": [len(layers) for layers in net.net.plan(arch).layers]}
        if table is not None:
            facts["predicted_latency_ms"] = float(latency_ms(net.space.encode([arch]))[0])
        return arch, facts

    def _table(self) -> LatencyTable:
        net, name = self._net, self._request.source
        profile = user_store().find(host_key(net.space, net.vocabulary))
        if profile is None:
            raise ProfileError(f"--max-latency-ms: the latencies of {name} have not been measured "
                               f"on this machine; run: nas profile run --supernet {name}")
        return LatencyTable(profile, net.vocabulary, net.block_ids)


def _variant(config: VarConfig, bridge: int | None, depth: int | None) -> Arch:
    bridges, depths = (", ".join(map(str, choices)) for choices in (config.bridges, config.depths))
    if bridge not in config.bridges:
        given = f"--depth {depth} alone does" if bridge is None else f"--bridge {bridge} does"
        raise InputError(f"{given} not say which first scales run all layers; give a --bridge of "
                         f"{bridges}")
    if depth not in config.depths and not (depth is None and bridge == config.scales):
        raise InputError(f"--bridge {bridge} leaves scales to a --depth of {depths}, not {depth}"
                         if bridge < config.scales else
                         f"--depth {depth} is none of {depths}; drop it: all scales run all layers")
    return variant_arch(config, bridge=bridge, depth=depth)
