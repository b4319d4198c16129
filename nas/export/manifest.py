"""The manifest of a bundle: what is in it, where it comes from, and the hash of every file."""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from nas.core.errors import ExportError
from nas.core.files import sha256

MANIFEST = "manifest.json"
ARCH = "arch.json"
ONNX = "model.onnx"
WEIGHTS = "model.safetensors"
REFERENCE = "reference.safetensors"
HASHED = (ARCH, ONNX, WEIGHTS, REFERENCE)

Count = Annotated[StrictInt, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Frozen):
    """One file.

    Attributes:
        sha256: In hex digits.
        size: In bytes.
    """

    sha256: StrictStr
    size: Count


class TensorEntry(_Frozen):
    """An input or output of the ONNX file.

    Attributes:
        name: In the graph.
        shape: The batch axis has a name in place of a size.
    """

    name: StrictStr
    shape: tuple[StrictInt | StrictStr, ...]


class OnnxEntry(_Frozen):
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


class ParityEntry(_Frozen):
    """ONNX Runtime against torch when the bundle was written.

    Attributes:
        inputs: How many were compared.
        max_abs_diff: Largest difference of two logits.
        top1_changed: Inputs whose first class differs.
        tolerance: Allowed for `max_abs_diff`.
    """

    inputs: Count
    max_abs_diff: Finite
    top1_changed: Count
    tolerance: Finite


class Costs(_Frozen):
    """Exact counts.

    Attributes:
        params: Trainable numbers.
        macs: Multiply-adds of one inference at batch 1.
        activation_bytes: Of the largest live set at batch 1 in fp32.
    """

    params: Count
    macs: Count
    activation_bytes: Count


class Manifest(_Frozen):
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
    files: dict[StrictStr, FileEntry]
    manifest_sha256: StrictStr = ""

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
    return json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n"
