"""What it takes to extract and export a pruned network of ResNet-50's size, and to check that."""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from _tas_spaces import cost_of, make_space

from nas.core.costs import UNITS, ClosedFormCosts
from nas.core.rng import derive_rng
from nas.export.bundle import write_bundle
from nas.export.onnx import export_onnx
from supernets.tas.budget import Budget
from supernets.tas.methods.uniform import uniform
from supernets.tas.subject import Subject

MODEL, SIDE, SHARE, ROUNDS = "resnet50", 224, 0.6, 3


def export_figures(work: Path) -> dict[str, Any]:
    """Returns wall and CPU seconds of each round.

    ``export`` is extraction and the ONNX file; ``bundle`` another export with all that a bundle
    has, compared with torch on 256 inputs.
    """
    net = make_space(MODEL, SIDE)
    cost = cost_of(net, "macs", work)
    whole = cost.of(net.space.extreme(largest=True))
    arch = uniform(Subject(supernet=net, budget=Budget(cost=cost, limit=SHARE * whole), seed=0))
    counted = ClosedFormCosts(net.vocabulary, net.block_ids)
    code = net.space.encode([arch])
    costs = {name: int(counted.predict(name, code).value[0]) for name in UNITS}
    example = net.task.example_inputs(2, derive_rng(0, "export"))
    rounds = []
    for index in range(ROUNDS):
        folder = work / f"bundle-{index}"
        shutil.rmtree(folder, ignore_errors=True)
        start = _now()
        module = net.extract(arch)
        extracted = _now()
        export_onnx(module, example, work / "network.onnx", metadata={})
        exported = _now()
        write_bundle(folder, arch=arch, module=module, task=net.task, metrics={}, costs=costs,
                     provenance={"model": MODEL})
        end = _now()
        rounds.append({
            "extract_wall_s": round(extracted[0] - start[0], 3),
            "export_wall_s": round(exported[0] - start[0], 2),
            "export_cpu_s": round(exported[1] - start[1], 2),
            "bundle_wall_s": round(end[0] - exported[0], 2),
            "bundle_cpu_s": round(end[1] - exported[1], 2)})
        shutil.rmtree(folder)
    medians = {f"median_{name}": float(np.median([found[name] for found in rounds]))
               for name in rounds[0]}
    return {"model": MODEL, "pixels": SIDE, "of_macs": round(costs["macs"] / whole, 4),
            "params": costs["params"], "rounds": rounds, **medians}

def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
