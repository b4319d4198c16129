"""Whether a generator's files draw the tokens of a sample and give its images; needs no torch.

Legend: B images, T tokens of a scale, V codes.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from nas.core.errors import ExportError
from nas.core.generation import Sample, image_uniforms
from nas.core.types import IntArray
from nas.export.drawing import Logits, drawn, undecided
from nas.export.generator import Generator
from nas.export.parity import TOLERANCE

MARGIN = 1e-4  # of a cumulative probability: nearer to a code's bound, rounding may decide


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sample drawn anew.

    Attributes:
        tokens: How many were drawn.
        undecided: Those that differ, each by a random number within `MARGIN` of a code's bound.
        max_abs_diff: Of the images.
    """

    tokens: int
    undecided: int
    max_abs_diff: float

    def __str__(self) -> str:
        return (f"{self.tokens} tokens, {self.undecided} undecided, images differ by "
                f"{self.max_abs_diff:.1e} (allowed {TOLERANCE:.0e})")


def draw_again(files: Mapping[str, bytes], sample: Sample) -> Drawn:
    """Draws each token of a sample behind the sample's own earlier ones, and makes its images.

    Args:
        files: Name → contents of the generator's.
        sample: What they are to give.

    Raises:
        ExportError: Tokens or images are others.
    """
    uniforms_BL = image_uniforms(sample.tokens.shape[1], images=len(sample.labels),
                                 seed=sample.seed)
    changed, clear, begin = 0, 0, 0

    def choose(_scale: int, logits_BTV: Logits) -> IntArray:
        nonlocal changed, clear, begin
        place = slice(begin, begin + logits_BTV.shape[1])
        wanted, numbers = sample.tokens[:, place], uniforms_BL[:, place]
        differs = drawn(logits_BTV, numbers) != wanted
        near = undecided(logits_BTV, numbers, margin=MARGIN)
        changed += int((differs & near).sum())
        clear += int((differs & ~near).sum())
        begin = place.stop
        return wanted

    with tempfile.TemporaryDirectory() as name:
        for file, data in files.items():
            (Path(name) / file).write_bytes(data)
        images, _, _ = Generator(Path(name)).run(sample.labels, guidance=sample.guidance,
                                                 choose=choose)
    difference = float(np.abs(images - sample.images).max())
    found = Drawn(sample.tokens.size, changed, difference)
    if clear or not difference <= TOLERANCE:  # NaN compares false
        raise ExportError(f"ONNX Runtime draws {clear} other tokens than torch; {found}")
    return found


def stored(sample: Sample) -> bytes:
    """Returns a sample as a safetensors file."""
    return save({"labels": np.ascontiguousarray(sample.labels),
                 "tokens": np.ascontiguousarray(sample.tokens), "images": sample.images,
                 "guidance": np.array(sample.guidance), "seed": np.array(sample.seed)})


def read_sample(data: bytes) -> Sample:
    """Returns what `stored` gave."""
    found = load(data)
    return Sample(labels=found["labels"], guidance=float(found["guidance"]),
                  seed=int(found["seed"]), tokens=found["tokens"], images=found["images"])
