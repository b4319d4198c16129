"""Does the gradient search end at its budget, what does a step cost, and what does an export?

control: the controller is led by the loss of cost alone, from ten starts to targets of 30 to 80 %
of multiply-adds, parameters and latency. search: the search itself on 2,000 images of Fashion-MNIST
at 14 pixels. steps: CPU time of a step of the search beside a plain training step, in turns.
export: a ResNet-50 of 60 % of the multiply-adds is extracted and exported, three times.
Latency is from a profile of this machine that is measured once. Finished rows are kept under
--work, and parts that are not asked for stay in the report as they are.

    python tests/benchmarks/bench_tas.py --data DIR --work DIR [--parts control search steps export]
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from _report import FOLDER, write_report
from _tas_control import TARGETS, summary, target_row
from _tas_export import export_figures
from _tas_search import EPOCHS, IMAGES, MODEL, SEEDS, search_row
from _tas_search import TARGETS as SEARCH_TARGETS
from _tas_spaces import METRICS, cost_of, make_space
from _tas_steps import NETS, step_row

from nas.pipeline.device import keep_freed_memory, one_thread
from supernets.timm.cifar_resnet import register

SPACES = {"cifar_resnet20": 32, "resnet18": 64, "cifar_resnet56": 32}
Row = dict[str, Any]


def kept(work: Path, name: str, make: Callable[[], Row]) -> Row:
    """Returns a row, made if it is not there."""
    path = work / f"{name}.json"
    if not path.is_file():
        path.write_text(json.dumps(make()))
        print(name, path.read_text(), flush=True)
    found: Row = json.loads(path.read_text())
    return found


def control(given: argparse.Namespace) -> Row:
    """Returns, of each space and metric, a line and the targets' rows."""
    found: Row = {}
    for model, side in SPACES.items():
        net = make_space(model, side)
        for metric in METRICS:
            cost = cost_of(net, metric, given.work)
            rows = [kept(given.work, f"control-{model}-{metric}-{share}",
                         lambda net=net, cost=cost, share=share: target_row(net, cost, share))
                    for share in TARGETS]
            found[f"{model}, {metric}"] = {**summary(rows), "targets": rows}
    return found


def search(given: argparse.Namespace) -> Row:
    """Returns where searches on images end."""
    rows = [kept(given.work, f"search-{metric}-{share}-{seed}",
                 lambda metric=metric, share=share, seed=seed: search_row(
                     given.data, given.work, metric, share, seed))
            for metric in METRICS for share in SEARCH_TARGETS for seed in SEEDS]
    ends = [row["likeliest"] for row in rows]
    returned = [row["returned"] for row in rows]
    return {"model": MODEL, "images": IMAGES, "epochs": EPOCHS, "searches": len(rows),
            "within_5_percent": sum(abs(end - 1) <= 0.05 for end in ends),
            "within_5_percent_after_the_last_step": sum(
                abs(row["last_step"] - 1) <= 0.05 for row in rows),
            "worst": max(ends, key=lambda end: abs(end - 1)),
            "returned": [min(returned), max(returned)], "rows": rows}


PARTS: Mapping[str, Callable[[argparse.Namespace], Row]] = {
    "control": control, "search": search,
    "steps": lambda given: {"nets": [step_row(*net, given.work) for net in NETS]},
    "export": lambda given: export_figures(given.work)}


def main() -> None:
    """Makes the parts that are asked for, and writes them into the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    register()
    keep_freed_memory()
    with one_thread():
        for part in given.parts:
            made = PARTS[part](given)
            path = FOLDER / "tas.json"
            before = json.loads(path.read_text())["figures"] if path.is_file() else {}
            write_report("tas", {**before, part: made}, seed=0)


if __name__ == "__main__":
    main()
