"""`nas search`: the main job."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import Json, Supernet, Threads


def search(
    context: typer.Context,
    supernet: Supernet = "mobilenet-fmnist",
    device: Annotated[str, typer.Option(help="Whose latency counts; see `nas list devices`.")]
        = "host",
    objectives: Annotated[str, typer.Option(help="Metrics to minimise, with commas.")]
        = "error,latency_ms",
    max_latency_ms: Annotated[float | None, typer.Option(help="Largest latency allowed.")] = None,
    max_params: Annotated[int | None, typer.Option(help="Most parameters allowed.")] = None,
    max_macs: Annotated[int | None, typer.Option(help="Most multiply-adds allowed.")] = None,
    max_memory: Annotated[int | None, typer.Option(
        help="Most bytes of live activations allowed, batch 1.")] = None,
    proxy: Annotated[str, typer.Option(
        help="Zero-cost proxies with commas, whose early exits candidates must pass.")] = "",
    surrogate: Annotated[bool, typer.Option(
        "--surrogate", help="Candidates must also pass a predictor learnt during the search.")]
        = False,
    searcher: Annotated[str, typer.Option(help="See `nas list searchers`.")] = "evolution",
    budget: Annotated[int, typer.Option(help="Full validations.")] = 64,
    executor: Annotated[str, typer.Option(help="How trials run.")] = "serial",
    require_measured: Annotated[bool, typer.Option(
        "--require-measured", help="Refuse a device of which there is only an estimate.")] = False,
    threads: Threads = 1,
    precision: Annotated[str | None, typer.Option(
        help="In which latency counts: fp32, fp16 or int8. The exported file is fp32.")] = None,
    batch: Annotated[int | None, typer.Option(
        help="Images of each inference whose latency counts.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    storage: Annotated[str | None, typer.Option(
        help="Optuna storage URL of the ledger instead of a file in the run folder.")] = None,
    config: Annotated[Path | None, typer.Option(
        help="TOML file of these options; options on the command line win.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to make.")] = None,
    resume: Annotated[Path | None, typer.Option(
        help="Run folder of a stopped search to go on with.")] = None,
    json: Json = False,
) -> None:
    """Search a supernet for the best networks of a device and export the winner as ONNX."""
    del (supernet, device, objectives, max_latency_ms, max_params, max_macs, max_memory, proxy,
         surrogate, searcher, budget, require_measured, executor, threads, precision, batch, seed,
         storage, out)
    # All of these are read from the context: see _given.
    from cli.render import print_json, progress
    from nas.core.errors import InputError
    from nas.pipeline.config import make_config, read_config
    from nas.pipeline.device import keep_freed_memory
    from nas.pipeline.search import resume_search, run_search

    keep_freed_memory()
    given = _given(context)
    if resume is not None and given:
        option = next(iter(given)).replace("_", "-")
        raise InputError(f"--resume takes everything from the run; drop --{option}")
    with progress() as watch:
        if resume is not None:
            result = resume_search(resume, watch=watch)
        else:
            values = read_config(config) if config else {}
            result = run_search(make_config({**values, **given}), watch=watch)
    if json:
        print_json(result.payload)
    else:
        _show(result.payload)


def _given(context: typer.Context) -> dict[str, Any]:
    """Returns the options that the user wrote, so that a config file can give the others."""
    values = {}
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        if name not in ("config", "resume", "json") and source is not None \
                and source.name != "DEFAULT":
            values[name] = value
    for name in {"objectives", "proxy"} & values.keys():
        values[name] = tuple(part.strip() for part in values[name].split(","))
    return values


def _show(payload: Mapping[str, Any]) -> None:
    from cli.render import arch_summary, table
    from nas.pipeline.exit_line import exit_line

    best = payload["best"]
    columns = {"error": "error %", "latency_ms": "latency ms", "params": "params", "macs": "MACs"}
    rows = [[("*" if point["digest"] == best["digest"] else " ") + point["digest"],
             *(point["metrics"][name] for name in columns), arch_summary(point["arch"])]
            for point in payload["pareto"]]
    counts, device = payload["counts"], payload["device"]
    mark = "" if device["kind"] == "measured" else f" ({device['kind']})"
    exits = sum(counts["early_exits"].values())
    table(["network", *columns.values(), "depth×width"], rows,
          title=f"Pareto front of {payload['supernet']} ({payload['space_size']:,} networks) on "
                f"{device['id']}{mark}")
    print(f"{counts['evaluated']} validated, {counts['failed']} failed, {counts['sampled']} drawn, "
          f"{exits} left early; {payload['wall_s']:.0f} s")
    for found in payload["learned_exits"]:
        print(exit_line(found))
    print(f"latency: {device['kind']}, " + device["note"].replace("; ", "\n         "))
    measured = best["measured_latency_ms"]
    latency = (f"{device['kind']} {best['metrics']['latency_ms']:.4f} ms" if measured is None
               else f"measured {measured:.4f} ms")
    print(f"best *: test error {best['test']['error']:.2f} %, {latency}; ONNX equals torch to "
          f"{best['onnx_max_abs_diff']:.1e}")
    print(f"bundle: {payload['run_dir']}/best\nreport: {payload['run_dir']}/report.html")
