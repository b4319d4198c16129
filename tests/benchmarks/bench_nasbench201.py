"""How well do zero-cost proxies, their ensembles and surrogates rank NAS-Bench-201 (CIFAR-10)?

Reads the scores that bench_nasbench201_scores.py left. A network that a proxy cannot score ranks
last. The labels are test accuracies after 200 epochs.

    python tests/benchmarks/bench_nasbench201.py
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from _nasbench201 import BATCH, BATCHES, SEED, TABLE, Scores, published
from _report import write_report
from bench_nasbench201_scores import sample
from scipy.stats import kendalltau, spearmanr

from nas.core.rng import derive_rng
from nas.core.types import FloatArray, IntArray
from predictors.ranking.aggregate import METHODS
from predictors.ranking.bootstrap import Interval
from predictors.ranking.metrics import kendall, regret_at_k, spearman, top_k_recall
from predictors.registry import PROXIES
from predictors.surrogate.auto import AutoSurrogate
from predictors.surrogate.columns import RankColumns
from supernets.nasbench201.space import SPACE
from supernets.nasbench201.table_file import read_table
from supernets.nasbench201.text import codes_of_ops

WIDE, NARROW = "random:1000", "random:300"
CHEAP = ("gradsign", "naswot", "synflow", "grad_norm", "snip", "params", "macs", "jacob_cov")
# Three with the highest published ρ; one of each kind of evidence (signs of gradients, activation
# patterns, paths, the Jacobian); and everything, nothing chosen.
ENSEMBLES = {"gradsign naswot synflow": ("gradsign", "naswot", "synflow"),
             "one of each kind": ("gradsign", "naswot", "synflow", "jacob_cov"),
             "every proxy": tuple(entry.name for entry in PROXIES.builtin)}
THEIRS = {"naswot": "nwot", "jacob_cov": "jacov", "macs": "flops"}  # names in the published table
LABELS = (20, 50, 100)
REPEATS = 20


def shown(found: Interval) -> dict[str, float]:
    """Returns an interval as JSON values."""
    return {"value": found.value, "low": found.low, "high": found.high}


def codes(ops: Sequence[str]) -> IntArray:
    """Returns the codes of architectures (N, 6)."""
    return np.stack([codes_of_ops(one) for one in ops])


def filled(scores: FloatArray) -> FloatArray:
    """Returns the scores with those that are missing below all others."""
    return np.where(np.isnan(scores), np.nanmin(scores) - 1.0, scores)


class Truth:
    """The table's accuracies by architecture."""

    def __init__(self) -> None:
        table = read_table(TABLE)
        self._table = table
        self._values = table.column("cifar10_test_acc_200ep")

    def of(self, ops: Sequence[str]) -> FloatArray:
        """Returns the accuracies (N,) in %."""
        return self._values[self._table.rows(codes(ops))]


def proxy_row(name: str, ops: Sequence[str], truth: FloatArray) -> dict[str, Any]:
    """Returns what one proxy is worth on the architectures that it has scored."""
    kept = Scores(name)
    done = [index for index, one in enumerate(ops) if one not in set(kept.missing(ops))]
    chosen, labels = [ops[index] for index in done], truth[done]
    raw = kept.of(chosen)
    scores = filled(raw)
    rng = derive_rng(SEED, "bootstrap")
    theirs = PROXIES.get(name).info["published_spearman"]
    rho = spearman(scores, labels, rng=rng)
    return {"architectures": len(chosen), "unscored": int(np.isnan(raw).sum()),
            "images": BATCHES.get(name, BATCH), "spearman": shown(rho),
            "kendall": shown(kendall(scores, labels, rng=rng)),
            "top_10_percent_recall": shown(top_k_recall(scores, labels, len(chosen) // 10,
                                                        rng=rng)),
            "regret_at_10": shown(regret_at_k(scores, labels, 10, rng=rng)),
            "published_spearman": theirs,
            "difference": None if theirs is None else rho.value - theirs,
            "cpu_s_each": float(kept.seconds(chosen).mean())}


def against_published(name: str, table: Mapping[str, Mapping[str, float]]) -> dict[str, Any] | None:
    """Returns how our scores rank the architectures whose published scores are at hand."""
    column = THEIRS.get(name, name)
    ops = sorted(table)
    if column not in table[ops[0]]:
        return None
    kept = Scores(name)
    missing = set(kept.missing(ops))
    done = [one for one in ops if one not in missing and not np.isnan(table[one][column])]
    if len(done) < 10:
        return None
    ours, theirs = filled(kept.of(done)), np.array([table[one][column] for one in done])
    accuracy = np.array([table[one]["test_acc_200"] for one in done])
    every = [one for one in ops if not np.isnan(table[one][column])]
    return {"architectures": len(done), "spearman_with_published": spearmanr(ours, theirs)[0],
            "ours_with_accuracy": spearmanr(ours, accuracy)[0],
            "published_with_accuracy": spearmanr(theirs, accuracy)[0],
            "published_with_accuracy_all": spearmanr(
                [table[one][column] for one in every],
                [table[one]["test_acc_200"] for one in every])[0]}


