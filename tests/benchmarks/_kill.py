"""The machinery of bench_kill.py: the real command line, killed at a moment or at a disk access."""

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from supernets.mobilenet.config import MobileNetConfig, StageConfig
from supernets.mobilenet.stored import save_supernet
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import ImageClassification, LabelledImages

SIDE, CLASSES = 16, 5

# Runs `nas` and counts its accesses that change files under a folder; kills itself before one.
PROGRAM = """
import atexit, os, signal, sys
from pathlib import Path
root, fatal, report = os.environ["KILL_ROOT"], int(os.environ["KILL_AT"]), os.environ["KILL_REPORT"]
count, writes = 0, os.O_WRONLY | os.O_RDWR
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")
def hook(event, arguments):
    global count
    if event in CHANGES or (event == "open" and (arguments[2] or 0) & writes):
        if str(arguments[0]).startswith(root) and str(arguments[0]) != report:
            count += 1
            if count == 1:
                Path(report).touch()
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
atexit.register(lambda: Path(report).write_text(str(count)))
from cli.main import run
run()
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a process ended.

    Attributes:
        killed: By SIGKILL.
        code: Its exit code otherwise.
        work_s: Seconds since its first access; what comes before is importing.
        accesses: Of a process that ended by itself.
        stderr: What it said.
    """

    killed: bool
    code: int
    work_s: float
    accesses: int
    stderr: str


@dataclass(frozen=True, slots=True)
class Command:
    """Starts `nas` in a folder of its own."""

    root: Path

    def run(self, arguments: Sequence[str], *, cache: Path, after_s: float | None = None,
            at_access: int = 0) -> Ran:
        """Runs to the end, or to a SIGKILL: seconds after the first access, or before the n-th."""
        report = self.root / "accesses"
        report.unlink(missing_ok=True)
        # What it says goes into a file: a pipe would fill up and hold it.
        with (self.root / "stderr").open("w+") as said:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *arguments], cwd=self.root,
                env=self._environment(report, cache, at_access), stdout=subprocess.DEVNULL,
                stderr=said)
            while process.poll() is None and not report.exists():
                time.sleep(0.005)
            started = time.monotonic()
            try:
                process.wait(after_s)
            except subprocess.TimeoutExpired:
                process.kill()
            code = process.wait()
            work_s = time.monotonic() - started
            said.seek(0)
            text = said.read()
        return Ran(code == -signal.SIGKILL, code, work_s,
                   int(report.read_text() or 0) if report.exists() else 0, text)

    def _environment(self, report: Path, cache: Path, at_access: int) -> Mapping[str, str]:
        source = Path(__file__).parents[2]
        return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(source),
                "NAS_CACHE_DIR": str(cache), "KILL_ROOT": str(self.root),
                "KILL_AT": str(at_access), "KILL_REPORT": str(report)}


def make_supernet(folder: Path) -> None:
    """Writes an untrained supernet of two stages over random images."""
    config = MobileNetConfig(
        name="mobilenet-tiny/1", input_shape=(1, SIDE, SIDE), num_classes=CLASSES, stem_width=8,
        head_width=24, stages=(
            StageConfig(widths=(8, 12), depths=(1, 2), kernels=(3, 5), expansions=(1, 2)),
            StageConfig(widths=(12, 16), depths=(1, 2), kernels=(3, 5), expansions=(2, 3),
                        stride=2)))
    rng = np.random.default_rng(0)
    splits = {name: LabelledImages(*_images(rng, count))
              for name, count in (("train_calib", 64), ("search", 80), ("test", 48))}
    task = ImageClassification(labels=tuple("abcde"), input_shape=config.input_shape, mean=0.5,
                               std=0.3, splits=splits)
    torch.manual_seed(0)
    folder.mkdir()
    save_supernet(folder, MobileNetSupernet(config, task).eval(), task, {"trained_by": "nobody"})


def make_images(folder: Path) -> None:
    """Writes a folder of idx files for `nas train`."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 160), ("t10k", 80)):
        images, labels = _images(rng, count)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(
            struct.pack(">4I", 0x803, *images.shape) + images.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2I", 0x801, count) + labels.tobytes())


def snapshot(folder: Path) -> dict[str, bytes]:
    """Returns every file under a folder, hidden ones included, by its relative name."""
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def _images(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count, dtype=np.uint8) % CLASSES
    images = rng.integers(0, 120, (count, SIDE, SIDE), dtype=np.uint8)
    images[np.arange(count), labels * 3] += 100  # a bright row tells the class
    return images, labels
