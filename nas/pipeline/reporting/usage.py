"""The few lines of Python that run the exported network."""

import json

from nas.export.manifest import Manifest

_IMAGE = '''\
import json
import numpy as np, onnxruntime as ort
session = ort.InferenceSession("best/model.onnx")
about = session.get_modelmeta().custom_metadata_map
how = json.loads(about["preprocessing"])
image = np.zeros(how["shape"], "uint8")  # yours: (C, H, W)
x = (image * how["scale"] - how["mean"]) / how["std"]
feed = {"INPUT": x[None].astype("float32")}
scores = session.run(None, feed)[0][0]
print(json.loads(about["labels"])[scores.argmax()])
'''

_WAVE = '''\
import json
import numpy as np, onnxruntime as ort
session = ort.InferenceSession("best/model.onnx")
how = json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"])
wave = np.random.default_rng(0).normal(size=how["sample_rate"])  # yours: one channel, any length
if how["normalise"]:
    wave = (wave - wave.mean()) / np.sqrt(wave.var() + how["epsilon"])
states = session.run(None, {"INPUT": wave[None].astype("float32")})[0][0]
print(states.shape)  # frames, width
'''

_PLAIN = '''\
import numpy as np, onnxruntime as ort
session = ort.InferenceSession("best/model.onnx")
x = np.zeros((1, *SHAPE), "float32")  # your input, the batch first
print(session.run(None, {"INPUT": x})[0])
'''

EXPLORE = '''\
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
storage = JournalStorage(JournalFileBackend("study.journal"))
study = optuna.load_study(study_name="nas", storage=storage)
optuna.visualization.plot_pareto_front(study).show()  # pip install plotly
'''


def snippet(manifest: Manifest) -> str:
    """Returns a program that runs in the run folder and needs numpy and onnxruntime alone."""
    first = manifest.onnx.inputs[0]
    known = {"preprocessing", "labels"} <= set(manifest.onnx.metadata_keys)
    text = _IMAGE if known else _PLAIN.replace("SHAPE", repr(tuple(first.shape[1:])))
    if "samples" in first.shape:
        text = _WAVE
    return text.replace('"INPUT"', json.dumps(first.name))
