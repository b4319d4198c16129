"""Writes the result files of benchmarks: figures with all that is needed to judge them."""

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"
PACKAGES = ("torch", "timm", "onnxruntime", "numpy")


def write_report(name: str, figures: Mapping[str, Any], *, seed: int) -> Path:
    """Writes ``docs/benchmarks/NAME.json`` and returns its path."""
    report = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "seed": seed,
        "versions": {"python": platform.python_version(),
                     **{package: version(package) for package in PACKAGES}},
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "system": platform.system()},
        "figures": dict(figures),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    return path


def cpu_model() -> str:
    """Returns the processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
