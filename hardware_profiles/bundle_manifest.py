"""What a bundle for another machine says of itself, and how it is read back."""

import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hardware_profiles.profile import MeasureProtocol, Precision
from nas.core.errors import ProfileError
from nas.core.files import os_error_line, replace_file, sha256

BUNDLE_SCHEMA = 1
MANIFEST, AGENT, README = "manifest.json", "agent.py", "README.txt"
EXPORT_AGAIN = "make the bundle again with `nas profile export`"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
BundleId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RuntimeWish(_Frozen):
    """How the models are to be run.

    Attributes:
        threads: Of each inference.
        batch: Of each inference; part of the models.
        precision: Of weights and activations; part of the models.
    """

    threads: int = Field(default=1, ge=1)
    batch: int = Field(default=1, ge=1)
    precision: Precision = "fp32"


class ModelFile(_Frozen):
    """A file of the bundle; equal models share one."""

    file: Annotated[str, Field(pattern=r"^models/[0-9a-f]{16}\.onnx$")]
    sha256: Sha256


class BundleManifest(_Frozen):
    """The content of ``manifest.json``.

    Attributes:
        schema_version: Of this form.
        id: Hash of all the rest, hence of every file.
        device: What the machine is to be called.
        supernet: As it was named at export.
        resolution: Side of the input images; None: the supernet's own.
        space: Id of its space.
        generator: See `hardware_profiles.identity.generator_hash`.
        runtime: How to run the models.
        protocol: How a latency is taken; the agent sets the timer that its provider needs.
        seed: Of the networks drawn and the weights.
        codes: Of the whole networks.
        calib_nets: The first so many are fitted on, the others held out.
        models: Key (see `hardware_profiles.plan`) → file.
        agent: Hash of the agent.
    """

    schema_version: Literal[1] = 1
    id: BundleId
    device: str
    supernet: str
    resolution: int | None = None
    space: str
    generator: str
    runtime: RuntimeWish
    protocol: MeasureProtocol
    seed: Annotated[int, Field(ge=0)]
    codes: tuple[tuple[Annotated[int, Field(ge=0, le=2**15 - 1)], ...], ...]
    calib_nets: Annotated[int, Field(ge=0)]
    models: dict[str, ModelFile]
    agent: Sha256


def bundle_id(payload: dict[str, Any]) -> str:
    """Returns the id of a manifest's content: 16 hex digits over all but the id itself."""
    content = {key: value for key, value in payload.items() if key != "id"}
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())[:16]


def manifest_bytes(manifest: BundleManifest) -> bytes:
    """Returns what the manifest's file holds."""
    return (json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n").encode()


def parse_manifest(data: bytes, *, source: str) -> BundleManifest:
    """Returns the manifest in a file's bytes.

    Raises:
        ProfileError: It is damaged, changed since it was written, or of another schema version.
    """
    try:
        payload = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"{source} is damaged ({error}); {EXPORT_AGAIN}") from None
    version = payload.get("schema_version") if isinstance(payload, dict) else None
    if version != BUNDLE_SCHEMA:
        newer = isinstance(version, int) and version > BUNDLE_SCHEMA
        raise ProfileError(f"{source} has schema version {version}, this program reads "
                           f"{BUNDLE_SCHEMA}; {'install a newer nas-service, or ' * newer}"
                           f"{EXPORT_AGAIN}")
    try:
        manifest = BundleManifest.model_validate(payload)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ProfileError(f"{source} is damaged ({where}: {first['msg']}); "
                           f"{EXPORT_AGAIN}") from None
    if manifest.id != bundle_id(payload):
        raise ProfileError(f"{source} was changed after it was written; {EXPORT_AGAIN}")
    return manifest


def read_bundle(path: Path) -> BundleManifest:
    """Returns the manifest of a bundle, all of whose files are as they were written.

    Nothing is unpacked.

    Raises:
        ProfileError: The zip file is missing, truncated or changed, or an entry would leave the
            folder that it is unpacked to.
    """
    try:
        with zipfile.ZipFile(path) as bundle:
            return _checked(bundle, path)
    except OSError as error:
        raise ProfileError(f"bundle {path} cannot be read ({os_error_line(error)}); "
                           f"{EXPORT_AGAIN}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ProfileError(f"bundle {path} is truncated or damaged ({error}); copy it again, or "
                           f"{EXPORT_AGAIN}") from None


def _checked(bundle: zipfile.ZipFile, path: Path) -> BundleManifest:
    names = bundle.namelist()
    for name in names:
        if name not in (MANIFEST, AGENT, README) and not re.fullmatch(
                r"models/[0-9a-f]{16}\.onnx", name):
            raise ProfileError(f"bundle {path} holds {name!r}, which no bundle does; do not "
                               f"unpack it, {EXPORT_AGAIN}")
    if len(set(names)) != len(names) or MANIFEST not in names:
        raise ProfileError(f"bundle {path} has no or not one {MANIFEST}; {EXPORT_AGAIN}")
    manifest = parse_manifest(bundle.read(MANIFEST), source=f"{MANIFEST} of bundle {path}")
    expected = {entry.file: entry.sha256 for entry in manifest.models.values()}
    for name, digest in {**expected, AGENT: manifest.agent}.items():
        if name not in names:
            raise ProfileError(f"bundle {path} lacks {name}; {EXPORT_AGAIN}")
        if sha256(bundle.read(name)) != digest:
            raise ProfileError(f"{name} in bundle {path} is not what was exported; "
                               f"{EXPORT_AGAIN}")
    return manifest


def remember(manifest: BundleManifest, folder: Path) -> None:
    """Keeps a manifest for the time when its result comes back.

    Raises:
        ProfileError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / f"{manifest.id}.json", manifest_bytes(manifest))
    except OSError as error:
        raise ProfileError(f"bundle folder {folder} cannot be written ({os_error_line(error)}); "
                           "free space or set NAS_CACHE_DIR to a folder that can be "
                           "written") from None


def recall(identity: str, folder: Path) -> BundleManifest:
    """Returns a manifest that was kept.

    Raises:
        ProfileError: There is none of that id, or it is damaged.
    """
    path = folder / f"{identity}.json"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ProfileError(f"bundle {identity} was not exported here; give its file with "
                           "--bundle bundle.zip") from None
    except OSError as error:
        raise ProfileError(f"bundle {path} cannot be read ({os_error_line(error)}); give its file "
                           "with --bundle bundle.zip") from None
    return parse_manifest(data, source=f"bundle {path}")
