"""A module as one self-contained ONNX file whose first axes are free, the batch's at least."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from torch import Tensor, nn

from nas.core.errors import ExportError, InputError
from nas.core.files import replace_file

BATCH_AXIS = "batch"


def export_onnx(module: nn.Module, example_inputs: Tensor, path: Path, *,
                metadata: Mapping[str, str], input_name: str = "input",
                output_names: Sequence[str] = ("output",),
                axes: Sequence[str] = (BATCH_AXIS,), shortest: int = 1) -> onnx.ModelProto:
    """Writes a module in evaluation mode as an ONNX file, all or nothing, and returns the model.

    Batch norms come out folded into the convolutions before them. The same module gives the same
    bytes: what the exporter notes of source files and lines is taken out.

    Args:
        module: From one tensor (B, …) to one tensor (B, …), or several; not changed.
        example_inputs: (B, …) with B ≥ 2, since a batch of 1 would be taken for a constant.
        path: Of the file.
        metadata: Written into the file's ``metadata_props``.
        input_name: Of the graph's input.
        output_names: Of the graph's outputs, in their order.
        axes: Names of the input's first axes, those whose size is free.
        shortest: Smallest size of each of these but the batch's.

    Raises:
        InputError: The module is in training mode, or the example batch is too small.
        ExportError: The exporter or the ONNX checker refuses the module.
        OSError: The file cannot be written.
    """
    if len(example_inputs) < 2:
        raise InputError(f"export needs an example batch of at least 2, not {len(example_inputs)}")
    model = translated(module, {input_name: example_inputs}, metadata=metadata,
                       output_names=output_names, free={input_name: dict(enumerate(axes))},
                       shortest=dict.fromkeys(axes[1:], shortest))
    replace_file(path, model.SerializeToString(deterministic=True))
    return model


def translated(module: nn.Module, inputs: Mapping[str, Tensor], *, metadata: Mapping[str, str],
               output_names: Sequence[str], free: Mapping[str, Mapping[int, str]],
               shortest: Mapping[str, int] | None = None) -> onnx.ModelProto:
    """Returns a module in evaluation mode as a checked ONNX model, without notes of its making.

    Args:
        module: From these tensors, in their order, to one or several; not changed.
        inputs: Name → example; a free axis has at least 2 in it.
        metadata: Written into the model's ``metadata_props``.
        output_names: Of the graph's outputs, in their order.
        free: Input → axis → name of its size, which may be any; equal names, equal sizes.
        shortest: Size → its smallest value, where that is known: an exporter that has to find it
            traces the module twice.

    Raises:
        InputError: The module is in training mode.
        ExportError: The exporter or the ONNX checker refuses the module.
    """
    if any(part.training for part in module.modules()):
        raise InputError("only a module in evaluation mode can be exported; call eval() first")
    model = _translate(module, inputs, output_names, free, shortest or {})
    _clear_notes(model)
    model.producer_name = "nas"
    onnx.helper.set_model_props(model, dict(metadata))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the ONNX checker refuses the exported model: {_line(error)}") from None
    return model


def _translate(module: nn.Module, inputs: Mapping[str, Tensor], output_names: Sequence[str],
               free: Mapping[str, Mapping[int, str]], shortest: Mapping[str, int]
               ) -> onnx.ModelProto:
    sizes = {name: torch.export.Dim(name, min=shortest[name] if shortest.get(name, 1) > 1 else None)
             for axes in free.values() for name in axes.values()}
    shapes = tuple({axis: sizes[size] for axis, size in free.get(name, {}).items()}
                   for name in inputs)
    try:
        with warnings.catch_warnings():
            # Of a size that several inputs share, which is what is meant.
            warnings.filterwarnings("ignore", "# The axis name: .* will not be used")
            program = torch.onnx.export(
                module, tuple(inputs.values()), dynamo=True, external_data=False, verbose=False,
                input_names=list(inputs), output_names=list(output_names), dynamic_shapes=shapes)
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"torch cannot export {type(module).__name__} to ONNX: "
                          f"{_line(error)}") from error
    return cast(Any, program).model_proto  # type: ignore[no-any-return]


def _clear_notes(model: onnx.ModelProto) -> None:
    # Stack traces with paths of the exporting machine, half of a small file.
    graph = model.graph
    groups: Iterable[Iterable[Any]] = ([graph], graph.node, graph.input, graph.output,
                                       graph.value_info, graph.initializer)
    for group in groups:
        for item in group:
            del item.metadata_props[:]
            item.doc_string = ""


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
