"""What an image takes that an exported generator makes on this machine, all steps and draws."""

import time
from pathlib import Path

import numpy as np

from nas.export.generator import Generator

PASSES, RUNS = 5, 5
GUIDANCE = 1.5


def generation_ms(folder: Path, *, threads: int) -> float:
    """Returns the CPU time in ms of generating one image, with guidance where there can be one.

    As in a latency profile it is the median over passes of each pass's fastest run, by the CPU
    clock of the calling thread.

    Args:
        folder: Of a bundle with a generator.
        threads: Of ONNX Runtime.

    Raises:
        InputError: The bundle makes no images.
        ExportError: A file of it is missing or damaged.
    """
    generator = Generator(folder, threads=threads)
    guidance = GUIDANCE if generator.facts["guided"] else 0.0
    generator.generate([0], guidance=guidance)
    fastest = []
    for _ in range(PASSES):
        times = []
        for _ in range(RUNS):
            started = time.thread_time_ns()
            generator.generate([0], guidance=guidance)
            times.append(time.thread_time_ns() - started)
        fastest.append(min(times))
    return float(np.median(fastest)) / 1e6
