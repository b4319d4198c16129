"""`nas prune`: a network and a budget → a plain, smaller network."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import Json, Threads

if TYPE_CHECKING:
    from nas.pipeline.prune.request import PruneRequest

BUDGET = "a number, or a percentage of the unpruned network's such as 60%."


def prune(
    context: typer.Context,
    model: Annotated[str, typer.Option(metavar="timm:NAME", help="The network to prune.")],
    data: Annotated[Path, typer.Option(
        help="Folder of the images: a folder for each class, or idx files.")],
    out: Annotated[Path | None, typer.Option(
        help="Folder of the work; runs/prune-NAME if absent. The same command goes on there.")]
        = None,
    macs: Annotated[str | None, typer.Option(
        metavar="60%|NUMBER", help=f"Most multiply-adds: {BUDGET}")] = None,
    params: Annotated[str | None, typer.Option(
        metavar="50%|NUMBER", help=f"Most parameters: {BUDGET}")] = None,
    max_latency_ms: Annotated[str | None, typer.Option(
        metavar="4|60%", help=f"Largest latency in ms: {BUDGET}")] = None,
    device: Annotated[str, typer.Option(
        help="Whose latency counts; host is this machine.")] = "host",
    threads: Threads = 1,
    method: Annotated[str, typer.Option(
        help="tas, uniform, random, precrop, layer-tickets, magnitude, netadapt, n2n, or "
             "module:attribute.")]
        = "tas",
    compare: Annotated[str | None, typer.Option(
        metavar="all|NAMES", help="Methods to compare, with commas: each with and without what "
                                  "the unpruned network teaches.")] = None,
    keep_depth: Annotated[bool, typer.Option("--keep-depth", help="All blocks stay.")] = False,
    keep_width: Annotated[bool, typer.Option("--keep-width", help="All widths stay.")] = False,
    exclude: Annotated[list[str] | None, typer.Option(
        metavar="PATTERN", help="Path of layers that stay as they are, such as layer1.*; may be "
                                "given several times.")] = None,
    multiple: Annotated[int | None, typer.Option(
        help="What widths are multiples of: 8, of CIFAR ResNets 1.")] = None,
    epochs: Annotated[int, typer.Option(
        help="Passes over the training images, of each training.")] = 30,
    search_epochs: Annotated[int | None, typer.Option(
        help="Passes of a search that trains; as many as --epochs if absent.")] = None,
    weights: Annotated[Path | None, typer.Option(
        help="File of the unpruned network's weights; it is trained here if absent.")] = None,
    pretrained: Annotated[bool, typer.Option(
        "--pretrained", help="Start with timm's weights; for other classes they are trained on.")]
        = False,
    fresh: Annotated[bool, typer.Option(
        "--fresh/--inherit", help="Train the pruned network from new weights, or from those it "
                                  "inherits.")] = False,
    no_kd: Annotated[bool, typer.Option(
        "--no-kd", help="Learn from labels alone, not from the unpruned network.")] = False,
    batch_size: Annotated[int, typer.Option(help="Images of a step.")] = 64,
    optimizer: Annotated[str, typer.Option(help="sgd or adamw.")] = "adamw",
    learning_rate: Annotated[float | None, typer.Option(
        help="Peak: by default 0.002 for adamw and 0.1 for sgd, a tenth for weights that are "
             "inherited.")] = None,
    dataset: Annotated[str | None, typer.Option(
        help="timm's name of the data set: torch/cifar10, hfds/NAME, wds/.")] = None,
    download: Annotated[bool, typer.Option(
        "--download", help="Fetch the data set if it is not in --data.")] = False,
    image_size: Annotated[int | None, typer.Option(
        help="Side of the images in pixels; the model's own if absent.")] = None,
    hflip: Annotated[float, typer.Option(
        help="Share of images that are mirrored; 0 for digits and text.")] = 0.5,
    crop_scale: Annotated[str, typer.Option(
        metavar="LOW,HIGH", help="Shares of an image's area that random crops have.")] = "0.35,1",
    workers: Annotated[int | None, typer.Option(
        help="Processes that read images; by default none on a CPU.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    json: Json = False,
) -> None:
    """Prune a network's widths and depth to a budget: a plain network, trained and exported."""
    del (model, data, macs, params, max_latency_ms, device, threads, method, keep_depth,
         keep_width, multiple, epochs, search_epochs, weights, pretrained, fresh, batch_size,
         optimizer, learning_rate, dataset, download, image_size, hflip, crop_scale, workers, seed)
    # All of these are read from the context.
    from nas.pipeline.prune.request import make_prune_request

    values = {name: value for name, value in context.params.items()
              if name not in ("json", "no_kd")}
    name = str(values["model"]).removeprefix("timm:").replace("/", "-")
    request = make_prune_request({**values, "kd": not no_kd, "exclude": exclude or (),
                                  "compare": compare or (),
                                  "out": out or Path("runs") / f"prune-{name}"})
    _run(request, json=json)


