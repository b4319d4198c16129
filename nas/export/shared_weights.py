"""Weights of several ONNX files in one file beside them, each array once."""

from collections.abc import Mapping

import onnx

from nas.core.files import sha256

_SMALLEST = 1024  # bytes; smaller arrays stay in the graph, where runtimes look for sizes and axes
_ALIGNMENT = 64


def shared(models: Mapping[str, onnx.ModelProto], location: str) -> tuple[dict[str, bytes], bytes]:
    """Returns serialised models that refer to one file of weights, and that file.

    Args:
        models: Name → model with its weights inside; they are moved out of it.
        location: Name of the weights' file, in the folder of the models.
    """
    blob, places = bytearray(), dict[str, int]()
    for model in models.values():
        for tensor in model.graph.initializer:
            data = tensor.raw_data
            if len(data) < _SMALLEST:
                continue
            digest = sha256(data)
            if digest not in places:
                blob += bytes(-len(blob) % _ALIGNMENT)
                places[digest] = len(blob)
                blob += data
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", str(places[digest])),
                               ("length", str(len(data)))):
                tensor.external_data.add(key=key, value=value)
    return ({name: model.SerializeToString(deterministic=True)
             for name, model in models.items()}, bytes(blob))


def inlined(model: bytes, weights: bytes) -> onnx.ModelProto:
    """Returns a model that `shared` gave with its weights inside again."""
    found = onnx.load_model_from_string(model)
    for tensor in found.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        begin = int(place["offset"])
        tensor.raw_data = weights[begin:begin + int(place["length"])]
        del tensor.external_data[:]
        tensor.ClearField("data_location")
    return found
