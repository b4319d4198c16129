"""The feature file of a bundle: the network as a backbone for detection or segmentation, or the
hidden states of every layer of a speech encoder.

Legend: N inputs, C channels, H and W sides, T frames.
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
from nas.core.protocols import Task, signature_of
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
    """A network without its head: one map for each stage asked for.

    Maps are (N, C, H, W), or (N, T, C) where the network hears.

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
    signature = signature_of(task)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FEATURES
        model = export_onnx(extractor, example, path, metadata=metadata, output_names=names,
                            input_name=signature.input, axes=signature.axes,
                            shortest=signature.shortest)
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
        fixed = [size for size in tensor.shape[1:] if isinstance(size, int)]
        if len(tensor.shape) == 3 and fixed == [tensor.shape[2]]:  # a sequence of any length
            channels, reduction = fixed[0], _stated(network, index)
        elif len(tensor.shape) == 4 and len(fixed) == 3:
            channels, reduction = fixed[0], _reduction(network, index, side, fixed[2])
        else:
            reduction = None
        if reduction is None:
            raise ExportError(f"stage {index} gives no map of fixed sides but {tensor.shape}; "
                              "export the network without --features")
        found.append(FeatureEntry(index=index, name=tensor.name, channels=channels,
                                  reduction=reduction, shape=tensor.shape))
    return tuple(found)


def _stated(network: nn.Module, index: int) -> int | None:
    # What the network itself says of a stage's reduction.
    known: Any = getattr(network, "feature_info", ())
    return known[index].get("reduction") if index < len(known) else None


def _reduction(network: nn.Module, index: int, side: int, width: int) -> int:
    # Small sides are rounded up at each stride, so timm's own figure is asked first.
    stated = _stated(network, index)
    if stated and width in (side // stated, -(-side // stated)):
        return stated
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
