"""A trained VAR as a folder that needs nothing else.

``supernet.json``; ``weights.safetensors``, ``vae.safetensors`` and ``features.safetensors`` (the
transformer, the VQVAE and the feature net, in half precision); ``images.npz``: token maps and
classes of each split, and the Gaussian of real images' features.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save
from torch import nn

from nas.core.errors import DataError, EvaluationError, InputError, SpaceError
from nas.core.space import GeneSpace
from nas.core.vocabulary import Vocabulary
from supernets.card import AGAIN, CARD, WEIGHTS, Card, read_file, validated, write_folder
from supernets.stored_arrays import read_splits, splits_file
from supernets.stored_weights import with_weights
from supernets.tasks.classification import SPLITS
from supernets.tasks.visual_generation import TokenMaps, VisualGeneration
from supernets.var.blocks import build_vocabulary, check_sizes
from supernets.var.classifier import ClassifierConfig, FeatureClassifier
from supernets.var.config import VarConfig
from supernets.var.feature_fid import FeatureFid
from supernets.var.image_supernet import ImageSupernet
from supernets.var.metrics import FeatureStatistics
from supernets.var.space import build_space
from supernets.var.supernet import VarSupernet
from supernets.var.vae import MultiScaleVqvae
from supernets.var.vae_config import VaeConfig, check_pair

VAE, FEATURES, IMAGES = "vae.safetensors", "features.safetensors", "images.npz"
_MAPS = ("tokens", "labels")  # of each split
_REAL, _GAUSSIAN = "real", ("mean", "covariance")


class _TaskCard(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["visual_generation"]
    real_images: int = Field(ge=1)


class _ConfigCard(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    var: dict[str, Any]
    vae: dict[str, Any]
    classifier: dict[str, Any]


def save_supernet(folder: Path, net: VarSupernet, vae: MultiScaleVqvae,
                  classifier: FeatureClassifier, splits: Mapping[str, TokenMaps],
                  statistics: FeatureStatistics, provenance: Mapping[str, Any]) -> None:
    """Writes a trained VAR with what judges it into an existing folder.

    Args:
        folder: Where to.
        net: The transformer.
        vae: Its VQVAE.
        classifier: The feature net.
        splits: Name → token maps of held-out images, all of `classification.SPLITS`.
        statistics: Of real images' features of this feature net.
        provenance: Where it comes from: JSON values.

    Raises:
        SpaceError: A VQVAE with other codes.
        DataError: Token maps that are not the VQVAE's, or a split that lacks.
        InputError: Statistics of another feature net, or one of other images or classes.
        OSError: A file cannot be written.
    """
    check_pair(net.config, vae.config)
    try:
        _check_classifier(classifier.config, net.config, vae.config)
    except SpaceError as error:
        raise InputError(f"{error}") from None
    missing = [split for split in SPLITS if split not in splits]
    if missing:
        raise DataError(f"a stored VAR needs token maps of {', '.join(SPLITS)}; {missing[0]} lacks")
    _task(net.config, splits, torch.device("cpu"),
          FeatureFid(vae=vae, classifier=classifier, real=statistics))
    images = splits_file({
        **{split: dict(zip(_MAPS, (maps.tokens_NL, maps.labels_N), strict=True))
           for split, maps in splits.items()},
        _REAL: dict(zip(_GAUSSIAN, (statistics.mean_F, statistics.covariance_FF), strict=True))})
    write_folder(
        folder, family="var",
        config={"var": asdict(net.config), "vae": asdict(vae.config),
                "classifier": asdict(classifier.config)},
        task={"kind": "visual_generation", "real_images": statistics.count},
        files={WEIGHTS: _half(net), VAE: _half(vae), FEATURES: _half(classifier), IMAGES: images},
        provenance=provenance)


def load(folder: Path, card: Card, *, device: torch.device) -> ImageSupernet:
    """Returns the supernet of a folder in evaluation mode, its weights in single precision.

    Raises:
        DataError: A file of the folder is missing, damaged, or of another depth or VQVAE.
    """
    var, vae_config, features, described = _read(folder, card)
    weights, vae_weights, feature_weights, images = (
        read_file(folder, name, card) for name in (WEIGHTS, VAE, FEATURES, IMAGES))

    def filled(make: type[nn.Module], config: Any, content: bytes, name: str) -> Any:
        return with_weights(lambda: make(config), content, folder=folder, device=device, name=name)

    vae = filled(MultiScaleVqvae, vae_config, vae_weights, VAE)
    classifier = filled(FeatureClassifier, features, feature_weights, FEATURES)
    net = filled(VarSupernet, var, weights, WEIGHTS)
    splits, real = _read_images(folder, images, classifier, described)
    try:
        fid = FeatureFid(vae=vae, classifier=classifier, real=real)
        task = _task(var, splits, device, fid)
    except DataError as error:
        raise DataError(f"{folder / IMAGES}: {error}; {AGAIN}") from None
    return ImageSupernet(net, vae, task, labels=card.provenance.get("labels", ())).eval()


def plan(folder: Path, card: Card, *, resolution: int | None,
         seconds: float | None) -> tuple[GeneSpace, Vocabulary]:
    """Returns space and blocks of a folder's supernet.

    Raises:
        DataError: The card is damaged.
        InputError: A resolution, which token maps fix, or seconds, which images have not.
    """
    var, vae, _, _ = _read(folder, card)
    check_sizes(var, resolution=resolution, seconds=seconds)
    space = build_space(var)
    return space, build_vocabulary(var, vae, space)


def _half(net: nn.Module) -> bytes:
    return save({name: (tensor.half() if tensor.is_floating_point() else tensor).detach().cpu()
                 .contiguous() for name, tensor in net.state_dict().items()})


def _task(config: VarConfig, splits: Mapping[str, TokenMaps], device: torch.device,
          sampler: FeatureFid) -> VisualGeneration:
    return VisualGeneration(splits=splits, patch_nums=config.patch_nums,
                            vocabulary=config.vocabulary, classes=config.classes, device=device,
                            sampler=sampler)


def _read(folder: Path, card: Card) -> tuple[VarConfig, VaeConfig, ClassifierConfig, _TaskCard]:
    described = validated(_TaskCard, card.task, where=folder / CARD, part="task")
    configs = validated(_ConfigCard, card.config, where=folder / CARD, part="config")
    try:
        var, vae = VarConfig.from_dict(configs.var), VaeConfig.from_dict(configs.vae)
        check_pair(var, vae)
        features = ClassifierConfig.from_dict(configs.classifier)
        _check_classifier(features, var, vae)
    except SpaceError as error:
        raise DataError(f"{folder / CARD}: {error}; {AGAIN}") from None
    return var, vae, features, described


def _check_classifier(config: ClassifierConfig, var: VarConfig, vae: VaeConfig) -> None:
    found = (config.image_size, config.image_channels, config.classes)
    wanted = (vae.image_size, vae.image_channels, var.classes)
    if found != wanted:
        raise SpaceError(f"the feature net {config.name} is of {found} (image size, channels, "
                         f"classes), and {var.name} with {vae.name} makes {wanted}")


def _read_images(folder: Path, content: bytes, classifier: FeatureClassifier, described: _TaskCard
                 ) -> tuple[dict[str, TokenMaps], FeatureStatistics]:
    path = folder / IMAGES
    found = read_splits(content, SPLITS, _MAPS, path=path)
    mean_F, covariance_FF = read_splits(content, (_REAL,), _GAUSSIAN, path=path)[_REAL]
    width = classifier.config.widths[-1]
    try:
        if mean_F.shape != (width,) or {mean_F.dtype, covariance_FF.dtype} != {np.dtype("f8")}:
            raise DataError(f"statistics {mean_F.shape} of {mean_F.dtype} are not of {width} "
                            "features in double precision")
        return ({split: TokenMaps(*arrays) for split, arrays in found.items()},
                FeatureStatistics(classifier.name, described.real_images, mean_F, covariance_FF))
    except (DataError, InputError, EvaluationError) as error:
        raise DataError(f"{path}: {error}; {AGAIN}") from None
