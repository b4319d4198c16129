"""Trains the shipped `var-fmnist` on Fashion-MNIST's 60,000 images, stage by stage; resumable.

Stages, in this order: `classifier` (the feature net), `vae` (the multi-scale VQVAE), `tokens` (all
images as token maps), `var` (the transformer and its depth subnets), `folder` (what is shipped),
`report` (losses). Checkpoints and logs are kept in the work folder: a stage that was stopped goes
on there. `nas train --supernet var-fmnist` does the same but for a phase of the whole net alone,
which VARiant's start with a trained net stands for here.

    python tests/benchmarks/train_var_fmnist.py vae --work DIR --threads 2
"""

import argparse
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from _report import write_report

from nas.core.rng import derive_rng
from nas.pipeline.device import keep_freed_memory
from supernets.tasks.idx import class_names, read_split
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.tasks.visual_generation import TokenMaps
from supernets.training.data import TrainingData
from supernets.training.trainer import Progress, TrainConfig
from supernets.var.checkpoints import load_vae, load_var, save_vae, save_var
from supernets.var.classifier import ClassifierConfig, FeatureClassifier
from supernets.var.classifier_training import default_recipe, train_classifier
from supernets.var.depth_schedule import DepthSchedule, Phase, progressive
from supernets.var.evaluate import real_images
from supernets.var.presets import FMNIST, VAE_FMNIST
from supernets.var.stored import save_supernet
from supernets.var.supernet import VarSupernet
from supernets.var.training import TokenBatches, token_maps, train_depths
from supernets.var.vae import MultiScaleVqvae
from supernets.var.vae_training import VaeLoss, train_vae

SEED = 0
VAE_RECIPE = TrainConfig(epochs=3, learning_rate=2e-3, warmup_epochs=0.03, optimizer="adamw",
                         beta2=0.95, weight_decay=0.01, clip_norm=2.0, ema_decay=0.998, seed=SEED)
VAE_BATCH = 32

# Four layers alone first, which is cheap; then the whole net, as VARiant starts with a trained one;
# then VARiant's three phases, shortened.
PHASES = (Phase(epochs=2, start=1.0, end=1.0, depths=(4,), bridges=(1,)),
          Phase(epochs=1, start=0.0, end=0.0),
          *progressive(joint=0.75, transition=1.0, subnets=0.25))
VAR_RECIPE = TrainConfig(epochs=5, learning_rate=1.2e-3, warmup_epochs=0.1, optimizer="adamw",
                         beta2=0.95, weight_decay=0.05, clip_norm=2.0, ema_decay=0.999,
                         label_smoothing=0.0, seed=SEED)
VAR_BATCH = 32
DRAW = "space"
CLASSIFIER = ClassifierConfig.of(FMNIST, VAE_FMNIST)
SPLIT_IMAGES = {"search": 400, "test": 1000}  # of the test images; token maps of these are shipped


def image_task(folder: Path, prefix: str) -> ImageClassification:
    """Returns a task whose inputs are images in −1 … 1."""
    images, labels = read_split(folder, prefix)
    return ImageClassification(labels=class_names(folder, read_split(folder, "train")[1]),
                               input_shape=(1, 28, 28), mean=0.5, std=0.5, batch_size=500,
                               splits={"search": LabelledImages(images, labels)})


def log_to(file: Path, every: int = 50) -> Callable[[Progress], None]:
    """Returns what writes the loss of every so many steps, the mean over them."""
    started, losses = time.monotonic(), []

    def step(progress: Progress) -> None:
        losses.append(progress.loss)
        if progress.step % every == 0 or progress.step == progress.total_steps:
            line = {"step": progress.step, "of": progress.total_steps,
                    "loss": round(sum(losses) / len(losses), 4),
                    "s": round(time.monotonic() - started, 1)}
            losses.clear()
            with file.open("a") as log:
                log.write(json.dumps(line) + "\n")

    return step


