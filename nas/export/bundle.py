"""An exported network as a folder that proves itself: weights, ONNX file, reference answers.

Legend: N inputs, K classes.
"""

import copy
import math
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnx
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.errors import ExportError, InputError
from nas.core.files import os_error_line, sha256, sweep, whole_folder, write_synced
from nas.core.protocols import Signature, Task, export_inputs_of, signature_of
from nas.core.rng import derive_rng
from nas.export.manifest import (
    ARCH,
    HASHED,
    MANIFEST,
    ONNX,
    REFERENCE,
    WEIGHTS,
    Costs,
    FileEntry,
    FinetunedEntry,
    Manifest,
    OnnxEntry,
    ParityEntry,
    TensorEntry,
)
from nas.export.onnx import export_onnx
from nas.export.parity import TOLERANCE, F32Array, at_other_sizes, compare, open_session, run

REFERENCE_INPUTS = 16
OTHER_INPUTS = 4  # of other sizes, where axes beyond the batch's are free
PARITY_INPUTS = 256
VERSIONS = ("nas-service", "torch", "timm", "onnx", "onnxruntime", "numpy")


def write_bundle(folder: Path, *, arch: Arch, module: nn.Module, task: Task,
                 metrics: Mapping[str, float], costs: Mapping[str, int],
                 provenance: Mapping[str, str],
                 finetuned: FinetunedEntry | None = None) -> Manifest:
    """Writes a network as a bundle, checked against torch on inputs of the task's test split.

    The folder appears complete or not at all: it is made beside its place and renamed.

    Args:
        folder: New; parents are made.
        arch: What the module was made from.
        module: From one tensor (N, …) to logits (N, …, K); not changed.
        task: Gives test inputs, and what the ONNX file says of itself and is to be called with.
        metrics: What is known of the network, such as its errors and latency.
        costs: Exactly ``params``, ``macs`` and ``activation_bytes``.
        provenance: Where it comes from, such as the supernet and the run's seed.
        finetuned: How the network was trained after the search, if it was.

    Raises:
        InputError: The folder exists, a metric is not finite, or the costs are not the module's.
        ExportError: ONNX Runtime does not give torch's answers, or the disk refuses.
    """
    if folder.exists() or folder.is_symlink():
        sweep(folder)  # what was killed after the last rename has not done it
        raise InputError(f"bundle folder {folder} exists; give another one or move it away")
    module = copy.deepcopy(module).cpu().eval()
    counts = _checked_costs(module, costs)
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise InputError(f"metric {name!r} of network {arch.digest} is {value}")
    try:
        with whole_folder(folder) as temporary:
            answers, others = _answers(module, first_inputs(task), signature_of(task))
            model = _write_network(temporary, arch, module, task, answers, others)
            manifest = Manifest(
                arch_digest=arch.digest, space_id=arch.space_id, metrics=dict(metrics),
                costs=counts, provenance=dict(provenance), onnx=_describe(model),
                buffers=_buffers(module),
                parity=_check_parity((temporary / ONNX).read_bytes(), answers, others,
                                     signature_of(task)),
                versions={name: _version(name) for name in VERSIONS},
                finetuned=finetuned,
                files={name: file_entry((temporary / name).read_bytes()) for name in HASHED})
            write_synced(temporary / MANIFEST, manifest.to_text().encode())
    except OSError as error:
        raise ExportError(f"bundle {folder} cannot be written ({os_error_line(error)}); nothing "
                          "was left behind; remedy that, then export or resume again") from None
    return manifest


def _checked_costs(module: nn.Module, costs: Mapping[str, int]) -> Costs:
    if set(costs) != set(Costs.model_fields):
        raise InputError(f"costs must be {', '.join(Costs.model_fields)}, not {', '.join(costs)}")
    counted = sum(parameter.numel() for parameter in module.parameters())
    if counted != costs["params"]:
        raise InputError(f"the module has {counted} parameters, its costs say {costs['params']}")
    try:
        return Costs(**costs)
    except ValidationError:
        raise InputError(f"costs must be whole numbers, not {dict(costs)}") from None


def _buffers(module: nn.Module) -> tuple[str, ...]:
    parameters = {name for name, _ in module.named_parameters()}
    return tuple(sorted(set(module.state_dict()) - parameters))


