"""Benchmarks are run by hand, so something must tell when what they stand on moves away."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))


def test_every_benchmark_finds_what_it_imports() -> None:
    code = f"import importlib\nfor name in {SCRIPTS}:\n    importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent,
                          env={"PYTHONPATH": str(Path(__file__).parent), "PATH": ""},
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(SCRIPTS) > 10