def _run(request: "PruneRequest", *, json: bool) -> None:
    from cli.render import print_json, progress
    from nas.pipeline.device import keep_freed_memory
    from nas.pipeline.prune.compare import compare_methods
    from nas.pipeline.prune.run import BudgetMissed
    from nas.pipeline.prune.run import prune as run

    keep_freed_memory()
    missed: BudgetMissed | None = None
    with progress() as watch:
        try:
            result: Any = (compare_methods if request.compare else run)(request, watch=watch)
        except BudgetMissed as error:  # the result is shown, too
            missed, result = error, error.result
    if json:
        print_json(result.payload)
    elif request.compare:
        _show_comparison(result.payload)
    else:
        _show(result.payload)
    if missed is not None:
        raise missed


def _show_comparison(payload: Mapping[str, Any]) -> None:
    from cli.render import table
    from nas.pipeline.prune.latency import aligned_line, latency_line

    unpruned = payload["unpruned"]
    rows: list[list[object]] = [["unpruned", unpruned["macs"], unpruned["params"],
                                 unpruned["latency_ms"], None, unpruned["accuracy"]]]
    reached = [found for found in payload["methods"] if "error" not in found]
    for found in reached:
        after, accuracy = found["after"], found["accuracy"]
        name = f"{found['method']}, slower" if found["slower"] else found["method"]
        rows.append([name, after["macs"], after["params"], after["latency_ms"],
                     accuracy["kd"], accuracy["no_kd"]])
    table(["method", "MACs", "params", "latency in ms", "accuracy in %", "without KD"], rows,
          title=f"{payload['model']}, {payload['budget']['metric']} {payload['budget']['asked']}, "
                f"{payload['epochs']} epochs each")
    for found in payload["methods"]:
        if "error" in found:
            print(f"{found['method']}: {found['error']}")
    for found in reached:
        if found["latency"] is not None:
            print(f"{found['method']}: {latency_line(found['latency'])}")
        if found["aligned"] is not None:
            print(f"{found['method']}: {aligned_line(found['aligned'])}")


def _show(payload: Mapping[str, Any]) -> None:
    from cli.render import table
    from nas.pipeline.prune.latency import aligned_line, latency_line

    before, after, accuracy = payload["before"], payload["after"], payload["accuracy"]
    table(["", "unpruned", "pruned", "share"], [
        ["MACs", before["macs"], after["macs"], f"{after['macs'] / before['macs']:.1%}"],
        ["params", before["params"], after["params"],
         f"{after['params'] / before['params']:.1%}"],
        [f"latency in ms, {payload['latency_kind']}", before["latency_ms"], after["latency_ms"],
         f"{after['latency_ms'] / before['latency_ms']:.1%}"],
        ["test accuracy in %", accuracy["before"], accuracy["after"],
         f"{accuracy['after'] - accuracy['before']:+.2f}"]],
        title=f"{payload['model']}, {payload['method']}")
    if payload["latency"] is not None:
        print(latency_line(payload["latency"]))
    if payload["aligned"] is not None:
        print(aligned_line(payload["aligned"]))
    print(f"bundle: {payload['bundle']}")
