"""`nas rank`: how well do zero-cost proxies rank networks?"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import Json, Supernet


def rank(
    supernet: Supernet = "mobilenet-fmnist",
    model: Annotated[list[str] | None, typer.Option(
        metavar="timm:NAME", help="Rank plain models instead; may be repeated.")] = None,
    proxy: Annotated[str, typer.Option(help="Names with commas; see `nas list proxies`.")]
        = "gradsign,naswot,synflow",
    n: Annotated[int, typer.Option(help="Networks drawn from the supernet.")] = 200,
    against: Annotated[str | None, typer.Option(
        help="What the order is compared with: validation, or a file of labels by digest or "
             "model.")] = None,
    weights: Annotated[str, typer.Option(
        help="In which networks are scored: fresh, as the proxies were published, or inherited.")]
        = "fresh",
    batch: Annotated[int, typer.Option(help="Training inputs of each score.")] = 32,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    out: Annotated[Path, typer.Option(
        help="Folder of scores and picture; a stopped ranking there goes on.")] = Path("rank"),
    json: Json = False,
) -> None:
    """Score networks without training them, and say how well the scores rank."""
    from cli.render import print_json, progress
    from nas.pipeline.config import validated
    from nas.pipeline.device import keep_freed_memory
    from nas.pipeline.rank import RankRequest
    from nas.pipeline.rank import rank as run

    keep_freed_memory()
    request = validated(RankRequest, {
        "supernet": supernet, "models": tuple(model or ()), "n": n, "against": against,
        "proxies": tuple(name.strip() for name in proxy.split(",") if name.strip()),
        "weights": weights, "batch": batch, "seed": seed, "out": out})
    with progress() as watch:
        found = run(request, watch=watch)
    if json:
        print_json(found.payload)
    else:
        _show(dict(found.payload))


def _show(payload: dict[str, Any]) -> None:
    from cli.render import arch_summary, table

    rows = []
    for row in payload["proxies"]:
        interval = "{:.2f} … {:.2f}".format(*row["ci95"]) if row["ci95"] else None
        rows.append([row["name"], row["spearman"], interval, row["kendall"],
                     row["seconds_per_arch"], row["unscored"]])
    truth = f"against {payload['against']}" if payload["against"] else "nothing to compare with"
    table(["proxy", "Spearman", "95 %", "Kendall", "s each", "unscored"], rows,
          title=f"{payload['networks']} networks, {truth}")
    for row in payload["proxies"]:
        if row["first_failure"]:
            print(f"{row['name']}: {row['first_failure']}")
    best = [[point["network"], point["mean_rank"], arch_summary(point["arch"])]
            for point in payload["best"]]
    if best:
        table(["network", "mean rank", "depth×width"], best,
              title="best by mean rank over the proxies (1 is best in all), no labels used")
    print(f"scores: {payload['out']}" + (f", picture: {payload['picture']}"
                                         if payload["picture"] else ""))
