"""Images of one subnet: their features, what a classifier says of them, and what they took.

Legend: M images, B batch, F features, K classes.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.core.arch import Arch
from nas.core.errors import InputError
from supernets.var.classifier import FeatureClassifier
from supernets.var.feature_nets import FeatureNet
from supernets.var.generate import Generated, generate
from supernets.var.sampling import Sampling
from supernets.var.supernet import VarSupernet
from supernets.var.vae import MultiScaleVqvae

BATCH = 100  # images made at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Caches:
    """How keys and values are stored while an image is made.

    Attributes:
        key_dtype: As of `CachedDecoder`.
        value_dtype: As of `CachedDecoder`.
        freed: As of `CachedDecoder`.
    """

    key_dtype: torch.dtype | None = None
    value_dtype: torch.dtype | None = None
    freed: bool = True


_USUAL = Caches()


@dataclass(frozen=True, eq=False, slots=True)
class Samples:
    """What is known of generated images.

    Attributes:
        features_MF: Of the feature net, on the CPU.
        logits_MK: Of the classifier, on the CPU; None without one.
        labels_M: The class that each was made for.
        kv_bytes: Bytes of the caches of the largest batch.
        scales: Wall seconds of each scale, over all images.
        decoder: Wall seconds of the decoder, over all images.
    """

    features_MF: Tensor
    logits_MK: Tensor | None
    labels_M: Tensor
    kv_bytes: int
    scales: tuple[float, ...]
    decoder: float


def sampled(net: VarSupernet, vae: MultiScaleVqvae, arch: Arch, feature_net: FeatureNet,
            classifier: FeatureClassifier | None, *, samples: int, sampling: Sampling, seed: int,
            batch: int = BATCH, caches: Caches = _USUAL) -> Samples:
    """Returns what there is to know of so many images; they themselves are not kept.

    Raises:
        ArchError: An architecture of another space.
        InputError: As of `generated_batches`, or images that the feature net does not take.
    """
    watch = _Watch(net.config.scales, net.pos_1LC.device)
    features, logits, labels, kv_bytes = [], [], [], 0
    batches = generated_batches(net, vae, arch, samples=samples, sampling=sampling, seed=seed,
                                batch=batch, caches=caches, after_scale=watch.scale)
    for made, labels_B in watch.timed(batches):
        kv_bytes = max(kv_bytes, made.kv_bytes)
        features.append(image_features(feature_net, made.images))
        labels.append(labels_B.cpu())
        if classifier is not None:
            with torch.no_grad():
                logits.append(classifier(made.images).cpu())
    return Samples(torch.cat(features), torch.cat(logits) if logits else None, torch.cat(labels),
                   kv_bytes, tuple(watch.scales), watch.decoder)


def generated_batches(net: VarSupernet, vae: MultiScaleVqvae, arch: Arch, *, samples: int,
                      sampling: Sampling, seed: int, batch: int = BATCH, caches: Caches = _USUAL,
                      after_scale: Callable[[int], None] | None = None
                      ) -> Iterator[tuple[Generated, Tensor]]:
    """Yields images and their labels (B,): the i-th of all is of class i mod K.

    An image's random numbers depend on the seed and its index alone, not on the batch.

    Raises:
        InputError: No sample, no batch, or as of `generate`.
    """
    if samples < 1 or batch < 1:
        raise InputError(f"{samples} samples in batches of {batch} are none; give 1 or more")
    device = net.pos_1LC.device
    for first in range(0, samples, batch):
        indices = torch.arange(first, min(first + batch, samples), device=device)
        labels_B = indices % net.config.classes
        yield generate(net, vae, labels_B, arch, sampling=sampling, seed=seed, first=first,
                       key_dtype=caches.key_dtype, value_dtype=caches.value_dtype,
                       freed=caches.freed, after_scale=after_scale), labels_B


def image_features(net: FeatureNet, images_NCHW: Tensor, *, batch: int = 256) -> Tensor:
    """Returns features (N, F) of images in −1 … 1, on the CPU.

    Raises:
        InputError: No image, or images that the net does not take.
    """
    if not len(images_NCHW):
        raise InputError("no image, no features; give some")
    with torch.no_grad():
        return torch.cat([net.features(rows).float().cpu()
                          for rows in torch.split(images_NCHW, batch)])


class _Watch:
    # Wall time of the scales and the decoder, between what happens outside of `generate`.
    def __init__(self, scales: int, device: torch.device) -> None:
        self.scales, self.decoder = [0.0] * scales, 0.0
        self._device, self._last = device, 0.0

    def scale(self, index: int) -> None:
        self.scales[index] += self._lap()

    def timed(self, batches: Iterator[tuple[Generated, Tensor]]
              ) -> Iterator[tuple[Generated, Tensor]]:
        self._lap()
        for batch in batches:
            self.decoder += self._lap()
            yield batch
            self._lap()

    def _lap(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        before, self._last = self._last, time.perf_counter()
        return self._last - before
