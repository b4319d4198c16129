"""Estimates of boards from published measurements: fits, checks and writes what is shipped.

Writes ``hardware_profiles/devices/BOARD.json``, the table in ``docs/devices.md``, and the report.
Needs the published tables in ``../shared/data/latency``. Takes about ten minutes.

    python tests/benchmarks/bench_jetson.py
"""

import csv
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from _jetson import BOARDS, DATA, FORMS, Board, read_rows
from _report import write_report

from hardware_profiles.calibrate import quality
from hardware_profiles.estimate import DeviceEstimate, EstimateRow, Source, Term
from hardware_profiles.estimate_fit import (
    FitRow,
    Form,
    bounds,
    choose_form,
    fit_rows,
    fit_tasks,
    one_factor_left_out,
    predict_left_out,
    predict_nested,
    term_matrix,
)
from hardware_profiles.estimated import estimated_profile
from hardware_profiles.profile import Device, Quality, Runtime
from hardware_profiles.table import LatencyTable
from nas.core.types import FloatArray
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import build_space
from supernets.mobilenet.presets import FMNIST

ROOT = Path(__file__).parents[2]
DEVICES, PAGE = ROOT / "hardware_profiles" / "devices", ROOT / "docs" / "devices.md"
COUNT = 1_000_000
TARGETS = {"spearman": 0.95, "mape": 0.12, "coverage": 0.90}
MARKS = ("<!-- from docs/benchmarks/jetson.json: begin -->\n", "<!-- end -->")


def coverage_elsewhere(ratios: FloatArray, families: list[str]) -> float:
    """Returns the share of ratios within the upper bound that the other families give."""
    groups = np.array(families)
    return float(np.mean([ratio <= bounds(ratios[groups != family])[1]
                          for ratio, family in zip(ratios, families, strict=True)]))


def coverage_unseen(by_model: FloatArray, by_family: FloatArray) -> float:
    """Returns the share of ratios (N,) by model within a bound that all other networks set."""
    inside = [by_model[row] <= max(bounds(np.delete(ratios, row))[1]
                                   for ratios in (by_model, by_family))
              for row in range(len(by_model))]
    return float(np.mean(inside))


def estimate(name: str, board: Board, read: tuple[tuple[EstimateRow, ...], dict[str, Source]],
             form: Form, coefficients: FloatArray, by_model: FloatArray,
             by_family: FloatArray) -> DeviceEstimate:
    """Returns the file of one board.

    Args:
        name: Its id.
        board: What is known of it.
        read: Its rows and sources.
        form: Chosen on all rows.
        coefficients: Of the form's terms.
        by_model: Held-out predictions of its rows of use ``fit``, one model left out.
        by_family: One family left out.
    """
    rows, sources = read
    scored = [row for row in rows if row.use == "fit"]
    ms = np.array([row.latency_ms for row in scored])
    macs = np.array([sum(value for key, value in row.features.items() if key.startswith("macs:"))
                     for row in scored])
    families = [row.family for row in scored]
    x_NF = term_matrix([row for row in fit_rows(name, rows) if row.scored], form)
    both = [bounds(ms / by_model), bounds(ms / by_family)]
    lower, upper = min(low for low, _ in both), max(high for _, high in both)
    software = sources[board.source].software
    return DeviceEstimate(
        id=name, name=board.name, aliases=board.aliases, shrinkage=form.shrinkage,
        device=Device(id=name, name=board.name, cpu=board.cpu, cores=board.cores, soc=board.soc,
                      memory_bytes=None, os=software or "software not stated"),
        runtime=Runtime(name="tensorrt", version=software or "not stated",
                        provider="TensorrtExecutionProvider", precision="fp16"),
        terms={term: Term(features=tuple(features), ms=coefficients[column],
                          fitted=(x_NF[:, column].min(), x_NF[:, column].max()))
               for column, (term, features) in enumerate(form.terms.items())},
        rows=rows, sources=sources, macs=(macs.min(), macs.max()),
        input_px=(min(row.input_px for row in scored), max(row.input_px for row in scored)),
        held_out=quality(by_model, ms), held_out_family=quality(by_family, ms),
        macs_only=one_factor_left_out(macs, ms), lower_ratio=lower, upper_ratio=upper,
        coverage=float((ms / by_model <= upper).mean()),
        coverage_family=coverage_elsewhere(ms / by_family, families),
        licence="CC0-1.0")


