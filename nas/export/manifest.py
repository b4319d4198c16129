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
    """Hash and size in bytes of one file."""

    sha256: StrictStr
    size: Count


class TensorEntry(_Frozen):
    """An input or output of the ONNX file; the batch axis has a name in place of a size."""

    name: StrictStr
    shape: tuple[StrictInt | StrictStr, ...]


class OnnxEntry(_Frozen):
    """What the ONNX file is."""

    opset: Count
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    metadata_keys: tuple[StrictStr, ...]


class ParityEntry(_Frozen):
    """ONNX Runtime against torch when the bundle was written."""

    inputs: Count
    max_abs_diff: Finite
    top1_changed: Count
    tolerance: Finite


class Costs(_Frozen):
    """Exact counts: trainable numbers, multiply-adds, bytes of the largest live set at batch 1."""

    params: Count
    macs: Count
    activation_bytes: Count


class Manifest(_Frozen):
    """See the fields. `manifest_sha256` is that of this file's text with itself blank."""

    schema_version: Literal[1] = 1
    arch_digest: StrictStr
    space_id: StrictStr
    metrics: dict[StrictStr, Finite]
    costs: Costs
    provenance: dict[StrictStr, StrictStr]
    onnx: OnnxEntry
    buffers: tuple[StrictStr, ...]  # tensors of the weights file that are no parameters
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
