"""Training of a multi-scale VQVAE: codes come alive, losses say what they do, stops do not show."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.core.errors import InputError
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.training.data import TrainingData
from supernets.training.trainer import Progress, TrainConfig
from supernets.var.usage import count_codes
from supernets.var.vae import MultiScaleVqvae
from supernets.var.vae_training import VaeLoss, revive, train_vae
from tests.var_nets import SMALL_VAE, small_vae

RECIPE = TrainConfig(epochs=6, learning_rate=3e-3, optimizer="adamw", beta2=0.95,
                     warmup_epochs=0.5, ema_decay=0.9)


def _data() -> TrainingData:
    # Bright squares at one of nine places: a few codes say it all.
    images = np.zeros((72, 24, 24), np.uint8)
    for index in range(len(images)):
        y, x = divmod(index % 9, 3)
        images[index, 8 * y:8 * y + 8, 8 * x:8 * x + 8] = 255 - index
    data = LabelledImages(images, np.zeros(len(images), np.uint8))
    task = ImageClassification(labels=("square",), input_shape=(1, 24, 24), mean=0.5, std=0.5,
                               splits={"search": data})
    return TrainingData(task=task, data=data, batch_size=12, seed=0, augmentation=None)


def _trained(folder: Path, recipe: TrainConfig = RECIPE, *, stop_at: int | None = None,
             revive_every: int = 5) -> MultiScaleVqvae:
    def step(progress: Progress) -> None:
        if progress.step == stop_at:
            raise KeyboardInterrupt

    vae = small_vae()
    train_vae(vae, _data(), config=recipe, checkpoint=folder / "vae.pt", on_step=step,
              revive_every=revive_every)
    return vae


def _error(vae: MultiScaleVqvae) -> float:
    images, _ = _data().batch(0)
    return float((vae.images(vae.tokens(images)) - images).square().mean())


def test_reconstructions_become_better_and_codes_are_used(tmp_path: Path) -> None:
    fresh, images = small_vae(), _data().batch(0)[0]
    trained = _trained(tmp_path, replace(RECIPE, epochs=20))
    assert _error(trained) < _error(fresh) / 2
    used = [int((count_codes(vae.tokens(images), SMALL_VAE.vocabulary).sum(0) > 0).sum())
            for vae in (fresh, trained)]
    assert used[1] > used[0]
    assert not trained.training


def test_a_stopped_training_goes_on_as_if_it_never_was(tmp_path: Path) -> None:
    recipe = replace(RECIPE, checkpoint_s=0.0)
    whole = _trained(tmp_path / "whole", recipe)
    # After step 17, between two revivals of codes.
    with pytest.raises(KeyboardInterrupt):
        _trained(tmp_path / "parts", recipe, stop_at=17)
    resumed = _trained(tmp_path / "parts", recipe)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_only_unused_codes_are_revived_where_the_data_is() -> None:
    vae = small_vae()
    before = vae.quantize.embedding.weight.detach().clone()
    unused = torch.zeros(SMALL_VAE.vocabulary, dtype=torch.bool)
    unused[[3, 7]] = True
    images, _ = _data().batch(0)
    torch.manual_seed(0)
    revive(vae, images, unused)
    after = vae.quantize.embedding.weight.detach()
    assert torch.equal(before[~unused], after[~unused])
    assert not torch.isclose(before[unused], after[unused]).all(1).any()
    f = vae.latent(images)
    assert after[unused].norm(dim=1).max() <= 2 * f.flatten(2).norm(dim=1).max()


def test_the_loss_is_that_of_pixels_codes_and_features() -> None:
    vae, (images, labels) = small_vae(), _data().batch(0)
    found = vae(images)
    difference = found.images - images
    plain = VaeLoss(squared=2.0, absolute=3.0, codes=5.0)(images, labels)(found)
    expected = (2 * difference.square().mean() + 3 * difference.abs().mean() + 5 * found.loss)
    torch.testing.assert_close(plain, expected)
    # Of features that are the pixels themselves.
    loss = VaeLoss(squared=0.0, absolute=0.0, codes=0.0, perceptual=0.5, features=lambda x: [x])
    torch.testing.assert_close(loss(images, labels)(found),
                               0.5 * difference.square().mean() / images.square().mean())


@pytest.mark.parametrize(("settings", "message"), [
    ({"perceptual": 1.0}, "give one, or weight 0"),
    ({"squared": -1.0}, "negative"),
])
def test_losses_that_cannot_be(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        VaeLoss(**settings)


def test_revivals_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give 0 or more"):
        _trained(tmp_path, revive_every=-1)