def figures(one: DeviceEstimate, by_model: FloatArray, by_family: FloatArray) -> dict[str, Any]:
    """Returns what the report says of a board."""
    scored = [row for row in one.rows if row.use == "fit"]
    ms = [row.latency_ms for row in scored]
    return {
        "rows": len(scored), "shared_rows": sum(row.use == "shared" for row in one.rows),
        "runtime": one.sources[scored[0].source].runtime, "software": one.runtime.version,
        "leave_one_model_out": one.held_out.model_dump(),
        "leave_one_family_out": one.held_out_family.model_dump(),
        "macs_only": one.macs_only.model_dump(),
        "lower_ratio": one.lower_ratio, "upper_ratio": one.upper_ratio,
        "coverage": one.coverage, "coverage_family": one.coverage_family,
        "coverage_unseen_model": coverage_unseen(np.array(ms) / by_model,
                                                 np.array(ms) / by_family),
        "meets_targets": bool(one.held_out.spearman >= TARGETS["spearman"]
                              and one.held_out.mape <= TARGETS["mape"]
                              and one.coverage >= TARGETS["coverage"]),
        "networks": [{"model": row.model, "measured_ms": row.latency_ms,
                      "model_left_out_ms": float(a), "family_left_out_ms": float(b)}
                     for row, a, b in zip(scored, by_model, by_family, strict=True)],
        "aside": [{"model": row.model, "measured_ms": row.latency_ms,
                   "predicted_ms": sum(one.coefficients.get(key, 0.0) * value
                                       for key, value in row.features.items())}
                  for row in one.rows if row.use == "aside"],
    }


def tried(rows: list[FitRow]) -> dict[str, Any]:
    """Returns by form and board the MAPE with a model and with a family left out, not nested."""
    scored = [row for row in rows if row.scored]
    ms, boards = np.array([row.latency_ms for row in scored]), [
        row.task.partition("/")[0] for row in scored]
    found: dict[str, Any] = {}
    for form in FORMS:
        both = [predict_left_out(rows, form, groups) for groups in (
            [row.model for row in rows], [row.family for row in rows])]
        found[form.name] = {
            name: [quality(predicted[mask], ms[mask]).mape for predicted in both]
            for name in BOARDS for mask in [np.array([one == name for one in boards])]}
    return found


def table(boards: dict[str, Any]) -> str:
    """Returns the table of the documentation."""
    lines = ["| device | software | networks | Spearman | MAPE | within 10 % | family left out: "
             "Spearman | MAPE | MACs alone: Spearman | MAPE | interval | covers | covers an unseen "
             "model | covers an unseen family |",
             "|---" * 14 + "|"]
    for name, board in boards.items():
        model, family, macs = (Quality(**board[key]) for key in (
            "leave_one_model_out", "leave_one_family_out", "macs_only"))
        lines.append(
            f"| {name} | {board['software']} | {board['rows']} | {model.spearman:.3f} | "
            f"{model.mape:.1%} | {model.in10:.0%} | {family.spearman:.3f} | {family.mape:.1%} | "
            f"{macs.spearman:.2f} | {macs.mape:.0%} | ×{board['lower_ratio']:.2f}–"
            f"{board['upper_ratio']:.2f} | {board['coverage']:.0%} | "
            f"{board['coverage_unseen_model']:.0%} | {board['coverage_family']:.0%} |")
    return "\n".join(lines) + "\n"


def given_fit() -> dict[str, float]:
    """Returns the leave-one-model-out MAPE of the fit that the project was given, by its name."""
    with (DATA / "jetson_trt_fp16_analytic_fit.csv").open(newline="") as file:
        return {line["board"]: float(line["LOO_MAPE"]) for line in csv.DictReader(file)}


def look_up(one: DeviceEstimate) -> dict[str, float]:
    """Returns how quickly an estimate scores architectures of the shipped space."""
    space = build_space(FMNIST)
    vocabulary = build_vocabulary(FMNIST, space)
    profile = estimated_profile(one, space, vocabulary.blocks, vocabulary.block_ids)
    model = LatencyTable(profile, vocabulary.blocks, vocabulary.block_ids)
    codes = space.sample_codes(COUNT, np.random.default_rng(0))
    model.predict("latency_ms", codes[:1])
    seconds = []
    for _ in range(5):
        start = time.process_time()
        model.predict("latency_ms", codes)
        seconds.append(time.process_time() - start)
    return {"codes": COUNT, "cpu_s": statistics.median(seconds),
            "codes_per_cpu_s": COUNT / statistics.median(seconds)}


def main() -> None:
    """Fits, prints, and writes devices, page and report."""
    read = {name: read_rows(board) for name, board in BOARDS.items()}
    rows = [row for name, (own, _) in read.items() for row in fit_rows(name, own)]
    form = choose_form(rows, FORMS)
    coefficients = fit_tasks(rows, form)
    by_model, by_family = (predict_nested(rows, FORMS, by) for by in ("model", "family"))
    boards = {}
    for name, board in BOARDS.items():
        own = np.array([row.task.startswith(f"{name}/") for row in rows if row.scored])
        one = estimate(name, board, read[name], form, coefficients[f"{name}/{board.source}"],
                       by_model[own], by_family[own])
        (DEVICES / f"{name}.json").write_text(one.model_dump_json(indent=1) + "\n")
        boards[name] = figures(one, by_model[own], by_family[own])
    print(table(boards))
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    PAGE.write_text(before + MARKS[0] + table(boards) + MARKS[1] + rest.partition(MARKS[1])[2])
    print(write_report("jetson", {
        "boards": boards, "form": form.name, "targets": TARGETS, "given_fit_mape": given_fit(),
        "forms_mape_not_nested": tried(rows), "look_up": look_up(one),
    }, seed=0))


if __name__ == "__main__":
    main()