def ensembles(truth: Truth) -> dict[str, Any]:
    """Returns every label-free aggregate of every subset, on all that its proxies have scored."""
    rows: dict[str, Any] = {}
    for title, names in ENSEMBLES.items():
        ops = sample(WIDE if set(names) <= set(CHEAP) else NARROW)
        matrix = np.stack([filled(Scores(name).of(ops)) for name in names], axis=1)
        labels = truth.of(ops)
        rows[title] = {"architectures": len(ops), "proxies": names} | {method: {
            "spearman": shown(spearman(found, labels, rng=derive_rng(SEED, "bootstrap"))),
            "kendall": kendalltau(found, labels)[0]}
            for method, found in ((method, aggregate(matrix))
                                  for method, aggregate in METHODS.items())}
    return rows


def few_labels(features: FloatArray, truth: FloatArray, count: int) -> dict[str, Any]:
    """Returns the rank correlation on the rest after learning from `count` random labels."""
    rhos, taus, inside, chosen = [], [], [], []
    for repeat in range(REPEATS):
        order = derive_rng(SEED, "labels", index=repeat).permutation(len(truth))
        known, rest = order[:count], order[count:]
        surrogate = AutoSurrogate(seed=repeat)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of optimisers that stop at a bound
            surrogate.fit(features[known], truth[known])
        found = surrogate.predict(features[rest])
        rhos.append(spearmanr(found.mean, truth[rest])[0])
        taus.append(kendalltau(found.mean, truth[rest])[0])
        inside.append(np.mean(np.abs(found.mean - truth[rest]) <= 1.645 * found.std))
        chosen.append(surrogate.chosen)
    return {"spearman_median": float(np.median(rhos)),
            "spearman_quartiles": np.quantile(rhos, (0.25, 0.75)).tolist(),
            "spearman_lowest": float(min(rhos)), "kendall_median": float(np.median(taus)),
            "coverage_90": float(np.mean(inside)),
            "chosen": {name: chosen.count(name) for name in sorted(set(chosen))}}


def main() -> None:
    """Writes the report."""
    torch.set_num_threads(1)
    truth = Truth()
    wide, narrow = sample(WIDE), sample(NARROW)
    table = published()
    figures: dict[str, Any] = {"proxies": {}, "against_published_scores": {}}
    for entry in PROXIES.builtin:
        ops = wide if entry.name in CHEAP else narrow
        row = proxy_row(entry.name, ops, truth.of(ops))
        figures["proxies"][entry.name] = row
        print(f"{entry.name}: ρ {row['spearman']['value']:.3f} ({row['spearman']['low']:.3f} … "
              f"{row['spearman']['high']:.3f}), τ {row['kendall']['value']:.3f}, published "
              f"{row['published_spearman']}, {row['architectures']} networks, "
              f"{row['cpu_s_each']:.2f} s", flush=True)
        if (row := against_published(entry.name, table)) is not None:
            figures["against_published_scores"][entry.name] = row
            print(f"   with the published scores of {row['architectures']}: "
                  f"{row['spearman_with_published']:.3f}", flush=True)
    labels = truth.of(wide)
    scores = {name: filled(Scores(name).of(wide)) for name in CHEAP}
    figures["ensembles"] = ensembles(truth)
    for title, rows in figures["ensembles"].items():
        print(title, {method: round(rows[method]["spearman"]["value"], 3) for method in METHODS},
              flush=True)
    space = SPACE.features(codes(wide))
    matrix = np.stack([scores[name] for name in CHEAP], axis=1)
    both = np.concatenate([space, RankColumns.of(matrix)(matrix)], axis=1)
    figures["few_labels"] = {}
    for title, features in (("encoding", space), ("encoding and proxies", both)):
        for count in LABELS:
            row = few_labels(features, labels, count)
            figures["few_labels"].setdefault(title, {})[str(count)] = row
            print(title, count, {key: row[key] for key in ("spearman_median", "spearman_quartiles",
                                                           "coverage_90", "chosen")}, flush=True)
    print(write_report("nasbench201", figures, seed=SEED))


if __name__ == "__main__":
    main()