def first_inputs(task: Task) -> Tensor:
    """Returns up to `PARITY_INPUTS` inputs (N, …) of the test split's beginning, on the CPU.

    Raises:
        ExportError: There are fewer than `REFERENCE_INPUTS`.
    """
    parts: list[Tensor] = []
    for inputs in export_inputs_of(task):
        parts.append(inputs.cpu())
        if sum(map(len, parts)) >= PARITY_INPUTS:
            break
    found = torch.cat(parts)[:PARITY_INPUTS].contiguous() if parts else torch.empty(0)
    if len(found) < REFERENCE_INPUTS:
        raise ExportError(f"the test split has {len(found)} inputs; a bundle needs at least "
                          f"{REFERENCE_INPUTS}")
    return found


_Answers = tuple[Tensor, Tensor]  # inputs, and what torch gives for them


def _answers(module: nn.Module, inputs: Tensor, names: Signature
             ) -> tuple[_Answers, dict[str, _Answers]]:
    # To the inputs, and to some of other sizes, by name.
    resized = at_other_sizes(inputs[:OTHER_INPUTS].numpy(), free=len(names.axes) - 1,
                             shortest=names.shortest)
    with torch.inference_mode():
        others = {name: (tensor, module(tensor)) for name, values in resized.items()
                  for tensor in [torch.from_numpy(values)]}
        return (inputs, module(inputs)), others


def _write_network(folder: Path, arch: Arch, module: nn.Module, task: Task, answers: _Answers,
                   others: Mapping[str, _Answers]) -> onnx.ModelProto:
    write_synced(folder / ARCH, arch.to_json().encode())
    inputs, logits = (tensor[:REFERENCE_INPUTS].contiguous() for tensor in answers)
    reference = {"inputs": inputs, "logits": logits}
    for name, (resized, found) in others.items():
        reference |= {f"inputs_{name}": resized, f"logits_{name}": found.contiguous()}
    write_synced(folder / REFERENCE, save(reference))
    state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    try:
        weights = save(state)
    except (SafetensorError, RuntimeError) as error:  # such as two names for one tensor
        raise ExportError(f"the weights cannot be stored as safetensors: {error}") from None
    write_synced(folder / WEIGHTS, weights)
    metadata = {**task.onnx_metadata(), "nas:arch": arch.to_json(), "nas:digest": arch.digest}
    example = task.example_inputs(2, derive_rng(0, "export")).cpu()
    names = signature_of(task)
    return export_onnx(module, example, folder / ONNX, metadata=metadata, input_name=names.input,
                       output_names=(names.output,), axes=names.axes, shortest=names.shortest)


def _check_parity(model: bytes, answers: _Answers, others: Mapping[str, _Answers],
                  names: Signature) -> ParityEntry:
    session = open_session(model)
    few = tuple(tensor[:REFERENCE_INPUTS] for tensor in answers)
    differences = [_difference(session, *answers, batch=len(answers[0])),
                   _difference(session, *few, batch=1)]
    differences += [_difference(session, *pair, batch=batch) for pair in others.values()
                    for batch in (len(pair[0]), 1)]
    inputs = answers[0]
    sizes = {name: tuple(int(tensor.shape[axis]) for tensor, _ in (answers, *others.values()))
             for axis, name in enumerate(names.axes) if axis > 0}
    return ParityEntry(inputs=len(inputs), top1_changed=0, tolerance=TOLERANCE,
                       max_abs_diff=max(differences), sizes=sizes or None)


def _difference(session: Any, inputs: Tensor, logits: Tensor, *, batch: int) -> float:
    x: F32Array = inputs.numpy()
    reference: F32Array = logits.numpy()
    parity = compare(reference, run(session, x, batch=batch))
    if not parity.ok:
        shape = "×".join(map(str, (batch, *x.shape[1:])))
        raise ExportError(f"ONNX Runtime differs from torch at batch {batch} ({shape}): {parity}; "
                          "the network was not exported")
    return parity.max_abs_diff


def _describe(model: onnx.ModelProto) -> OnnxEntry:
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    return OnnxEntry(opset=opset, inputs=described(model.graph.input),
                     outputs=described(model.graph.output),
                     metadata_keys=tuple(sorted(prop.key for prop in model.metadata_props)))


def described(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorEntry, ...]:
    """Returns names and shapes of a graph's inputs or outputs."""
    return tuple(
        TensorEntry(name=value.name, shape=tuple(
            dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim))
        for value in values)


def file_entry(data: bytes) -> FileEntry:
    """Returns what a manifest says of a file."""
    return FileEntry(sha256=sha256(data), size=len(data))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
