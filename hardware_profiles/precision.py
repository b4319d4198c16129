"""Networks in other precisions than fp32, made as a deployment on ONNX Runtime would make them."""

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.tools.onnx_model_utils import make_dim_param_fixed
from onnxruntime.transformers.float16 import convert_float_to_float16

from hardware_profiles.profile import Precision, Runtime
from hardware_profiles.session import Model, open_session
from nas.core.errors import ProfileError

Feed = Mapping[str, NDArray[np.float32]]  # input name → values

_PREPROCESSED = ("onnx.quant.pre_process", "onnxruntime.quant")  # the library's own mark
_INTEGER = ("QLinear", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantize")


def in_precision(model: onnx.ModelProto, precision: Precision,
                 rng: np.random.Generator) -> onnx.ModelProto:
    """Returns an fp32 model in the precision asked for; inputs and outputs may change type.

    int8 is that of `quantised`, with the ranges of one random input: latency does not depend on
    them. fp16 converts weights, activations, inputs and outputs.

    Args:
        model: With fixed shapes and fp32 inputs.
        precision: What to make of it.
        rng: For the input that ranges are taken from.
    """
    if precision == "int8":
        feed = {source.name: rng.standard_normal(
            [axis.dim_value for axis in source.type.tensor_type.shape.dim], dtype=np.float32)
            for source in model.graph.input}
        return quantised(model, [feed])
    if precision == "fp16":
        with warnings.catch_warnings():  # weights too small for fp16 become 0: no loss here
            warnings.simplefilter("ignore")
            half: onnx.ModelProto = convert_float_to_float16(model)
            return half
    return model


def quantised(model: onnx.ModelProto, feeds: Iterable[Feed]) -> onnx.ModelProto:
    """Returns an fp32 model in int8: static quantisation in QDQ form, inputs and outputs in fp32.

    Batch norm is folded first, then activations are quantised to uint8 a tensor, within the range
    that they take for the feeds, and weights to int8 a channel, which is what depthwise
    convolutions need to stay accurate. Operators that have no int8 form stay as they are.

    Args:
        model: With fp32 inputs, of fixed or dynamic shapes.
        feeds: Inputs that the ranges are taken from, at least one.

    Raises:
        Exception: Whatever the library raises for a model that it cannot quantise.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "quantised.onnx"
        quantize_static(_folded(model), path, _Feeds(feeds), quant_format=QuantFormat.QDQ,
                        per_channel=True, activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8, calibration_providers=["CPUExecutionProvider"])
        return onnx.load(path)


def parsed(model: Model) -> onnx.ModelProto:
    """Returns a serialised model as the tree that it is.

    Raises:
        ProfileError: It is no ONNX model.
    """
    try:
        return onnx.load_model_from_string(model.data)
    except DecodeError as error:
        raise ProfileError(f"ONNX Runtime cannot load {model.key}: {error}") from None


def at_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Returns a copy whose inputs have that many rows where their first axis was dynamic."""
    axes = (source.type.tensor_type.shape.dim for source in model.graph.input)
    return sized(model, {first[0].dim_param: batch for first in axes
                         if first and first[0].HasField("dim_param")})


def sized(model: onnx.ModelProto, sizes: Mapping[str, int]) -> onnx.ModelProto:
    """Returns a copy whose dynamic axes of these names have these sizes."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for name, size in sizes.items():
        make_dim_param_fixed(fixed.graph, name, size)
    return fixed


def executed_ops(model: Model, runtime: Runtime) -> list[str]:
    """Returns the operator of each node that the runtime is left with once it has optimised.

    Raises:
        ProfileError: The runtime cannot load the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        open_session(model, runtime, options=options)
        written = onnx.load(options.optimized_model_filepath, load_external_data=False)
    return [node.op_type for node in written.graph.node]


def precision_remarks(ops: list[str], runtime: Runtime) -> tuple[str, ...]:
    """Returns a line if what is executed is not of the precision asked for, else none.

    Args:
        ops: See `executed_ops`.
        runtime: What executes them.
    """
    if runtime.precision == "fp16" and "Cast" in ops:
        return (f"fp16 in name only: {runtime.provider} casts to fp32 around kernels that it has "
                "no fp16 form of, so latencies are those of fp32 and the casts",)
    if runtime.precision == "int8" and not any(op.startswith(_INTEGER) for op in ops):
        return (f"int8 in name only: {runtime.provider} runs no integer kernel",)
    return ()


@contextmanager
def _quiet() -> Iterator[None]:
    # Through the root logger the library warns of weights with one axis, such as those of layer
    # norms, which it then rightly quantises as a whole.
    def nothing(record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING

    logging.getLogger().addFilter(nothing)
    try:
        yield
    finally:
        logging.getLogger().removeFilter(nothing)


class _Feeds(CalibrationDataReader):  # type: ignore[misc]  # the library is not typed
    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    # The basic level folds batch norm into the convolution before it, and stays plain ONNX.
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        ort.InferenceSession(model.SerializeToString(), options,
                             providers=["CPUExecutionProvider"])
        folded = onnx.load(options.optimized_model_filepath)
    folded.metadata_props.add(key=_PREPROCESSED[0], value=_PREPROCESSED[1])
    return folded
