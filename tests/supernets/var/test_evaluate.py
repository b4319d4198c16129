from dataclasses import replace

import pytest
import torch
from torch import Tensor
from var_folders import noise_images, small_classifier, small_splits
from var_nets import SMALL, perturbed, small_net, small_vae

from nas.core.arch import Arch
from nas.core.errors import InputError
from supernets.tasks.visual_generation import VisualGeneration
from supernets.var.evaluate import (
    evaluate_generation,
    real_images,
    scale_cross_entropies,
)
from supernets.var.generate import generate
from supernets.var.image_supernet import ImageSupernet
from supernets.var.memory import kv_bytes
from supernets.var.metrics import class_accuracy, feature_statistics, frechet_distance
from supernets.var.samples import Caches, generated_batches
from supernets.var.sampling import Sampling
from supernets.var.space import full_arch, plan, variant_arch

NET, VAE, FEATURES = small_net(), perturbed(small_vae()), small_classifier()
REAL = real_images(FEATURES, noise_images(40))
ARCH, SAMPLING = variant_arch(SMALL, bridge=2, depth=4), Sampling(guidance=1.0, top_k=10)


def test_figures_are_those_of_the_images_that_generate_makes() -> None:
    found = evaluate_generation(NET, VAE, ARCH, FEATURES, REAL, samples=14, sampling=SAMPLING,
                                seed=3, batch=5)
    labels = torch.arange(14) % SMALL.classes
    made = generate(NET, VAE, labels, ARCH, sampling=SAMPLING, seed=3).images
    with torch.no_grad():
        features, logits = FEATURES.features(made), FEATURES(made)
    assert found.fid == pytest.approx(
        frechet_distance(feature_statistics(FEATURES.name, features), REAL.statistics), rel=1e-4)
    assert found.accuracy == pytest.approx(class_accuracy(logits, labels))
    assert len(found.class_accuracies) == SMALL.classes
    assert (found.feature_net, found.features, found.samples, found.real, found.batch) == (
        "small-features/1", 6, 14, 40, 5)
    assert found.kv_bytes_peak == kv_bytes(SMALL, plan(SMALL, ARCH), images=5, key_bytes=4,
                                           value_bytes=4, freed=True)


def test_seconds_of_scales_and_decoder_are_those_of_an_image() -> None:
    found = evaluate_generation(NET, VAE, ARCH, FEATURES, REAL, samples=8, sampling=SAMPLING,
                                seed=0, batch=4)
    assert len(found.seconds_per_scale) == SMALL.scales
    assert min(*found.seconds_per_scale, found.seconds_decoder) > 0
    assert found.seconds_per_image == pytest.approx(sum(found.seconds_per_scale)
                                                    + found.seconds_decoder)


def test_caches_may_be_of_other_types() -> None:
    found = [evaluate_generation(NET, VAE, ARCH, FEATURES, REAL, samples=9, sampling=SAMPLING,
                                 seed=0, caches=caches)
             for caches in (None, Caches(key_dtype=torch.float16), Caches(freed=False))]
    assert found[1].kv_bytes_peak == found[0].kv_bytes_peak * 3 // 4
    assert found[2].kv_bytes_peak > found[0].kv_bytes_peak
    assert found[2].fid == found[0].fid


def test_samples_do_not_depend_on_batches() -> None:
    def made(batch: int) -> list[Tensor]:
        batches = generated_batches(NET, VAE, ARCH, samples=7, sampling=SAMPLING, seed=1,
                                    batch=batch)
        tokens = [torch.cat((labels[:, None], *found.tokens), 1) for found, labels in batches]
        assert len(tokens) == -(-7 // batch)
        return list(torch.cat(tokens))

    for one, other in zip(made(3), made(7), strict=True):
        assert torch.equal(one, other)


class Means:
    """A feature net that is no classifier."""

    name = "means"

    def features(self, image_BCHW: Tensor) -> Tensor:
        return torch.stack((image_BCHW.mean((1, 2, 3)), image_BCHW.std((1, 2, 3))), 1)


def test_other_feature_nets_have_no_accuracy_unless_a_classifier_is_given() -> None:
    real = real_images(Means(), noise_images(10))
    found = [evaluate_generation(NET, VAE, ARCH, Means(), real, samples=6, sampling=SAMPLING,
                                 seed=0, classifier=classifier)
             for classifier in (None, FEATURES)]
    assert found[0].accuracy is None
    assert found[0].class_accuracies == ()
    assert found[1].accuracy is not None
    assert found[0].fid == found[1].fid
    with pytest.raises(InputError, match="'small-features/1', and the feature net is 'means'"):
        evaluate_generation(NET, VAE, ARCH, Means(), REAL, samples=6, sampling=SAMPLING, seed=0)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(InputError, match="6 images are too few for 6 features"):
        evaluate_generation(NET, VAE, ARCH, FEATURES, REAL, samples=6, sampling=SAMPLING, seed=0)
    with pytest.raises(InputError, match="0 samples"):
        evaluate_generation(NET, VAE, ARCH, FEATURES, REAL, samples=0, sampling=SAMPLING, seed=0)


@pytest.mark.parametrize("arch", [full_arch(SMALL), ARCH])
def test_cross_entropies_of_scales_are_those_of_the_task(arch: Arch) -> None:
    task = VisualGeneration(splits=small_splits(), patch_nums=SMALL.patch_nums,
                            vocabulary=SMALL.vocabulary, classes=SMALL.classes)
    supernet = ImageSupernet(NET, VAE, task).eval()
    found = scale_cross_entropies(supernet, arch, task.batches("search"))
    wanted = task.metrics(supernet.extract(arch), replace(task, batch_size=2).batches("search"))
    assert found == pytest.approx([wanted[f"ce_scale{scale}"] for scale in (1, 2, 3, 4)],
                                  abs=1e-4)
