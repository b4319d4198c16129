"""Images of an exported VAR with ONNX Runtime and numpy, beside torch's cached generation.

Each network is exported; both runtimes then make the same 64 images, whose token ids are compared,
and take turns at making one image, and a batch, with guidance, on one thread. Logits agree to
rounding, so that a draw can differ where its random number is as near to the bound of two codes:
such draws are counted, each behind torch's own tokens, and said apart from others.

    python tests/benchmarks/bench_var_onnx.py
    python tests/benchmarks/bench_var_onnx.py --supernet ./my-var --only-print
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import write_report

from nas.core.arch import Arch
from nas.core.generation import image_uniforms
from nas.core.types import IntArray
from nas.export.drawing import Logits, drawn, filtered, undecided
from nas.export.generator import FACTS, Generator
from nas.export.generator_check import MARGIN
from nas.export.generator_entry import WEIGHTS
from nas.export.onnx import translated
from nas.export.shared_weights import shared
from nas.pipeline.compose import load_supernet
from nas.pipeline.device import one_thread
from supernets.var.generate import generate
from supernets.var.generator_parts import generator_parts
from supernets.var.image_supernet import ImageSupernet
from supernets.var.sampling import Sampling
from supernets.var.space import full_arch, variant_arch

SEED = 0
IMAGES, BATCH = 64, 16
ROUNDS, RUNS = 9, 3  # of each round, the fastest run counts


def networks(net: ImageSupernet) -> dict[str, Arch]:
    """Returns what is measured, by name: the whole net, and VARiant's smallest at its ratio."""
    config = net.net.config
    bridge = config.bridges[len(config.bridges) // 2]
    return {"full": full_arch(config),
            f"N {bridge}, d {config.depths[0]}": variant_arch(config, bridge=bridge,
                                                              depth=config.depths[0])}


def export(net: ImageSupernet, arch: Arch, folder: Path) -> dict[str, Any]:
    """Writes what a generator runs into an empty folder, and returns its sizes."""
    started = time.process_time()
    parts = generator_parts(net.net, net.vae, arch)
    models = {f"{part.name}.onnx": translated(
        part.module, part.inputs, metadata={FACTS: json.dumps(dict(parts.facts))}, free=part.free,
        output_names=part.outputs) for part in parts.parts}
    alone = sum(model.ByteSize() for model in models.values())
    files, weights = shared(models, WEIGHTS)
    for name, data in {**files, WEIGHTS: weights}.items():
        (folder / name).write_bytes(data)
    return {"files_bytes": sum(map(len, files.values())) + len(weights),
            "weights_bytes": len(weights), "bytes_with_weights_in_each": alone,
            "export_cpu_seconds": time.process_time() - started}


def same_tokens(net: ImageSupernet, arch: Arch, generator: Generator, sampling: Sampling
                ) -> dict[str, Any]:
    """Returns how many of the images' token ids are equal, and how far the images differ."""
    labels = np.arange(IMAGES) % net.net.config.classes
    ours = generate(net.net, net.vae, torch.from_numpy(labels), arch, sampling=sampling, seed=SEED)
    theirs = generator.generate(labels, guidance=sampling.guidance, top_k=sampling.top_k,
                                top_p=sampling.top_p, seed=SEED)
    wanted = torch.cat(ours.tokens, 1).numpy()
    given = np.concatenate(theirs.tokens, 1)
    whole = (wanted == given).all(1)
    difference = np.abs(ours.images.numpy() - theirs.images)[whole]
    differing, at_bound = other_draws(generator, labels, wanted, sampling)
    return {"guidance": sampling.guidance, "top_k": sampling.top_k, "top_p": sampling.top_p,
            "differing_draws": differing, "differing_draws_at_a_bound": at_bound,
            "images": IMAGES, "tokens": wanted.size, "equal_tokens": int((wanted == given).sum()),
            "images_with_equal_tokens": int(whole.sum()),
            "max_abs_diff_of_images": float(difference.max(initial=0.0))}


def other_draws(generator: Generator, labels: IntArray, tokens_BL: IntArray, sampling: Sampling
                ) -> tuple[int, int]:
    """Returns how many tokens are drawn otherwise behind torch's own, and how many at a bound."""
    uniforms_BL = image_uniforms(tokens_BL.shape[1], images=len(labels), seed=SEED)
    found, begin = np.zeros(2, int), 0

    def choose(_scale: int, logits_BTV: Logits) -> IntArray:
        nonlocal begin
        place = slice(begin, begin + logits_BTV.shape[1])
        begin = place.stop
        allowed = filtered(logits_BTV, top_k=sampling.top_k, top_p=sampling.top_p)
        differs = drawn(allowed, uniforms_BL[:, place]) != tokens_BL[:, place]
        near = undecided(allowed, uniforms_BL[:, place], margin=MARGIN)
        found[:] += differs.sum(), (differs & near).sum()
        return tokens_BL[:, place]

    generator.run(labels, guidance=sampling.guidance, choose=choose)
    return int(found[0]), int(found[1])


def paired(tasks: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Returns CPU seconds of each, one a round: all run in turns, first those that ran last."""
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(ROUNDS + 1):
        for name in list(tasks)[::1 if number % 2 else -1]:
            times = []
            for _ in range(RUNS):
                started = time.thread_time()
                tasks[name]()
                times.append(time.thread_time() - started)
            found[name].append(min(times))
    return {name: times[1:] for name, times in found.items()}  # the first round warms up


def speed(net: ImageSupernet, arch: Arch, generator: Generator, batch: int, guidance: float
          ) -> dict[str, Any]:
    """Returns seconds per image of both, and the median of the rounds' ratios."""
    labels = np.arange(batch) % net.net.config.classes
    sampling, tensor = Sampling(guidance=guidance), torch.from_numpy(labels)
    spent = paired({
        "torch": lambda: generate(net.net, net.vae, tensor, arch, sampling=sampling, seed=SEED),
        "onnxruntime": lambda: generator.generate(labels, guidance=guidance, seed=SEED)})
    ratios = np.array(spent["onnxruntime"]) / np.array(spent["torch"])
    return {"batch": batch, "guidance": guidance,
            **{f"{name}_seconds_per_image": float(np.median(times)) / batch
               for name, times in spent.items()},
            "ratio": float(np.median(ratios)), "ratio_range": [float(ratios.min()),
                                                               float(ratios.max())]}


def measure(name: str) -> dict[str, Any]:
    """Returns what each network is and takes."""
    net: object = load_supernet(name)
    if not isinstance(net, ImageSupernet):
        raise SystemExit(f"{name} makes no images")
    guidance = 1.5 if net.net.config.rows == 2 else 0.0
    codes = net.net.config.vocabulary
    samplings = [Sampling(guidance=guidance), Sampling(guidance=0.0),
                 Sampling(guidance=guidance, top_k=codes // 4, top_p=0.96)]
    figures = {}
    for key, arch in networks(net).items():
        with tempfile.TemporaryDirectory() as folder:
            sizes = export(net, arch, Path(folder))
            generator = Generator(Path(folder))
            figures[key] = {
                "digest": arch.digest, "arch": arch.as_dict(), **sizes,
                "kv_bytes": generator.kv_bytes(1, guidance=guidance),
                "tokens": [same_tokens(net, arch, generator, one) for one in samplings],
                "speed": [speed(net, arch, generator, batch, guidance) for batch in (1, BATCH)]}
        _print(key, figures[key])
    return figures


def _print(key: str, found: Mapping[str, Any]) -> None:
    print(f"{key}: {found['files_bytes']:,} bytes, weights in each file would make it "
          f"{found['bytes_with_weights_in_each']:,}; exported in "
          f"{found['export_cpu_seconds']:.0f} s")
    for one in found["tokens"]:
        print(f"  guidance {one['guidance']}, top-k {one['top_k']}, top-p {one['top_p']}: "
              f"{one['equal_tokens']} of {one['tokens']} tokens equal, "
              f"{one['images_with_equal_tokens']} of {one['images']} images; "
              f"{one['differing_draws']} other draws, {one['differing_draws_at_a_bound']} of them "
              "at a bound")
    for one in found["speed"]:
        print(f"  batch {one['batch']}: ONNX Runtime {one['onnxruntime_seconds_per_image']:.4f} s "
              f"an image, torch {one['torch_seconds_per_image']:.4f} s, ratio "
              f"{one['ratio']:.2f}", flush=True)


def main() -> None:
    """Measures, prints and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--supernet", default="var-fmnist", help="name or folder")
    parser.add_argument("--only-print", action="store_true", help="write no report")
    options = parser.parse_args()
    with one_thread():
        figures = measure(options.supernet)
    if not options.only_print:
        print(write_report("var_onnx", {
            "supernet": options.supernet, "threads": 1, "rounds": ROUNDS, "runs": RUNS,
            "networks": figures}, seed=SEED))


if __name__ == "__main__":
    main()
