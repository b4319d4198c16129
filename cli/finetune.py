"""`nas finetune`: the winner of a run, trained on."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json


def finetune(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a finished search.")],
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")],
    optimizer: Annotated[str, typer.Option(help="sgd or adamw.")] = "sgd",
    learning_rate: Annotated[float | None, typer.Option(
        help="Peak; 0.005 for sgd, 0.0002 for adamw if absent.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 128,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    data: Annotated[Path | None, typer.Option(
        help="Folder of training images, idx files or a folder for each class; the supernet's "
             "own if absent.")] = None,
    dataset: Annotated[str | None, typer.Option(
        help="timm's name of what is in --data, for timm supernets: torch/cifar10, hfds/NAME, "
             "wds/.")] = None,
    workers: Annotated[int | None, typer.Option(
        help="Processes that read images, for timm supernets; by default none on a CPU.")] = None,
    json: Json = False,
) -> None:
    """Train a run's exported network on, taught by the largest one, and export it anew.

    The same command goes on after a stop. The network before stays in RUN_DIR/best-before.
    """
    from cli.render import print_json, progress
    from nas.pipeline.finetune import finetune as run
    from nas.pipeline.finetune import make_finetune_request

    request = make_finetune_request({
        "run_dir": run_dir, "epochs": epochs, "optimizer": optimizer,
        "learning_rate": learning_rate, "batch_size": batch_size, "seed": seed, "data": data,
        "dataset": dataset, "workers": workers})
    with progress() as watch:
        found = run(request, watch=watch)
    entry = found.entry
    if json:
        print_json({"bundle": str(found.folder), "bundle_before": str(found.before),
                    **entry.model_dump()})
        return
    print(f"bundle: {found.folder} (before: {found.before})")
    print(f"trained on {entry.images}")
    for name in entry.after:
        print(f"{name}: {entry.before[name]:.2f} before, {entry.after[name]:.2f} after")
    if entry.after["test_error"] > entry.before["test_error"]:
        print("fine-tuning has not helped: more images or a lower --learning-rate may")
