"""A training step of a HuBERT supernet's largest network against transformers' HubertModel.

Both have the same shape and weights, no dropout and no masks, and do the same step: forward, mean
absolute difference from targets, backward, AdamW. CPU time of one thread, in turns; memory is the
peak of a process that makes three steps, less that of one that only has the packages loaded.

    python tests/benchmarks/bench_hubert_step.py                        both
    python tests/benchmarks/bench_hubert_step.py --sizes hubert-tiny    one, keeps the other
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _report import FOLDER, write_report
from torch import Tensor, nn

from nas.pipeline.device import keep_freed_memory
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.presets import PRESETS
from supernets.hubert.supernet import HubertSupernet
from supernets.tasks.waves import SAMPLE_RATE

SEED = 0
TARGET = 1.05  # of transformers' step, in time and in memory
SIDES = ("supernet", "transformers")
WEIGHT_DECAY, LEARNING_RATE = 0.01, 5e-4
STEPS_OF_MEMORY, REPEATS_OF_MEMORY = 3, 3


@dataclass(frozen=True, slots=True)
class Case:
    """One size: clips of a batch, their length in seconds, rounds of measuring time."""

    clips: int
    seconds: float
    rounds: int


CASES = {"hubert-tiny": Case(8, 2.0, 25), "hubert-base": Case(2, 2.0, 9)}


def step_of(side: str, config: ElasticHubertConfig, case: Case) -> Callable[[], None]:
    """Returns one training step of a side; both start with the same weights and batch."""
    torch.manual_seed(SEED)
    net = HubertSupernet(config)
    arch = net.space.extreme(largest=True)
    network: nn.Module = net if side == "supernet" else net.extract(arch)
    network.train()
    wave_BS = torch.randn(case.clips, round(case.seconds * SAMPLE_RATE))
    target_BTE = torch.randn(case.clips, config.frames(wave_BS.shape[1]), config.width)
    del net
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE,
                                  weight_decay=WEIGHT_DECAY)

    def states() -> Tensor:
        made = network(wave_BS, arch) if side == "supernet" else network(wave_BS)
        found: Tensor = made.last_hidden_state
        return found

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.l1_loss(states(), target_BTE).backward()
        optimizer.step()

    return step


def times(config: ElasticHubertConfig, case: Case) -> dict[str, Any]:
    """Returns CPU seconds of a step of each side, and the ratio of each round."""
    steps = {side: step_of(side, config, case) for side in SIDES}
    for step in steps.values():  # allocates gradients and the optimiser's states
        step()
        step()
    spent: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(case.rounds):
        for side in SIDES if number % 2 else reversed(SIDES):
            started = time.process_time()
            steps[side]()
            spent[side].append(time.process_time() - started)
    ratios = np.array(spent["supernet"]) / np.array(spent["transformers"])
    return {"cpu_s": {side: {"min": min(found), "median": float(np.median(found))}
                      for side, found in spent.items()},
            "ratio": {"of_minima": min(spent["supernet"]) / min(spent["transformers"]),
                      "median": float(np.median(ratios)),
                      "q10": float(np.quantile(ratios, 0.1)),
                      "q90": float(np.quantile(ratios, 0.9))}}


def memory(name: str) -> dict[str, Any]:
    """Returns bytes that the steps of each side take beyond the packages, the least of repeats."""
    idle = min(_child(name, "idle") for _ in range(REPEATS_OF_MEMORY))
    own = {side: [_child(name, side) - idle for _ in range(REPEATS_OF_MEMORY)] for side in SIDES}
    least = {side: min(found) for side, found in own.items()}
    return {"idle_bytes": idle, "bytes": own,
            "ratio": least["supernet"] / least["transformers"]}


def _child(name: str, side: str) -> int:
    done = subprocess.run([sys.executable, __file__, "--peak-of", side, "--sizes", name],
                          capture_output=True, text=True, check=True)
    return int(done.stdout)


def peak_of(side: str, name: str) -> int:
    """Returns the peak of this process's resident bytes after the steps of one side."""
    import transformers.models.hubert.modeling_hubert  # noqa: F401  # in every process

    if side != "idle":
        step = step_of(side, PRESETS[name], CASES[name])
        for _ in range(STEPS_OF_MEMORY):
            step()
    # Not getrusage's: that has the peak of whoever started the process, too.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def main() -> None:
    """Measures, prints and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--peak-of", choices=("idle", *SIDES), help="what the script calls itself")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak_of:
        print(peak_of(options.peak_of, options.sizes[0]))
        return
    keep_freed_memory()
    path = FOLDER / "hubert_step.json"
    figures = json.loads(path.read_text())["figures"]["sizes"] if path.is_file() else {}
    for name in options.sizes:
        case = CASES[name]
        found = {"clips": case.clips, "seconds": case.seconds, "rounds": case.rounds,
                 "time": times(PRESETS[name], case), "memory": memory(name)}
        figures[name] = found
        ratio = found["time"]["ratio"]
        print(f"{name}, {case.clips} × {case.seconds:g} s: time {ratio['median']:.3f} "
              f"({ratio['q10']:.3f} … {ratio['q90']:.3f}), of minima {ratio['of_minima']:.3f}; "
              f"memory {found['memory']['ratio']:.3f}; target {TARGET}", flush=True)
        print(write_report("hubert_step", {"target": TARGET, "sizes": figures}, seed=SEED))


if __name__ == "__main__":
    main()
