"""What tests of `nas prune` share: requests of short prunings of a small network."""

import json
from pathlib import Path
from typing import Any

from timm_trainings import SIDE

from nas.core.arch import Arch
from nas.pipeline.prune.request import PruneRequest, make_prune_request
from nas.pipeline.prune.run import BudgetMissed, prune
from supernets.tas.subject import Subject

# test_resnet has few blocks, and multiples of 16 leave it few widths.
SMALL = {"model": "timm:test_resnet", "macs": "60%", "method": "uniform", "epochs": 1,
         "batch_size": 16, "image_size": SIDE, "multiple": 16}
KEYS = {"method", "before", "after", "accuracy", "bundle"}


def prune_request(data: Path, out: Path, **options: Any) -> PruneRequest:
    """Makes the request of a short pruning."""
    values = {**SMALL, **options}
    if "params" in options or "max_latency_ms" in options:
        del values["macs"]
    return make_prune_request({"data": data, "out": out, **values})


def faster_or_not(request: PruneRequest) -> dict[str, Any]:
    """Prunes and returns ``prune.json``, even where the network is slower than the unpruned one.

    How fast a machine is, is for benchmarks.
    """
    try:
        return dict(prune(request).payload)
    except BudgetMissed as missed:
        return dict(missed.result.payload)


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    """Returns the same as a command line."""
    return ["prune", "--model", "timm:test_resnet", "--data", str(data), "--out", str(out),
            "--epochs", "1", "--batch-size", "16", "--image-size", str(SIDE), "--multiple", "16",
            *more]


def comparable(folder: Path) -> dict[str, Any]:
    """Returns what must be equal in two folders of one pruning: all but measured times."""
    payload = json.loads((folder / "prune.json").read_text())
    for part in ("before", "after"):
        del payload[part]["latency_ms"]
    for block in payload.pop("blocks"):
        assert block["before"]["latency_ms"] > 0
    del payload["bundle"], payload["slower"]
    return dict(payload)


def make_slower(file: Path) -> None:
    """Changes what was measured, so that the pruned network takes twice the unpruned one's time."""
    kept = json.loads(file.read_text())
    kept["networks"]["after"]["latency_ms"] = 2 * kept["networks"]["before"]["latency_ms"]
    file.write_text(json.dumps(kept))


def whole_network(subject: Subject) -> Arch:
    """A method that prunes nothing."""
    return subject.supernet.space.extreme(largest=True)
