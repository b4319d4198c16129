"""Predicted against measured latency of speech encoders, by length of the clip.

Measured are the exported files, whole, of random networks that the profile has not seen: as they
are, with a free batch axis, and with every axis fixed, as the profile's models are (ONNX Runtime
fuses other nodes then). Predicted is what the profile's table of blocks says. Profiles that are
missing are measured first, in minutes.

    python tests/benchmarks/bench_hubert_latency.py --work DIR
    python tests/benchmarks/bench_hubert_latency.py --supernet ./my-speech --seconds 1 --only-print
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _hubert_onnx import export
from _report import write_report

from hardware_profiles.calibrate import quality
from hardware_profiles.check import fresh_networks
from hardware_profiles.measure import measure, protocol_for
from hardware_profiles.precision import at_batch, parsed, sized
from hardware_profiles.session import Model
from hardware_profiles.table import LatencyTable
from nas.core.rng import derive_rng
from nas.pipeline.compose import device_profile, searched_supernet
from nas.pipeline.config import make_config
from nas.pipeline.device import one_thread
from nas.pipeline.events import silent
from nas.pipeline.latency_note import free_sizes

SEED = 7  # of the networks drawn
FORMS = ("free", "fixed")  # of the batch axis
GATE = 0.95  # of the networks within 10 %


def compare(name: str, seconds: float, nets: int, work: Path) -> dict[str, Any]:
    """Returns how far predictions for clips of a length are off, network by network."""
    config = make_config({"supernet": name, "seconds": seconds})
    net = searched_supernet(config)
    profile = device_profile(config, net, watch=silent)
    codes = fresh_networks(profile, net.space, nets, seed=SEED)
    archs = net.space.decode(codes)
    table = LatencyTable(profile, net.vocabulary, net.block_ids)
    predicted = table.predict("latency_ms", codes).value
    sizes = free_sizes(net.task)
    models: dict[str, Callable[[], bytes]] = {}
    for arch in archs:
        free = sized(parsed(Model(arch.digest, export(net, arch, work))), sizes)
        for form, model in (("free", free), ("fixed", at_batch(free, profile.runtime.batch))):
            models[f"{arch.digest} {form}"] = partial(bytes, model.SerializeToString())
    found = measure(models, runtime=profile.runtime, protocol=protocol_for(profile.runtime),
                    rng=derive_rng(SEED, "measurement"))
    measured = {form: np.array([found.timings[f"{arch.digest} {form}"].latency_ms
                                for arch in archs]) for form in FORMS}
    return {"profile": profile.id, "held_out": profile.calibration.stated_quality().model_dump(),
            "quality": {form: quality(predicted, ms).model_dump()
                        for form, ms in measured.items()},
            "unstable": sum(not timing.stable for timing in found.timings.values()),
            "wall_over_cpu": found.wall_over_cpu, "networks": [
                {"digest": arch.digest, "predicted_ms": float(predicted[row]),
                 **{f"{form}_ms": float(measured[form][row]) for form in FORMS}}
                for row, arch in enumerate(archs)]}


def main() -> None:
    """Measures, prints and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--supernet", default="hubert-digits", help="name or folder")
    parser.add_argument("--nets", type=int, default=40, help="of each length")
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 5.0])
    parser.add_argument("--work", type=Path, required=True, help="keeps the ONNX files")
    parser.add_argument("--only-print", action="store_true", help="write no report")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {}
    with one_thread():
        for seconds in options.seconds:
            found = compare(options.supernet, seconds, options.nets, options.work)
            figures[f"{seconds:g} s"] = found
            for form, fit in found["quality"].items():
                print(f"{seconds:g} s, batch axis {form}: {fit['in10']:.1%} of {options.nets} "
                      f"within 10 % (gate {GATE:.0%}), {fit['in5']:.1%} within 5 %, bias "
                      f"{fit['bias']:+.2%}, Spearman {fit['spearman']:.4f}", flush=True)
    if not options.only_print:
        print(write_report("hubert_latency", {
            "supernet": options.supernet, "gate": GATE, "lengths": figures}, seed=SEED))


if __name__ == "__main__":
    main()
