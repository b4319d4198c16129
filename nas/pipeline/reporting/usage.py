"""The few lines of Python that run the exported network."""

import json

from nas.export.manifest import Manifest

_IMAGE = '''\
import json
import numpy as np, onnxruntime as ort
session = ort.InferenceSession("best/model.onnx")
about = session.get_modelmeta().custom_metadata_map
how, labels = json.loads(about["preprocessing"]), json.loads(about["labels"])
pixels = np.zeros(how["shape"], "uint8")  # your image: channels, height, width
x = ((pixels * how["scale"] - how["mean"]) / how["std"]).astype("float32")[None]
print(labels[session.run(None, {"INPUT": x})[0].argmax()])
'''

_PLAIN = '''\
import numpy as np, onnxruntime as ort
session = ort.InferenceSession("best/model.onnx")
x = np.zeros((1, *SHAPE), "float32")  # your input, the batch first
print(session.run(None, {"INPUT": x})[0])
'''


def snippet(manifest: Manifest) -> str:
    """Returns a program that runs in the run folder and needs numpy and onnxruntime alone."""
    first = manifest.onnx.inputs[0]
    known = {"preprocessing", "labels"} <= set(manifest.onnx.metadata_keys)
    text = _IMAGE if known else _PLAIN.replace("SHAPE", repr(tuple(first.shape[1:])))
    return text.replace('"INPUT"', json.dumps(first.name))
