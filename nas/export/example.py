"""The script of a bundle that runs its network on a file of sound."""

import json
from typing import Any

import onnx

from nas.core.errors import InputError
from nas.core.protocols import Signature
from nas.export.manifest import EXAMPLE, ONNX, ExampleEntry, Manifest
from nas.export.opened import OpenedBundle

_NEEDS = ("numpy", "onnxruntime", "soundfile")

# It reads from the ONNX file itself how a clip is prepared, so that it is the same for every
# encoder, and is copied out of a bundle with that file.
_SCRIPT = '''\
"""Hidden states of a clip of speech: python infer_wav.py CLIP.wav [STATES.npy]."""
import json, sys, pathlib
import numpy as np, onnxruntime, soundfile

model = pathlib.Path(__file__).with_name("model.onnx")
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
wants = json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"])
wave, rate = soundfile.read(sys.argv[1], dtype="float32", always_2d=True)  # (samples, channels)
if rate != wants["sample_rate"] or wave.shape[1] != 1 or len(wave) < wants["min_samples"]:
    sys.exit(f"{sys.argv[1]}: {len(wave)} samples of {wave.shape[1]} channel(s) at {rate} Hz; "
             "this encoder takes at least {min_samples} of 1 at {sample_rate} Hz".format(**wants))
wave = wave.T  # (1, samples): a batch of one clip
if wants["normalise"]:
    wave = (wave - wave.mean()) / np.sqrt(wave.var() + wants["epsilon"])
states = session.run(None, {wants["input"]: wave})[0][0]
print(f"{states.shape[0]} frames of {states.shape[1]} features, mean {states.mean():.4f}")
if len(sys.argv) > 2:
    np.save(sys.argv[2], states)
'''


def add_wav_example(bundle: OpenedBundle, signature: Signature) -> Manifest:
    """Adds a script that runs a bundle's network on a WAV file.

    Args:
        bundle: Of a speech encoder.
        signature: Of its task, for the message.

    Raises:
        InputError: The network does not take waveforms.
        ExportError: The disk refuses.
    """
    wants = _preprocessing(bundle)
    if not {"sample_rate", "min_samples", "normalise", "epsilon"} <= wants.keys():
        raise InputError(f"--example wav is for encoders of speech; network "
                         f"{bundle.manifest.arch_digest} takes {signature.input!r}, which is no "
                         "waveform; drop it")
    entry = ExampleEntry(takes=f"one channel of {wants['sample_rate']} Hz", needs=_NEEDS)
    return bundle.add({EXAMPLE: _SCRIPT.encode()}, entry)


def _preprocessing(bundle: OpenedBundle) -> dict[str, Any]:
    model = onnx.load_model_from_string(bundle.files[ONNX])
    texts = {prop.key: prop.value for prop in model.metadata_props}
    found = json.loads(texts.get("preprocessing", "{}"))
    return found if isinstance(found, dict) else {}
