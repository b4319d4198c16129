"""Exported speech encoders in ONNX Runtime: latency and real-time factor on 1 and 5 s of speech.

The largest, the smallest and, with `--arch`, another network of a supernet; one thread, CPU time,
in turns. Each file must give torch's hidden states for the very clips that it is timed on.

    python tests/benchmarks/bench_hubert_onnx.py --arch RUN/best/arch.json
    python tests/benchmarks/bench_hubert_onnx.py --supernet ./my-speech --only-print
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _hubert_onnx import export, speech
from _report import write_report

from nas.core.arch import Arch
from nas.core.costs import ClosedFormCosts
from nas.core.protocols import Supernet
from nas.core.rng import derive_rng
from nas.export.parity import TOLERANCE, open_session
from nas.pipeline.clip_length import at_length
from nas.pipeline.compose import load_supernet
from nas.pipeline.config import make_config
from nas.pipeline.device import one_thread
from supernets.tasks.waves import Wave, normalised

SEED = 0
SECONDS = (1.0, 5.0)
ROUNDS, RUNS = 20, 5  # of each round, the fastest run counts


def networks(net: Supernet, chosen: Path | None) -> dict[str, Arch]:
    """Returns what is measured, by name."""
    found = {"largest": net.space.extreme(largest=True)}
    if chosen is not None:
        found["searched"] = Arch.from_json(chosen.read_text(), space=net.space)
    return {**found, "smallest": net.space.extreme(largest=False)}


def times_ms(sessions: Mapping[str, Any], clips: Mapping[float, Wave]
             ) -> dict[tuple[str, float], list[float]]:
    """Returns CPU milliseconds of each network and length, one a round."""
    feeds = {seconds: {"wave": clip_S[None]} for seconds, clip_S in clips.items()}
    found: dict[tuple[str, float], list[float]] = {
        (name, seconds): [] for name in sessions for seconds in clips}
    order, rng = list(found), derive_rng(SEED, "turns")
    for _ in range(ROUNDS + 1):
        for place in rng.permutation(len(order)):
            name, seconds = order[place]
            runs = []
            for _ in range(RUNS):
                started = time.thread_time()
                sessions[name].run(None, feeds[seconds])
                runs.append(1000 * (time.thread_time() - started))
            found[name, seconds].append(min(runs))
    return {key: values[1:] for key, values in found.items()}  # the first round warms up


def difference(net: Supernet, arch: Arch, session: Any, clip_S: Wave) -> float:
    """Returns the largest difference of a file's hidden states from torch's, which is small."""
    with torch.inference_mode():
        wanted = net.extract(arch).cpu().eval()(torch.from_numpy(clip_S)[None]).numpy()
    found = float(np.abs(session.run(None, {"wave": clip_S[None]})[0] - wanted).max())
    if not found <= TOLERANCE:
        raise SystemExit(f"{arch.digest} differs from torch by {found:.1e}")
    return found


def measure(name: str, chosen: Path | None, wav: Path | None) -> dict[str, Any]:
    """Returns what each network is and takes."""
    net = load_supernet(name)
    archs = networks(net, chosen)
    clips = {seconds: normalised(speech(wav, seconds)) for seconds in SECONDS}
    with tempfile.TemporaryDirectory() as folder:
        files = {key: export(net, arch, Path(folder)) for key, arch in archs.items()}
    sessions = {key: open_session(data) for key, data in files.items()}
    spent = times_ms(sessions, clips)
    figures: dict[str, Any] = {}
    for key, arch in archs.items():
        figures[key] = {"digest": arch.digest, "arch": arch.as_dict(), "bytes": len(files[key]),
                        "clips": {}}
        for seconds, clip_S in clips.items():
            net = at_length(net, make_config({"supernet": name, "seconds": seconds}))
            costs = ClosedFormCosts(net.vocabulary, net.block_ids)
            macs = int(costs.predict("macs", net.space.encode([arch])).value[0])
            median = float(np.median(spent[key, seconds]))
            figures[key]["clips"][f"{seconds:g} s"] = {
                "macs": macs, "min_ms": min(spent[key, seconds]), "median_ms": median,
                "rtf": median / (1000 * seconds),
                "max_abs_diff": difference(net, arch, sessions[key], clip_S)}
    return figures


def main() -> None:
    """Measures, prints and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--supernet", default="hubert-digits", help="name or folder")
    parser.add_argument("--arch", type=Path, metavar="FILE", help="arch.json of a third network")
    parser.add_argument("--wav", type=Path, help="5 s of speech or more; prompts if absent")
    parser.add_argument("--only-print", action="store_true", help="write no report")
    options = parser.parse_args()
    with one_thread():
        figures = measure(options.supernet, options.arch, options.wav)
    for key, found in figures.items():
        for length, taken in found["clips"].items():
            print(f"{key:9} {length}: {taken['median_ms']:8.3f} ms (min {taken['min_ms']:.3f}), "
                  f"real-time factor {taken['rtf']:.5f}, {taken['macs']:,} MACs, differs by "
                  f"{taken['max_abs_diff']:.1e}")
    if not options.only_print:
        print(write_report("hubert_onnx", {
            "supernet": options.supernet, "threads": 1, "rounds": ROUNDS, "runs": RUNS,
            "networks": figures}, seed=SEED))


if __name__ == "__main__":
    main()
