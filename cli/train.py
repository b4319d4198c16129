"""`nas train`: a folder of images → a supernet."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json


def train(
    data: Annotated[Path, typer.Option(
        help="Folder of idx files: train-images-idx3-ubyte(.gz) and its three companions.")],
    out: Annotated[Path, typer.Option(
        help="Supernet folder to make; a stopped training there goes on.")],
    supernet: Annotated[str, typer.Option(help="Family member to train.")] = "mobilenet-fmnist",
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 32,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="Peak.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    checkpoint_s: Annotated[float, typer.Option(
        help="Seconds between checkpoints: what a kill may cost.")] = 120.0,
    json: Json = False,
) -> None:
    """Train every network of a supernet at once: sandwich rule, in-place distillation."""
    from cli.render import print_json, progress
    from nas.pipeline.train import make_request
    from nas.pipeline.train import train as run

    request = make_request({
        "supernet": supernet, "data": data, "out": out, "epochs": epochs,
        "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed,
        "checkpoint_s": checkpoint_s})
    with progress() as watch:
        folder = run(request, watch=watch)
    if json:
        print_json({"supernet": str(folder)})
    else:
        print(f"trained: {folder}\nsearch it: nas search --supernet {folder}")
