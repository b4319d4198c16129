"""The manifest of a bundle: what is in it, where it comes from, and the hash of every file."""

import json
from typing import Literal

from pydantic import StrictInt, StrictStr, ValidationError

from nas.core.errors import ExportError
from nas.core.files import sha256
from nas.export.entry import Count, Finite, Frozen
from nas.export.generator_entry import GeneratorEntry

MANIFEST = "manifest.json"
ARCH = "arch.json"
ONNX = "model.onnx"
WEIGHTS = "model.safetensors"
REFERENCE = "reference.safetensors"
HASHED = (ARCH, ONNX, WEIGHTS, REFERENCE)  # in every bundle
INT8 = "model_int8.onnx"
FEATURES, FEATURES_REFERENCE = "features.onnx", "features_reference.safetensors"
EXAMPLE = "infer_wav.py"

class FileEntry(Frozen):
    """One file.

    Attributes:
        sha256: In hex digits.
        size: In bytes.
    """

    sha256: StrictStr
    size: Count


class TensorEntry(Frozen):
    """An input or output of the ONNX file.

    Attributes:
        name: In the graph.
        shape: The batch axis has a name in place of a size.
    """

    name: StrictStr
    shape: tuple[StrictInt | StrictStr, ...]


class OnnxEntry(Frozen):
    """What the ONNX file is.

    Attributes:
        opset: Version of the operator set.
        inputs: Of the graph.
        outputs: Of the graph.
        metadata_keys: What the file says of itself.
    """

    opset: Count
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    metadata_keys: tuple[StrictStr, ...]


class ParityEntry(Frozen):
    """ONNX Runtime against torch when the bundle was written.

    Attributes:
        inputs: How many were compared.
        max_abs_diff: Largest difference of two logits.
        top1_changed: Inputs whose first class differs.
        tolerance: Allowed for `max_abs_diff`.
        sizes: Of each further axis that is free, by name: what was compared; None: there is none.
    """

    inputs: Count
    max_abs_diff: Finite
    top1_changed: Count
    tolerance: Finite
    sizes: dict[StrictStr, tuple[Count, ...]] | None = None


class FinetunedEntry(Frozen):
    """A training of the network after the search.

    Attributes:
        epochs: Passes over the images.
        optimizer: Its name.
        learning_rate: Peak.
        batch_size: Images of each step.
        seed: Of everything random.
        images: What was trained on: how many, and where they are from.
        teacher: Digest of the network that was learnt from, beside the labels.
        before: Metrics of the network before; those of the test split begin with ``test_``.
        after: Metrics of this network.
    """

    epochs: Count
    optimizer: StrictStr
    learning_rate: Finite
    batch_size: Count
    seed: Count
    images: StrictStr
    teacher: StrictStr
    before: dict[StrictStr, Finite]
    after: dict[StrictStr, Finite]


class AgreementEntry(Frozen):
    """int8 against fp32 when the int8 file was written.

    Attributes:
        inputs: How many were compared.
        max_abs_diff: Largest difference of two logits.
        top1_changed: Inputs whose first class differs.
        tolerance: For `max_abs_diff` in another check: other processors round otherwise.
    """

    inputs: Count
    max_abs_diff: Finite
    top1_changed: Count
    tolerance: Finite


class Int8Entry(Frozen):
    """What the int8 file is, and how it compares to the fp32 one.

    Attributes:
        calibration: What its ranges were taken from: how many inputs, and where they are from.
        operators: Kind → how many ONNX Runtime executes: what begins with ``Q`` or ends with
            ``Integer`` computes with integers.
        test: File → metrics of the test split.
        latency_ms: File → latency on the machine that exported.
        latency: What the latency is.
        agreement: Of the two files' answers.
    """

    calibration: StrictStr
    operators: dict[StrictStr, Count]
    test: dict[StrictStr, dict[StrictStr, Finite]]
    latency_ms: dict[StrictStr, Finite]
    latency: StrictStr
    agreement: AgreementEntry


class FeatureEntry(Frozen):
    """One output of the feature file.

    Attributes:
        index: Of the stage, as timm counts.
        name: Of the output in the graph.
        channels: Its second axis.
        reduction: Side of the input over side of the map, as its strides make it.
        shape: The batch axis has a name in place of a size.
    """

    index: Count
    name: StrictStr
    channels: Count
    reduction: Count
    shape: tuple[StrictInt | StrictStr, ...]