def run_vae(images: Path, work: Path) -> None:
    """Trains the VQVAE: ``vae.pt``."""
    task = image_task(images, "train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        vae = MultiScaleVqvae(VAE_FMNIST).to(memory_format=torch.channels_last)
    data = TrainingData(task=task, data=task.splits["search"], batch_size=VAE_BATCH, seed=SEED,
                        augmentation=None)
    train_vae(vae, data, config=VAE_RECIPE, checkpoint=work / "vae_training.pt", loss=VaeLoss(),
              on_step=log_to(work / "vae.log"))
    save_vae(vae, work / "vae.pt")


def run_tokens(images: Path, work: Path) -> None:
    """Makes the token maps of all images: ``tokens.npz``."""
    vae = load_vae(work / "vae.pt", VAE_FMNIST).eval()
    arrays = {}
    for prefix in ("train", "t10k"):
        maps = token_maps(vae, image_task(images, prefix).batches("search"))
        arrays |= {f"{prefix}_tokens": maps.tokens_NL, f"{prefix}_labels": maps.labels_N}
    np.savez_compressed(work / "tokens.npz", **arrays)


def read_maps(work: Path, prefix: str) -> TokenMaps:
    """Returns the token maps of ``train`` or ``t10k``."""
    with np.load(work / "tokens.npz") as arrays:
        return TokenMaps(arrays[f"{prefix}_tokens"],
                         arrays[f"{prefix}_labels"].astype(np.uint16))


def run_var(images: Path, work: Path) -> None:
    """Trains the transformer: ``var.pt``, and one file after each epoch."""
    del images
    net = VarSupernet(FMNIST, generator=torch.Generator().manual_seed(SEED))
    data = TokenBatches(vae=load_vae(work / "vae.pt", VAE_FMNIST).eval(),
                        maps=read_maps(work, "train"), batch_size=VAR_BATCH, seed=SEED)
    for block in net.blocks:
        block.compile(dynamic=True)
    schedule = DepthSchedule(config=FMNIST, phases=PHASES, draw=DRAW,
                             steps_per_epoch=data.steps_per_epoch)
    train_depths(net, data, schedule, config=VAR_RECIPE, checkpoint=work / "var_training.pt",
                 on_step=log_to(work / "var.log"),
                 on_epoch=lambda epoch: save_var(net, work / f"var_epoch{epoch}.pt"))
    save_var(net, work / "var.pt")


def run_classifier(images: Path, work: Path) -> None:
    """Trains the feature net: ``classifier.pt``."""
    net = train_classifier(CLASSIFIER, image_task(images, "train").splits["search"],
                           recipe=default_recipe(seed=SEED))
    torch.save(net.state_dict(), work / "classifier.pt")


def read_classifier(work: Path) -> FeatureClassifier:
    """Returns the feature net."""
    net = FeatureClassifier(CLASSIFIER)
    net.load_state_dict(torch.load(work / "classifier.pt", weights_only=True))
    return net.eval()


def run_folder(images: Path, work: Path, *, weights: str = "var.pt") -> None:
    """Writes the supernet's folder: ``var_fmnist``."""
    out = work / "var_fmnist"
    out.mkdir()
    task = image_task(images, "t10k")
    held_out, known = read_maps(work, "t10k"), read_maps(work, "train")
    order = derive_rng(SEED, "splits").permutation(len(held_out))
    ends = np.cumsum([0, *SPLIT_IMAGES.values()])
    splits = {split: TokenMaps(held_out.tokens_NL[order[a:b]], held_out.labels_N[order[a:b]])
              for split, a, b in zip(SPLIT_IMAGES, ends[:-1], ends[1:], strict=True)}
    splits["train_calib"] = TokenMaps(known.tokens_NL[:64], known.labels_N[:64])
    classifier = read_classifier(work)
    real = real_images(classifier, torch.cat([x for x, _ in task.batches("search")]))
    save_supernet(out, load_var(work / weights, FMNIST), load_vae(work / "vae.pt", VAE_FMNIST),
                  classifier, splits, real.statistics, provenance={
        "trained_by": "tests/benchmarks/train_var_fmnist.py", "labels": list(task.labels),
        "images": "Fashion-MNIST (Zalando, MIT licence): 60,000 to learn from; token maps and "
                  "features of test images to validate on",
        "recipes": {"vae": repr(VAE_RECIPE), "var": repr(VAR_RECIPE),
                    "classifier": repr(default_recipe(seed=SEED))},
        "batches": {"vae": VAE_BATCH, "var": VAR_BATCH}, "phases": list(map(repr, PHASES)),
        "draw": DRAW, "versions": {name: version(name) for name in ("nas-service", "torch")}})


def run_report(images: Path, work: Path) -> None:
    """Writes docs/benchmarks/var_training.json: losses and minutes of both trainings."""
    del images
    figures = {"phases": list(map(repr, PHASES)), "draw": DRAW}
    for name in ("vae", "var"):
        rows = list(map(json.loads, (work / f"{name}.log").read_text().splitlines()))
        # A stopped training's clock starts again.
        seconds = sum(a["s"] for a, b in zip(rows, [*rows[1:], {"s": 0}], strict=True)
                      if b["s"] < a["s"])
        last = {row["step"]: row["loss"] for row in rows}
        figures[name] = {"minutes": round(seconds / 60, 1), "steps": rows[-1]["of"],
                         "loss_at_step": last}  # means of the 50 steps before
    print(write_report("var_training", figures, seed=SEED))


STAGES = {"classifier": run_classifier, "vae": run_vae, "tokens": run_tokens, "var": run_var,
          "folder": run_folder, "report": run_report}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    STAGES[args.stage](args.images, args.work)


if __name__ == "__main__":
    main()
