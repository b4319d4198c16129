"""The models that a measurement times, made from block graphs when they are asked for."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from hardware_profiles.onnx_blocks import onnx_model
from hardware_profiles.precision import in_precision
from hardware_profiles.profile import Runtime
from nas.core.blocks import BlockGraph
from nas.core.rng import derive_seed

KEPT_BYTES = 64 * 2**20  # of models stay in memory; more are made again when asked for


def graph_models(graphs: Mapping[str, BlockGraph], *, runtime: Runtime,
                 seed: int) -> Mapping[str, Callable[[], bytes]]:
    """Returns for each graph what makes its ONNX model, with random weights, in the precision.

    Args:
        graphs: By key.
        runtime: Its batch and precision are the models'.
        seed: Of the weights; equal seeds give equal models.
    """
    kept: dict[str, bytes] = {}
    return {key: partial(_made, key, graph, runtime, seed, kept) for key, graph in graphs.items()}


def _made(key: str, graph: BlockGraph, runtime: Runtime, seed: int,
          kept: dict[str, bytes]) -> bytes:
    if key in kept:
        return kept[key]
    rng = np.random.default_rng(derive_seed(seed, "block weights"))
    model = in_precision(onnx_model(graph, batch=runtime.batch, rng=rng), runtime.precision, rng)
    data = bytes(model.SerializeToString())
    if sum(map(len, kept.values())) + len(data) <= KEPT_BYTES:
        kept[key] = data
    return data
