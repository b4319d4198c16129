"""Scores networks of NAS-Bench-201 with zero-cost proxies, one thread; goes on where it stopped.

Each sample is drawn with a fixed seed; the first 300 of the random ones are those of the costly
proxies. The scores lie in docs/benchmarks/nasbench201, a CSV file a proxy;
bench_nasbench201.py makes the report of them.

    python tests/benchmarks/bench_nasbench201_scores.py random:1000 gradsign,naswot
    python tests/benchmarks/bench_nasbench201_scores.py published:725 synflow,params
"""

import argparse
import itertools
import time

import torch
from _nasbench201 import SEED, Scores, published

from nas.core.rng import derive_rng


def sample(text: str) -> list[str]:
    """Returns the architectures of ``random:N`` or ``published:N``."""
    kind, _, count = text.partition(":")
    if kind not in ("random", "published") or not count.isdigit():
        raise SystemExit(f"sample {text!r}: random:N or published:N")
    every = sorted(published()) if kind == "published" else [
        "".join(digits) for digits in itertools.product("01234", repeat=6)]
    order = derive_rng(SEED, f"{kind} sample").permutation(len(every))
    return [every[index] for index in order[:int(count)]]


def main() -> None:
    """Scores what is missing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sample")
    parser.add_argument("proxies")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ops = sample(options.sample)
    scores = [Scores(name) for name in options.proxies.split(",")]
    started = time.monotonic()
    for number, one in enumerate(ops):
        for kept in scores:
            if kept.missing([one]):
                kept.compute(one)
        if number % 20 == 19:
            spent = time.monotonic() - started
            print(f"{number + 1} of {len(ops)}, {spent:.0f} s, "
                  f"{spent / (number + 1) * (len(ops) - number - 1):.0f} s to go", flush=True)


if __name__ == "__main__":
    main()
