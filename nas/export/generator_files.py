"""The generator of a bundle: each part an ONNX file, their weights in one more, and a script."""

import json
from collections.abc import Mapping

import numpy as np
import onnx
import torch

from nas.core.errors import ExportError
from nas.core.generation import GeneratorPart, GeneratorParts
from nas.export import generate_script
from nas.export.generator import FACTS
from nas.export.generator_check import draw_again, stored
from nas.export.generator_entry import REFERENCE, SCRIPT, WEIGHTS, GeneratorEntry
from nas.export.manifest import Manifest
from nas.export.onnx import translated
from nas.export.opened import OpenedBundle
from nas.export.parity import TOLERANCE, open_session
from nas.export.shared_weights import shared


def write_generator(bundle: OpenedBundle, generator: GeneratorParts) -> Manifest:
    """Adds a generator to a bundle: each part checked against torch, and then all together.

    A part and its module are given the same past. Then every token of a sample is drawn anew with
    ONNX Runtime, behind the sample's own.

    Args:
        bundle: Of the network whose parts these are.
        generator: The parts, with the bundle's weights.

    Raises:
        ExportError: ONNX Runtime does not give torch's answers, or the disk refuses.
    """
    models: dict[str, onnx.ModelProto] = {}
    differences: dict[str, float] = {}
    for part in generator.parts:
        metadata = {"nas:digest": bundle.manifest.arch_digest}
        if part is generator.parts[-1]:
            metadata[FACTS] = json.dumps(dict(generator.facts))
        model = translated(part.module, part.inputs, metadata=metadata, free=part.free,
                           output_names=part.outputs)
        differences[part.name] = _difference(part, model)
        models[f"{part.name}.onnx"] = model
    files, weights = shared(models, WEIGHTS)
    files[WEIGHTS] = weights
    found = draw_again(files, generator.sample)
    entry = GeneratorEntry(
        scales=len(generator.parts) - 1, max_abs_diff=differences, tolerance=TOLERANCE,
        images=len(generator.sample.labels), tokens=found.tokens, undecided=found.undecided,
        images_max_abs_diff=found.max_abs_diff, needs=generate_script.NEEDS)
    return bundle.add({**files, REFERENCE: stored(generator.sample),
                       SCRIPT: generate_script.SCRIPT.encode()}, entry)


def _difference(part: GeneratorPart, model: onnx.ModelProto) -> float:
    # The largest of any number of any output.
    with torch.inference_mode():
        outputs = part.module(*part.inputs.values())
    wanted = outputs if isinstance(outputs, tuple) else (outputs,)
    feeds: Mapping[str, object] = {name: value.numpy() for name, value in part.inputs.items()}
    given = open_session(model.SerializeToString()).run(None, feeds)
    largest = 0.0
    for name, ours, theirs in zip(part.outputs, wanted, given, strict=True):
        difference = float(np.abs(ours.numpy() - theirs).max())
        if not difference <= TOLERANCE:  # NaN compares false
            raise ExportError(f"ONNX Runtime differs from torch by {difference:.1e} (allowed "
                              f"{TOLERANCE:.0e}) in {name} of {part.name}; the generator was not "
                              "exported")
        largest = max(largest, difference)
    return largest
