"""The int8 file of a bundle: tested beside the fp32 one."""

from collections.abc import Mapping

import onnx
import torch
from torch import Tensor, nn

from nas.core.errors import ExportError
from nas.core.protocols import Task
from nas.export.bundle import first_inputs
from nas.export.manifest import INT8, ONNX, AgreementEntry, Int8Entry, Manifest
from nas.export.opened import OpenedBundle
from nas.export.parity import TOLERANCE, compare, open_session, run


class OnnxNetwork(nn.Module):
    """An ONNX file as a network that a `Task` can test.

    Args:
        model: The serialised file, of one input and one output.
    """

    def __init__(self, model: bytes) -> None:
        super().__init__()
        self._session = open_session(model)
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the output for inputs (B, …), computed on the CPU."""
        found = run(self._session, inputs.cpu().numpy(), batch=len(inputs))
        return torch.from_numpy(found).to(inputs.device)


def with_metadata_of(source: onnx.ModelProto, made: onnx.ModelProto) -> bytes:
    """Returns a serialised model that says of itself what its source does."""
    onnx.helper.set_model_props(made, {prop.key: prop.value for prop in source.metadata_props})
    made.producer_name = source.producer_name
    data: bytes = made.SerializeToString(deterministic=True)
    return data


def add_int8(bundle: OpenedBundle, model: bytes, *, task: Task, calibration: str,
             operators: Mapping[str, int], latency_ms: Mapping[str, float],
             latency: str) -> Manifest:
    """Tests an int8 model beside the bundle's fp32 one and writes it there.

    Args:
        bundle: Of the fp32 model.
        model: Serialised; made from the bundle's own.
        task: Gives the test split.
        calibration: What the ranges were taken from.
        operators: Kind → how many are executed.
        latency_ms: Of both files, by name.
        latency: What that is.

    Raises:
        ExportError: Answers that are no numbers, or the disk refuses.
        EvaluationError: Logits that are not finite.
    """
    answers = {name: OnnxNetwork(data) for name, data in
               {ONNX: bundle.files[ONNX], INT8: model}.items()}
    test = {name: dict(task.metrics(network, task.batches("test")))
            for name, network in answers.items()}
    entry = Int8Entry(
        calibration=calibration, operators=dict(operators), test=test,
        latency_ms=dict(latency_ms), latency=latency,
        agreement=_agreement(first_inputs(task), answers[ONNX], answers[INT8]))
    return bundle.add({INT8: model}, entry)


def _agreement(inputs: Tensor, reference: nn.Module, found: nn.Module) -> AgreementEntry:
    wanted, given = reference(inputs).numpy(), found(inputs).numpy()
    largest = compare(wanted, given).max_abs_diff
    if not largest < float("inf"):
        raise ExportError("the int8 network's answers are no numbers or of another shape; it was "
                          "not written")
    changed = (wanted.argmax(-1) != given.argmax(-1)).reshape(len(inputs), -1).any(axis=1)
    return AgreementEntry(inputs=len(inputs), max_abs_diff=largest,
                          top1_changed=int(changed.sum()), tolerance=2 * largest + TOLERANCE)
