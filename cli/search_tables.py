"""What `nas search` prints of its result."""

from collections.abc import Mapping
from typing import Any

from cli.render import arch_summary, table
from nas.core.protocols import Quality
from nas.pipeline.exit_line import cascade_line, exit_line


def show_search(payload: Mapping[str, Any]) -> None:
    """Prints the front, what was counted, and the exported network."""
    best, quality = payload["best"], Quality(**payload["quality"])
    columns = {"error": f"{quality.name} {quality.unit}".rstrip(), "latency_ms": "latency ms",
               "params": "params", "macs": "MACs"}
    columns |= {name: shown for name, shown in (("rtf", "rtf"), ("kv_bytes", "KV bytes"))
                if name in best["metrics"]}
    rows = [[("*" if point["digest"] == best["digest"] else " ") + point["digest"],
             *(point["metrics"][name] for name in columns), arch_summary(point["arch"])]
            for point in payload["pareto"]]
    counts, device = payload["counts"], payload["device"]
    mark = "" if device["kind"] == "measured" else f" ({device['kind']})"
    exits = sum(counts["early_exits"].values())
    table(["network", *columns.values(), "depth×width"], rows,
          title=f"Pareto front of {payload['supernet']} ({payload['space_size']:,} networks) on "
                f"{device['id']}{mark}")
    part = f"{counts['partial']} in part, " if counts["partial"] else ""
    print(f"{counts['evaluated']} validated, {part}{counts['failed']} failed, "
          f"{counts['sampled']} drawn, {exits} left early; {payload['wall_s']:.0f} s")
    if payload["stopped"]:
        print(f"stopped early: {payload['stopped']}")
    for found in payload["learned_exits"]:
        print(exit_line(found))
    if payload["cascade"]:
        print(cascade_line(payload["cascade"], quality.inputs))
    if quality.error:
        print(f"{quality.name}: {quality.error}")
    print(f"latency: {device['kind']}, " + device["note"].replace("; ", "\n         "))
    measured = best["measured_latency_ms"]
    latency = (f"{device['kind']} {best['metrics']['latency_ms']:.4f} ms" if measured is None
               else f"measured {measured:.4f} ms")
    print(f"best *: test {quality.name} {quality.shown(best['test']['error'])}, {latency}; ONNX "
          f"equals torch to {best['onnx_max_abs_diff']:.1e}")
    print(f"bundle: {payload['run_dir']}/best\nreport: {payload['run_dir']}/report.html")


def show_comparison(payload: Mapping[str, Any]) -> None:
    """Prints a row for each searcher."""
    rows = []
    for row in payload["searchers"]:
        cells: list[object] = [row["searcher"]]
        for at in row["at"]:
            spread = at["ci95"] or at["quartiles"]
            cells.append(f"{at['median']:.3f} ({spread[0]:.3f} … {spread[1]:.3f})")
        rows.append([*cells, row["reaches_lowest"], row["wins"]])
    seeds, device = len(payload["seeds"]), payload["device"]
    at = [f"after {at['validations']}" for at in payload["searchers"][0]["at"]]
    table(["searcher", *at, "catches up at", "wins"], rows,
          title=f"Hypervolume on {payload['supernet']}, {device['id']}, {seeds} seed(s): median "
                f"({'95 % interval' if seeds >= 3 else 'quartiles'})")
    counts = payload["counts"]
    print(f"{counts['asked']} asked for, {counts['validated']} validated once each, "
          f"{counts['failed']} failed; {payload['wall_s']:.0f} s")
    print("catches up: validations after which the median is where the lowest one ends; wins: "
          "seeds in which none ends higher")
    print(f"result: {payload['run_dir']}/compare.json, picture: {payload['run_dir']}/compare.png")
