"""Key-value caches of VAR-d30's subnets: the paper's table by the formula, and by allocation.

VARiant (arXiv 2511.16546) reports VAR-d30 at batch 64: 28,677 MB, 65 % less at d=8, 7.2 GB at d=4
and 80 % less at d=2; its figures fit keys in 4 bytes and values in 2, and N=6 bridge scales. What
is allocated is measured at a batch that fits, and is the formula's to the byte.

    python tests/benchmarks/bench_var_memory.py
"""

from typing import Any

import torch
from _report import write_report

from supernets.var.cache import KeyValueCache
from supernets.var.memory import kv_bytes
from supernets.var.presets import D30
from supernets.var.space import full_arch, plan, variant_arch

BATCH, SMALL_BATCH, BRIDGE = 64, 2, 6
MB = 2**20
PAPER_MB = {30: 28677.0, 4: 7.2 * 1024}
PAPER_SAVED = {8: 0.65, 2: 0.80}
WIDTHS = {"K32 V16": (4, 2), "K16 V16": (2, 2), "K32 V32": (4, 4)}
DTYPES = {2: torch.float16, 4: torch.float32}


def row(depth: int) -> dict[str, Any]:
    """Returns the figures of one depth."""
    arch = full_arch(D30) if depth == D30.depth else variant_arch(D30, bridge=BRIDGE, depth=depth)
    layers = plan(D30, arch)
    found: dict[str, Any] = {"depth": depth}
    for name, (keys, values) in WIDTHS.items():
        for freed in (False, True):
            formula = {images: kv_bytes(D30, layers, images=images, key_bytes=keys,
                                        value_bytes=values, freed=freed)
                       for images in (BATCH, SMALL_BATCH)}
            cache = KeyValueCache(layers, rows=2 * SMALL_BATCH, heads=D30.heads,
                                  head_dim=D30.head_dim, key_dtype=DTYPES[keys],
                                  value_dtype=DTYPES[values], device=torch.device("cpu"),
                                  freed=freed)
            found[f"{name}{' freed' if freed else ''}"] = {
                "batch64_mb": round(formula[BATCH] / MB, 1),
                "allocated_bytes": cache.nbytes, "formula_bytes": formula[SMALL_BATCH]}
    return found


def main() -> None:
    rows = [row(depth) for depth in (30, 16, 8, 4, 2)]
    whole = rows[0]["K32 V16"]["batch64_mb"]
    for found in rows:
        used = found["K32 V16"]["batch64_mb"]
        found["saved"] = round(1 - used / whole, 4)
        found["paper_mb"] = PAPER_MB.get(found["depth"])
        found["paper_saved"] = PAPER_SAVED.get(found["depth"])
        found["saved_by_16_bit_keys"] = round(1 - found["K16 V16"]["batch64_mb"] / used, 4)
    same = all(cell["allocated_bytes"] == cell["formula_bytes"] for found in rows
               for cell in found.values() if isinstance(cell, dict))
    print(write_report("var_memory", {
        "batch": BATCH, "allocated_at_batch": SMALL_BATCH, "bridge": BRIDGE, "mb": MB,
        "allocation_is_the_formula": same, "depths": rows}, seed=0))


if __name__ == "__main__":
    main()
