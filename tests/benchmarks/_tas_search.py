"""Where the search itself ends: on images, with the task's loss pulling, too."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from _tas_spaces import cost_of, make_space

from nas.core.rng import derive_rng
from supernets.tas.budget import Budget
from supernets.tas.relaxed import Relaxed
from supernets.tas.search import TasConfig, TasSearch
from supernets.tasks.idx import read_split
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.tasks.splits import balanced, halves
from supernets.training.data import TrainingData

MODEL, IMAGES, BATCH = "cifar_resnet20_half", 2000, 64
TARGETS, SEEDS = (0.3, 0.5, 0.8), (0, 1)
EPOCHS = 8


def images(folder: Path) -> tuple[ImageClassification, LabelledImages]:
    """Returns a task of Fashion-MNIST at half its sides, and some of its training images."""
    pixels, labels = read_split(folder, "train")
    means = pixels.reshape(len(pixels), 14, 2, 14, 2).mean((2, 4))
    chosen = balanced(LabelledImages(np.round(means).astype(np.uint8), labels), IMAGES,
                      derive_rng(0, "images"))
    scaled = chosen.images / 255.0
    return ImageClassification(
        labels=tuple(map(str, range(10))), input_shape=(1, 14, 14), mean=float(scaled.mean()),
        std=float(scaled.std()), batch_size=500, splits={"train_calib": chosen}), chosen


def search_row(data: Path, work: Path, metric: str, share: float, seed: int) -> dict[str, Any]:
    """Returns where one search ends, as shares of its budget."""
    task, chosen = images(data)
    net = make_space(MODEL, 14, task=task, channels=1, seed=seed)
    cost = cost_of(net, metric, work)
    budget = Budget(cost=cost, limit=share * cost.of(net.space.extreme(largest=True)))
    weights, choices = (
        TrainingData(task=task, data=half, batch_size=BATCH, seed=seed + 1000 * index,
                     augmentation=None)
        for index, half in enumerate(halves(chosen, derive_rng(seed, "halves"))))
    checkpoint = work / f"search-{metric}-{share}-{seed}.pt"
    checkpoint.unlink(missing_ok=True)
    told: list[float] = []
    found = TasSearch(
        relaxed=Relaxed(net.model, net.elastic).to(memory_format=torch.channels_last), task=task,
        weights=weights, choices=choices, budget=budget,
        config=TasConfig(epochs=EPOCHS, seed=seed),
        checkpoint=checkpoint, on_epoch=lambda epoch: told.append(epoch.cost)).run()
    sure = [max(values) for values in found.probabilities.values()]
    return {"metric": metric, "target": share, "seed": seed,
            "last_step": round(told[-1] / budget.limit, 4),
            "likeliest": round(cost.of(found.likeliest) / budget.limit, 4),
            "returned": round(cost.of(found.arch) / budget.limit, 4),
            "certainty": round(float(np.mean(sure)), 3)}
