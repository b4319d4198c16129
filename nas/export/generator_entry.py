"""What a manifest says of a generator of images, and how its files are called."""

from pydantic import StrictStr

from nas.export.entry import Count, Finite, Frozen

DECODER = "decoder.onnx"
WEIGHTS = "generator.weights"
REFERENCE = "generator_reference.safetensors"
SCRIPT = "generate.py"


def scale_file(scale: int) -> str:
    """Returns the name of a scale's file; scales count from 1."""
    return f"scale{scale}.onnx"


class GeneratorEntry(Frozen):
    """What makes images: a file for each scale, and a decoder.

    Attributes:
        scales: How many.
        max_abs_diff: Part → largest difference of any number from torch, given the same past.
        tolerance: Allowed for it.
        images: Of the sample that was drawn anew.
        tokens: Of the sample.
        undecided: Those that were drawn otherwise, by a number at the bound of two codes.
        images_max_abs_diff: Of the sample.
        needs: Packages that the script imports.
    """

    scales: Count
    max_abs_diff: dict[StrictStr, Finite]
    tolerance: Finite
    images: Count
    tokens: Count
    undecided: Count
    images_max_abs_diff: Finite
    needs: tuple[StrictStr, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all its files."""
        return (*self.models, WEIGHTS, REFERENCE, SCRIPT)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of its ONNX files."""
        return (*(scale_file(scale) for scale in range(1, self.scales + 1)), DECODER)
