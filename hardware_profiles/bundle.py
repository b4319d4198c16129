"""Writes what another machine needs to measure a plan: models, manifest, agent and instructions.

Equal input gives equal bytes, so a bundle made again goes on with the journal of the first.
"""

import io
import re
import zipfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
import onnx
from onnx import numpy_helper

from hardware_profiles.bundle_manifest import (
    AGENT,
    BUNDLE_SCHEMA,
    MANIFEST,
    README,
    BundleManifest,
    ModelFile,
    RuntimeWish,
    bundle_id,
    manifest_bytes,
)
from hardware_profiles.identity import generator_hash
from hardware_profiles.onnx_blocks import onnx_model
from hardware_profiles.plan import MeasurePlan
from hardware_profiles.precision import in_precision
from hardware_profiles.profile import MeasureProtocol
from nas.core.blocks import Block, BlockGraph
from nas.core.errors import ProfileError
from nas.core.files import os_error_line, replace_file, sha256
from nas.core.rng import derive_seed
from nas.core.space import GeneSpace

PERIOD = 251  # weights repeat after so many: prime, so that no two channels become equal
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip file knows


def write_bundle(path: Path, plan: MeasurePlan, *, space: GeneSpace, vocabulary: Sequence[Block],
                 device: str, supernet: str, wish: RuntimeWish, protocol: MeasureProtocol,
                 seed: int, resolution: int | None = None) -> BundleManifest:
    """Writes a plan as a zip file, whole or not at all, in place of an old one.

    Args:
        path: Of the zip file; its folder must exist.
        plan: The graphs to measure; it may be of whole networks only.
        space: The space.
        vocabulary: Its distinct blocks.
        device: What the machine is to be called: lower case, digits, dots and dashes.
        supernet: What the importing command is to load.
        wish: Threads, batch and precision.
        protocol: How a latency is taken.
        seed: Of the weights.
        resolution: Side of the input images, if it is not the supernet's own.

    Raises:
        ProfileError: An unusable device name, or the file cannot be written.
    """
    require_device_name(device)
    agent = agent_source()
    buffer, models = io.BytesIO(), {}
    with zipfile.ZipFile(buffer, "w") as bundle:
        written: set[str] = set()
        for key, graph in plan.graphs.items():
            data = serialised(graph, wish, seed=seed)
            digest = sha256(data)
            models[key] = ModelFile(file=f"models/{digest[:16]}.onnx", sha256=digest)
            if digest not in written:
                _add(bundle, models[key].file, data)
                written.add(digest)
        manifest = _manifest(
            device=device, supernet=supernet, resolution=resolution,
            space=space.id, generator=generator_hash(space, vocabulary), runtime=wish,
            protocol=protocol, seed=seed, codes=tuple(map(tuple, plan.codes.tolist())),
            calib_nets=plan.calib_nets, models=models, agent=sha256(agent))
        _add(bundle, MANIFEST, manifest_bytes(manifest))
        _add(bundle, AGENT, agent)
        _add(bundle, README, _instructions(manifest).encode())
    try:
        replace_file(path, buffer.getvalue())
    except OSError as error:
        raise ProfileError(f"bundle {path} cannot be written ({os_error_line(error)}); give "
                           "another place with -o") from None
    return manifest


def agent_source() -> bytes:
    """Returns the agent's one file."""
    return files("hardware_profiles.agent").joinpath(AGENT).read_bytes()


def serialised(graph: BlockGraph, wish: RuntimeWish, *, seed: int) -> bytes:
    """Returns a graph as an ONNX file in the precision wished, with weights that compress well.

    See `repeat_weights`.
    """
    rng = np.random.default_rng(derive_seed(seed, "block weights"))
    model = repeat_weights(onnx_model(graph, batch=wish.batch, rng=rng))
    return bytes(in_precision(model, wish.precision, rng).SerializeToString())


def repeat_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model with floating-point weights that repeat after `PERIOD` values.

    Random weights do not compress, and a hundred networks are a lot to send. The values that
    remain are those of the tensor's own start, so their scale is kept, and latency does not depend
    on values.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and values.size > PERIOD:
            repeated = np.resize(values.ravel()[:PERIOD], values.shape)
            tensor.CopyFrom(numpy_helper.from_array(repeated, tensor.name))
    return copy


def require_device_name(name: str) -> None:
    """Checks that a name can stand in file names and options.

    Raises:
        ProfileError: It cannot, or it is kept for the machine at hand.
    """
    if not re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)*", name):
        raise ProfileError(f"device name {name!r}: give lower-case letters and digits, joined by "
                           "single dots or dashes, such as pi-5")
    if name == "host" or name.startswith("host-"):
        raise ProfileError(f"device name {name!r} is that of the machine at hand; measure it with "
                           "`nas profile run`, or give another name")


def _manifest(**fields: object) -> BundleManifest:
    draft = BundleManifest.model_validate(
        {"schema_version": BUNDLE_SCHEMA, "id": "0" * 16, **fields})
    return draft.model_copy(update={"id": bundle_id(draft.model_dump(mode="json"))})


def _add(bundle: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
    entry.external_attr = (0o755 if name == AGENT else 0o644) << 16
    bundle.writestr(entry, data, compresslevel=6)


def _instructions(manifest: BundleManifest) -> str:
    text = files("hardware_profiles.agent").joinpath("README.txt").read_text(encoding="utf-8")
    networks = len(manifest.codes)
    return Template(text).substitute(
        device=manifest.device, networks=networks, models=len(manifest.models),
        threads=manifest.runtime.threads, id=manifest.id)
