"""Sensitivity: what each layer can spare is measured, on the network's own weights."""

import math
from collections.abc import Sequence

import torch

from nas.core.arch import Arch
from nas.core.errors import DataError, EvaluationError
from nas.core.protocols import Batch
from nas.core.types import IntArray
from supernets.calibrate import recalibrate
from supernets.tas.budget import Preferences, best_within
from supernets.tas.subject import Subject
from supernets.timm.supernet import TimmSupernet

_EQUAL = 1e-9  # of choices that lose nothing the largest is wanted most


def sensitivity(subject: Subject) -> Arch:
    """Returns the architecture whose layers lose least, as far as each loses alone.

    Each choice of each gene is validated once, alone in the whole network, without training and
    with batch norms measured anew. Losses are taken to add up: from the whole network that gene
    moves down whose step costs the least loss for what it saves, see `best_within`. FastNAS of
    NVIDIA's modelopt measures widths so, too, and then cuts all layers at one threshold, which
    leaves out how much each step saves, and depths.

    The supernet's task is asked for ``train_calib`` and ``search``; its units should be sorted.

    Raises:
        InputError: The budget is not reached.
        DataError: There are no images to validate on.
        EvaluationError: A loss that is not finite.
    """
    return best_within(subject.budget, sensitivities(subject.supernet))


def sensitivities(supernet: TimmSupernet) -> Preferences:
    """Returns for every choice of every gene minus what it alone adds to the mean loss.

    A smaller choice is never wanted more than a larger one.

    Raises:
        DataError: There are no images to validate on.
        EvaluationError: A loss that is not finite.
    """
    space = supernet.space
    calibration, search = (list(supernet.task.batches(split))
                           for split in ("train_calib", "search"))

    def loss(code: IntArray) -> float:
        return _mean_loss(supernet, space.decode(space.canonical_codes(code[None]))[0],
                          calibration, search)

    whole = space.encode([space.extreme(largest=True)])[0]
    before = loss(whole)

    def added(place: int, choice: int) -> float:
        code = whole.copy()
        code[place] = choice
        return loss(code) - before

    return {gene.name: _wanted([added(place, choice) for choice in range(len(gene.choices) - 1)])
            for place, gene in enumerate(space.genes)}


def _wanted(added: Sequence[float]) -> list[float]:
    # From the largest choice down: chance must not make a smaller one better.
    found, worst = [0.0], 0.0
    for number, each in enumerate(reversed(added), start=1):
        worst = max(worst, each)
        found.append(-worst - number * _EQUAL)
    return found[::-1]


def _mean_loss(supernet: TimmSupernet, arch: Arch, calibration: Sequence[Batch],
               search: Sequence[Batch]) -> float:
    # Channels last, as the images of the task are: that is faster on a CPU.
    network = supernet.extract(arch).to(memory_format=torch.channels_last)
    recalibrate(network, calibration)
    total, count = 0.0, 0
    with torch.inference_mode():
        for inputs, targets in search:
            total += float(supernet.task.loss(network(inputs), targets)) * len(targets)
            count += len(targets)
    if count == 0:
        raise DataError("sensitivity got no images of the search split to validate on")
    if not math.isfinite(total):
        raise EvaluationError(f"the loss of {arch.digest} is not finite; the unpruned network's "
                              "weights may be no good")
    return total / count