class FeaturesEntry(Frozen):
    """What the feature file is: the network without its head.

    Attributes:
        outputs: From the input to the end.
        inputs: How many were compared with torch.
        max_difference: Largest of any number, as a share of the largest number of its output,
            where that is above 1.
        tolerance: Allowed for it.
    """

    outputs: tuple[FeatureEntry, ...]
    inputs: Count
    max_difference: Finite
    tolerance: Finite


class ExampleEntry(Frozen):
    """What the script that runs the network is.

    Attributes:
        takes: What it runs the network on.
        needs: Packages that it imports.
    """

    takes: StrictStr
    needs: tuple[StrictStr, ...]


class Costs(Frozen):
    """Exact counts.

    Attributes:
        params: Trainable numbers.
        macs: Multiply-adds of one inference at batch 1.
        activation_bytes: Of the largest live set at batch 1 in fp32.
    """

    params: Count
    macs: Count
    activation_bytes: Count


class Manifest(Frozen):
    """What is in a bundle, and where it comes from.

    Attributes:
        schema_version: Of this form.
        arch_digest: Of the architecture in ``arch.json``.
        space_id: Of its space.
        metrics: What is known of the network.
        costs: Counted on the exported module.
        provenance: Such as the supernet and the run's seed.
        onnx: What the ONNX file is.
        buffers: Tensors of the weights file that are no parameters.
        parity: ONNX Runtime against torch.
        versions: Package → version.
        finetuned: How it was trained after the search, if it was.
        int8: What the int8 file is, if there is one.
        features: What the feature file is, if there is one.
        example: What the script that runs the network is, if there is one.
        generator: What makes images, if there is such a thing.
        files: Name → hash and size of every other file.
        manifest_sha256: Of this file's text with this field blank.
    """

    schema_version: Literal[1] = 1
    arch_digest: StrictStr
    space_id: StrictStr
    metrics: dict[StrictStr, Finite]
    costs: Costs
    provenance: dict[StrictStr, StrictStr]
    onnx: OnnxEntry
    buffers: tuple[StrictStr, ...]
    parity: ParityEntry
    versions: dict[StrictStr, StrictStr]
    finetuned: FinetunedEntry | None = None
    int8: Int8Entry | None = None
    features: FeaturesEntry | None = None
    example: ExampleEntry | None = None
    generator: GeneratorEntry | None = None
    files: dict[StrictStr, FileEntry]
    manifest_sha256: StrictStr = ""

    @property
    def hashed(self) -> tuple[str, ...]:
        """The names of all other files of the bundle."""
        more = (INT8,) if self.int8 is not None else ()
        if self.features is not None:
            more = (*more, FEATURES, FEATURES_REFERENCE)
        if self.example is not None:
            more = (*more, EXAMPLE)
        if self.generator is not None:
            more = (*more, *self.generator.files)
        return (*HASHED, *more)

    def to_text(self) -> str:
        """Returns the one text of this manifest, its own hash filled in."""
        digest = sha256(_text(self.model_copy(update={"manifest_sha256": ""})).encode())
        return _text(self.model_copy(update={"manifest_sha256": digest}))


def read_manifest(data: bytes) -> Manifest:
    """Reads what `to_text` gave, to the byte.

    Raises:
        ExportError: The text is no manifest, or differs from the one text of its values.
    """
    try:
        manifest = Manifest.model_validate_json(data)
        intact = manifest.to_text().encode() == data
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ExportError(f"not a manifest of this version: {where + ': ' if where else ''}"
                          f"{first['msg']}") from None
    except ValueError as error:  # such as a lone surrogate, which has no UTF-8
        raise ExportError(f"not a manifest of this version: {error}") from None
    if not intact:
        raise ExportError("its text differs from its own hash")
    return manifest


def _text(manifest: Manifest) -> str:
    # What a bundle does not have is not in its text: so an older one has the text that it had.
    return json.dumps(manifest.model_dump(mode="json", exclude_none=True), indent=1) + "\n"
