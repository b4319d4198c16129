"""How well a network knows what an image's tokens are, or how real the images are that it makes.

Legend: N images, B batch, L tokens of an image, M = 1 + L: the class, then all tokens, V codes.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.core.errors import DataError, EvaluationError, InputError
from nas.core.protocols import Batch, Quality, Signature
from supernets.tasks import classification
from supernets.tasks.measures import CROSS_ENTROPY, DISTANCE, FID, MEASURES


@dataclass(frozen=True, eq=False, slots=True)
class TokenMaps:
    """Images as a VQVAE's token ids.

    Attributes:
        tokens_NL: uint16, all scales of an image, coarse to fine.
        labels_N: uint16, the classes.

    Raises:
        DataError: Arrays of other shapes or types, or counts that differ.
    """

    tokens_NL: NDArray[np.uint16]
    labels_N: NDArray[np.uint16]

    def __post_init__(self) -> None:
        tokens, labels = self.tokens_NL, self.labels_N
        shapes = tokens.ndim == 2 and labels.shape == tokens.shape[:1]
        if not shapes or {tokens.dtype.name, labels.dtype.name} != {"uint16"}:
            raise DataError(f"tokens {tokens.shape} of {tokens.dtype} and labels {labels.shape} of "
                            f"{labels.dtype} are not (N, L) and (N,) of uint16")

    def __len__(self) -> int:
        return len(self.labels_N)


class Sampler(Protocol):
    """Says how real the images are that a network makes."""

    @property
    def features(self) -> str:
        """What the distance is measured with, for people."""

    def __call__(self, model: nn.Module, samples: int) -> Mapping[str, float]:
        """Returns ``{"error": a Fréchet distance, …}`` of so many images.

        Raises:
            InputError: A network that cannot generate, or too few images.
        """


@dataclass(frozen=True, kw_only=True)
class VisualGeneration:
    """The `Task` of saying each token of held-out images, given the coarser scales.

    Attributes:
        splits: Name → images; any of `classification.SPLITS`.
        patch_nums: Side of each scale's map.
        vocabulary: Codes, V.
        classes: Labels 0 … classes − 1; the index `classes` means none.
        batch_size: Of `batches`.
        device: Where batches lie.
        measure: What ``error`` is, of `supernets.tasks.measures.MEASURES`. ``cross-entropy``: the
            mean of all tokens, in % of ln V, that of a uniform guess. ``fid``: the Fréchet
            distance between the features of generated images and of real ones; a network must
            then be able to generate, and batches are not read.
        samples: Images that ``fid`` generates.
        sampler: Measures ``fid``; None where it cannot be asked for.

    Raises:
        DataError: An unknown split, none, maps of another length, or a code or class that there
            is not.
        InputError: An unknown measure, or one without what it needs.
    """

    splits: Mapping[str, TokenMaps] = field(repr=False)
    patch_nums: tuple[int, ...]
    vocabulary: int
    classes: int
    batch_size: int = 64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    measure: str = CROSS_ENTROPY
    samples: int = 2000
    sampler: Sampler | None = field(default=None, repr=False)

    signature = Signature(input="tokens", output="logits")

    def __post_init__(self) -> None:
        classification.check_splits(self.splits)
        if not self.splits:
            raise DataError("a task of generation needs token maps of images; it got none")
        for split, maps in self.splits.items():
            self._check_maps(split, maps)
        if self.measure not in MEASURES:
            raise InputError(f"quality {self.measure!r} is none of {', '.join(MEASURES)}")
        if self.measure == FID and self.sampler is None:
            raise InputError("quality 'fid' needs a feature net and features of real images; use "
                             "'cross-entropy', or save the supernet with both")

    @property
    def tokens(self) -> int:
        """Tokens of an image, L."""
        return sum(side**2 for side in self.patch_nums)

    @property
    def quality(self) -> Quality:
        """What ``error`` is."""
        if self.measure == FID:
            assert self.sampler is not None  # checked
            return replace(DISTANCE, error=(
                f"Fréchet distance of {self.samples} generated images from real ones, between "
                f"features of {self.sampler.features}"))
        return Quality("cross-entropy of an image's tokens, in % of that of a uniform guess")

    def with_measure(self, measure: str, *, samples: int | None = None) -> "VisualGeneration":
        """Returns the task with another meaning of ``error``.

        Raises:
            InputError: An unknown measure, or one without what it needs.
        """
        return replace(self, measure=measure,
                       samples=self.samples if samples is None else samples)

    def example_inputs(self, batch: int, rng: np.random.Generator) -> Tensor:
        """Returns random classes and tokens (batch, M), int64."""
        labels = rng.integers(self.classes, size=(batch, 1))
        tokens = rng.integers(self.vocabulary, size=(batch, self.tokens))
        return torch.from_numpy(np.concatenate((labels, tokens), 1)).to(self.device)

    def batches(self, split: str) -> Iterator[Batch]:
        """Yields (tokens_BM, targets_BL) of a split, int64, in stored order.

        Raises:
            DataError: The task has no such split.
        """
        if split not in self.splits:
            raise classification.no_split(split, self.splits)
        maps = self.splits[split]
        for start in range(0, len(maps), self.batch_size):
            rows = slice(start, start + self.batch_size)
            tokens_BL = torch.from_numpy(maps.tokens_NL[rows].astype(np.int64))
            labels_B = torch.from_numpy(maps.labels_N[rows].astype(np.int64))
            yield (torch.cat((labels_B[:, None], tokens_BL), 1).to(self.device),
                   tokens_BL.to(self.device))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the mean cross-entropy of logits (B, L, V) against tokens (B, L), in nats."""
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    def metrics(self, model: nn.Module, batches: Iterable[Batch]) -> Mapping[str, float]:
        """Returns ``{"error": …}`` as `measure` has it, and figures beside it.

        With cross-entropy these are ``ce_scale1`` … of each scale, the mean of its tokens in nats;
        with ``fid`` what the sampler gives.

        Raises:
            DataError: There is no batch.
            EvaluationError: Logits that are not finite.
            InputError: A network that cannot generate.
        """
        if self.measure == FID:
            assert self.sampler is not None  # checked
            return self.sampler(model, self.samples)
        scales = mean_cross_entropies(model, batches, self.patch_nums)
        total = sum(side**2 * nats for side, nats in zip(self.patch_nums, scales, strict=True))
        return {"error": 100.0 * total / self.tokens / math.log(self.vocabulary),
                **{f"ce_scale{scale + 1}": nats for scale, nats in enumerate(scales)}}

    def onnx_metadata(self) -> Mapping[str, str]:
        """Returns what the input is made of, as a JSON text."""
        return {"preprocessing": json.dumps({
            "input": "tokens", "layout": "BM", "patch_nums": list(self.patch_nums),
            "vocabulary": self.vocabulary, "classes": self.classes,
            "order": f"the class ({self.classes} for none), then all token ids, coarse to fine, "
                     "row by row"})}

    def _check_maps(self, split: str, maps: TokenMaps) -> None:
        if maps.tokens_NL.shape[1] != self.tokens:
            raise DataError(f"images of the {split} split have {maps.tokens_NL.shape[1]} tokens; "
                            f"patch numbers {self.patch_nums} make {self.tokens}")
        for what, values, count in (("token", maps.tokens_NL, self.vocabulary),
                                    ("class", maps.labels_N, self.classes)):
            if values.size and int(values.max()) >= count:
                raise DataError(f"the {split} split has {what} {values.max()}, and there are "
                                f"{count}")


def mean_cross_entropies(model: Callable[[Tensor], Tensor], batches: Iterable[Batch],
                         patch_nums: tuple[int, ...]) -> list[float]:
    """Returns the mean cross-entropy of each scale's tokens, in nats, coarse to fine.

    Args:
        model: Tokens (B, M) to logits (B, L, V), in evaluation mode.
        batches: Pairs (tokens_BM, targets_BL).
        patch_nums: Side of each scale's map.

    Raises:
        DataError: There is no batch.
        EvaluationError: Logits that are not finite.
    """
    images = 0
    sums_L = torch.zeros(sum(side**2 for side in patch_nums), dtype=torch.float64)
    with torch.inference_mode():
        for tokens_BM, targets_BL in batches:
            logits_BLV = model(tokens_BM)
            if not bool(torch.isfinite(logits_BLV).all()):
                raise EvaluationError("the network's logits are not finite")
            nats_BL = F.cross_entropy(logits_BLV.transpose(1, 2), targets_BL, reduction="none")
            sums_L += nats_BL.double().sum(0).cpu()
            images += len(targets_BL)
    if images == 0:
        raise DataError("validation got no batches")
    return [float(part.mean()) / images
            for part in torch.split(sums_L, [side**2 for side in patch_nums])]
