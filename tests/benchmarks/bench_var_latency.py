"""Predicted against measured latency of generating one image, with guidance.

Measured is what a user runs: the exported steps with their caches, guidance and draws in numpy,
and the decoder, of random networks that the profile was not fitted on. Predicted is what the
profile's table of blocks says. A profile that is missing is measured first, in minutes.

    python tests/benchmarks/bench_var_latency.py --work DIR
    python tests/benchmarks/bench_var_latency.py --supernet ./my-var --work DIR --only-print
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from _report import write_report

from hardware_profiles.calibrate import quality
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.table import LatencyTable
from nas.core.arch import Arch
from nas.core.rng import derive_rng
from nas.core.space import GeneSpace
from nas.core.types import IntArray
from nas.export.generator import FACTS
from nas.export.generator_entry import WEIGHTS
from nas.export.onnx import translated
from nas.export.shared_weights import shared
from nas.pipeline.compose import device_profile, searched_supernet
from nas.pipeline.config import make_config
from nas.pipeline.device import one_thread
from nas.pipeline.events import silent
from nas.pipeline.generation_latency import generation_ms
from supernets.var.generator_parts import generator_parts
from supernets.var.image_supernet import ImageSupernet

SEED = 7  # of the networks drawn
NETS = 16


def not_fitted(profile: HardwareProfile, space: GeneSpace, count: int) -> IntArray:
    """Returns codes (count, genes) of distinct random networks that no factor was fitted on."""
    rng = derive_rng(SEED, "networks")
    fitted = {net.codes for net in profile.subnets if net.split == "calib"}
    found: dict[tuple[int, ...], None] = {}
    for _ in range(100):
        rows = map(tuple, space.sample_codes(count, rng).tolist())
        found |= dict.fromkeys(row for row in rows if row not in fitted)
    if len(found) < count:
        raise SystemExit(f"{space.id} has {len(found)} other networks; ask for fewer with --nets")
    return np.array(list(found)[:count], dtype=np.int16)


def export(net: ImageSupernet, arch: Arch, folder: Path) -> Path:
    """Writes the files that a generator runs, where they are not there yet."""
    if not folder.is_dir():
        generator = generator_parts(net.net, net.vae, arch)
        models = {}
        for part in generator.parts:
            metadata = {FACTS: json.dumps(dict(generator.facts))}
            models[f"{part.name}.onnx"] = translated(
                part.module, part.inputs, metadata=metadata, free=part.free,
                output_names=part.outputs)
        files, weights = shared(models, WEIGHTS)
        folder.mkdir(parents=True)
        for name, content in {**files, WEIGHTS: weights}.items():
            (folder / name).write_bytes(content)
    return folder


def compare(name: str, nets: int, work: Path) -> dict[str, Any]:
    """Returns how far predictions are off, network by network."""
    config = make_config({"supernet": name})
    supernet = searched_supernet(config)
    profile = device_profile(config, supernet, watch=silent)
    net: object = supernet
    if not isinstance(net, ImageSupernet):
        raise SystemExit(f"{name} makes no images")
    codes = not_fitted(profile, net.space, nets)
    predicted = LatencyTable(profile, net.vocabulary, net.block_ids).predict("latency_ms", codes)
    rows = []
    for row, arch in enumerate(net.space.decode(codes)):
        folder = export(net, arch, work / arch.digest)
        rows.append({"digest": arch.digest, "arch": arch.as_dict(),
                     "predicted_ms": float(predicted.value[row]),
                     "measured_ms": generation_ms(folder, threads=config.threads)})
        print(f"{arch.digest}: predicted {rows[-1]['predicted_ms']:.3f} ms, measured "
              f"{rows[-1]['measured_ms']:.3f} ms", flush=True)
    measured = np.array([entry["measured_ms"] for entry in rows])
    # What numpy does is no part of the blocks, and the same for all networks but for the caches.
    shift = float(np.median(measured - predicted.value))
    return {"profile": profile.id, "held_out": profile.calibration.stated_quality().model_dump(),
            "quality": quality(predicted.value, measured).model_dump(),
            "median_difference_ms": shift,
            "quality_with_difference": quality(predicted.value + shift, measured).model_dump(),
            "networks": rows}


def main() -> None:
    """Measures, prints and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--supernet", default="var-fmnist", help="name or folder")
    parser.add_argument("--nets", type=int, default=NETS)
    parser.add_argument("--work", type=Path, required=True, help="keeps the ONNX files")
    parser.add_argument("--only-print", action="store_true", help="write no report")
    options = parser.parse_args()
    with one_thread():
        found = compare(options.supernet, options.nets, options.work)
    for what in ("quality", "quality_with_difference"):
        fit = found[what]
        print(f"{what.replace('_', ' ')}: {fit['in10']:.0%} of {options.nets} within 10 %, bias "
              f"{fit['bias']:+.1%}, Spearman {fit['spearman']:.3f}", flush=True)
    print(f"median difference: {found['median_difference_ms']:+.2f} ms")
    if not options.only_print:
        print(write_report("var_latency", {"supernet": options.supernet, **found}, seed=SEED))


if __name__ == "__main__":
    main()
