"""The feature file of a bundle: the network as a backbone for detection or segmentation.

Legend: N inputs, C channels, H and W sides.
"""

import copy
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from safetensors.torch import save
from torch import Tensor, nn

from nas.core.errors import ExportError, InputError
from nas.core.protocols import Task
from nas.core.rng import derive_rng
from nas.export.bundle import described, first_inputs
from nas.export.manifest import (
    FEATURES,
    FEATURES_REFERENCE,
    FeatureEntry,
    FeaturesEntry,
    Manifest,
)
from nas.export.onnx import export_onnx
from nas.export.opened import OpenedBundle
from nas.export.parity import TOLERANCE, largest_difference, open_session, run_all

_COMPARED = 16  # inputs
_KEPT = 2  # inputs whose maps the bundle keeps: at 224×224 they take megabytes


class Features(nn.Module):
    """A network without its head: one map (N, C, H, W) for each stage asked for.

    Args:
        network: Has timm's `forward_intermediates`; not changed.
        indices: Of the stages, as timm counts them, ascending; None for all.

    Raises:
        InputError: A network without such a method, or stages that it has not.
    """

    def __init__(self, network: nn.Module, indices: Sequence[int] | None = None) -> None:
        super().__init__()
        if not callable(getattr(network, "forward_intermediates", None)):
            raise InputError(f"a {type(network).__name__} gives no feature maps: it has no "
                             "forward_intermediates, as timm's networks have; export it without "
                             "--features")
        self._network = network
        self._indices = None if indices is None else list(indices)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Returns the maps, from the input to the end."""
        forward: Any = self._network.forward_intermediates
        return tuple(forward(x, indices=self._indices, intermediates_only=True))


def add_features(bundle: OpenedBundle, module: nn.Module, *, task: Task,
                 indices: Sequence[int] | None = None) -> Manifest:
    """Exports a bundle's network as a feature extractor into the bundle.

    Args:
        bundle: Of the network.
        module: The network, with the bundle's weights; not changed.
        task: Gives test inputs.
        indices: Of the stages wanted, as timm counts them; None for all.

    Raises:
        InputError: A network that gives no feature maps, or has not these stages.
        ExportError: ONNX Runtime does not give torch's answers, or the disk refuses.
    """
    network = copy.deepcopy(module).cpu().eval()
    inputs = first_inputs(task)[:_COMPARED]
    chosen = _chosen(network, inputs[:1], indices)
    extractor = Features(network, chosen).eval()
    names = [f"feature{index}" for index in chosen]
    with torch.inference_mode():
        maps = dict(zip(names, extractor(inputs), strict=True))
    digest = bundle.manifest.arch_digest
    metadata = {**task.onnx_metadata(), "nas:digest": digest, "nas:features": json.dumps(chosen)}
    example = task.example_inputs(2, derive_rng(0, "export")).cpu()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FEATURES
        model = export_onnx(extractor, example, path, metadata=metadata, output_names=names)
        data = path.read_bytes()
    entry = FeaturesEntry(outputs=_outputs(model, chosen, network, inputs.shape[-1]),
                          inputs=len(inputs), max_difference=_checked(data, inputs, maps),
                          tolerance=TOLERANCE)
    kept = save({name: values[:_KEPT].contiguous() for name, values in maps.items()})
    return bundle.add({FEATURES: data, FEATURES_REFERENCE: kept}, entry)


def _chosen(network: nn.Module, inputs: Tensor, indices: Sequence[int] | None) -> list[int]:
    with torch.inference_mode():
        count = len(Features(network)(inputs))
    wanted = range(count) if indices is None else indices
    unknown = [index for index in wanted if not 0 <= index < count]
    if unknown or not wanted:
        named = f"no stage {unknown[0]}" if unknown else "stages, and none was asked for"
        raise InputError(f"this {type(network).__name__} has {named}; its stages are 0 … "
                         f"{count - 1}")
    return sorted(set(wanted))


def _outputs(model: onnx.ModelProto, chosen: Sequence[int], network: nn.Module,
             side: int) -> tuple[FeatureEntry, ...]:
    found = []
    for index, tensor in zip(chosen, described(model.graph.output), strict=True):
        if len(tensor.shape) != 4 or not all(isinstance(size, int) for size in tensor.shape[1:]):
            raise ExportError(f"stage {index} gives no map of fixed sides but {tensor.shape}; "
                              "export the network without --features")
        channels, _, width = (int(size) for size in tensor.shape[1:])
        found.append(FeatureEntry(index=index, name=tensor.name, channels=channels,
                                  reduction=_reduction(network, index, side, width),
                                  shape=tensor.shape))
    return tuple(found)


def _reduction(network: nn.Module, index: int, side: int, width: int) -> int:
    # Small sides are rounded up at each stride, so timm's own figure is asked first.
    known: Any = getattr(network, "feature_info", ())
    stated = known[index].get("reduction") if index < len(known) else None
    if stated and width in (side // stated, -(-side // stated)):
        return int(stated)
    return round(side / width)


def _checked(model: bytes, inputs: Tensor, maps: Mapping[str, Tensor]) -> float:
    session = open_session(model)
    found = 0.0
    for batch in (len(inputs), 1):
        for name, values in run_all(session, inputs.numpy(), batch=batch).items():
            difference = largest_difference(maps[name].numpy(), values)
            if not difference <= TOLERANCE:  # NaN compares false
                raise ExportError(f"ONNX Runtime differs from torch at batch {batch} by "
                                  f"{difference:.1e} in {name}; the features were not exported")
            found = max(found, difference)
    return found
