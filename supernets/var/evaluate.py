"""How real generated images are, how well they are of their class, and what making them takes.

Legend: N real images, M generated, B batch, F features, K classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from nas.core.arch import Arch
from nas.core.protocols import Batch
from supernets.tasks.visual_generation import mean_cross_entropies
from supernets.var.classifier import FeatureClassifier
from supernets.var.feature_nets import FeatureNet
from supernets.var.image_supernet import ImageSupernet
from supernets.var.metrics import (
    FeatureStatistics,
    check_net,
    class_accuracy,
    feature_statistics,
    frechet_distance,
    precision_recall,
)
from supernets.var.samples import BATCH, Caches, image_features, sampled
from supernets.var.sampling import Sampling
from supernets.var.supernet import VarSupernet
from supernets.var.vae import MultiScaleVqvae


@dataclass(frozen=True, eq=False, slots=True)
class RealImages:
    """Features of real images.

    Attributes:
        net: The feature net's name.
        features_NF: On the CPU.
        statistics: Their Gaussian.
    """

    net: str
    features_NF: Tensor
    statistics: FeatureStatistics


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationQuality:
    """Figures of one subnet's images.

    Attributes:
        feature_net: What `fid`, `precision` and `recall` are from: figures of two nets cannot be
            compared.
        features: Its width, F.
        samples: Generated images, M; class i mod K of the i-th.
        real: Real images, N.
        fid: Squared Fréchet distance of their features; FID where these are Inception's.
        precision: Share of generated images that are among the real ones, in 0 … 1.
        recall: Share of real images that are among the generated ones, in 0 … 1.
        accuracy: Share of images that the classifier gives the class they were made for, in %;
            None without a classifier.
        class_accuracies: The same of each class, in %; empty without a classifier.
        batch: Images made at a time.
        kv_bytes_peak: Bytes of the caches of one batch, with guidance if there was any.
        seconds_per_image: Wall time of tokens and decoder, of images in batches.
        seconds_per_scale: Of that, each scale's.
        seconds_decoder: Of that, the decoder's.
    """

    feature_net: str
    features: int
    samples: int
    real: int
    fid: float
    precision: float
    recall: float
    accuracy: float | None
    class_accuracies: tuple[float, ...]
    batch: int
    kv_bytes_peak: int
    seconds_per_image: float
    seconds_per_scale: tuple[float, ...]
    seconds_decoder: float


def real_images(net: FeatureNet, images_NCHW: Tensor, *, batch: int = 256) -> RealImages:
    """Returns features of real images in −1 … 1, of which there are more than features.

    Raises:
        InputError: Fewer, or images that the net does not take.
        EvaluationError: Features that are not finite.
    """
    features = image_features(net, images_NCHW, batch=batch)
    return RealImages(net.name, features, feature_statistics(net.name, features))


def evaluate_generation(net: VarSupernet, vae: MultiScaleVqvae, arch: Arch,
                        feature_net: FeatureNet, real: RealImages, *, samples: int,
                        sampling: Sampling, seed: int, batch: int = BATCH,
                        classifier: FeatureClassifier | None = None,
                        caches: Caches | None = None) -> GenerationQuality:
    """Returns the figures of a subnet's images.

    Args:
        net: The transformer, in evaluation mode.
        vae: Its VQVAE.
        arch: The subnet.
        feature_net: Gives the features of generated images.
        real: Features of real images, of the same net.
        samples: Images to make, M; more than there are features.
        sampling: How tokens are drawn.
        seed: Of the random numbers, ≥ 0.
        batch: Images made at a time.
        classifier: Of classes; None: the feature net, if it is one.
        caches: How keys and values are stored; None: as the weights are, and freed.

    Raises:
        ArchError: An architecture of another space.
        InputError: Real images of another feature net, too few samples, or sampling that the net
            cannot do.
        EvaluationError: Features that are not finite.
    """
    check_net(feature_net.name, real.net)
    if classifier is None and isinstance(feature_net, FeatureClassifier):
        classifier = feature_net
    made = sampled(net, vae, arch, feature_net, classifier, samples=samples, sampling=sampling,
                   seed=seed, batch=batch, caches=caches or Caches())
    precision, recall = precision_recall(real.features_NF, made.features_MF)
    found = feature_statistics(feature_net.name, made.features_MF)
    logits, labels = made.logits_MK, made.labels_M
    return GenerationQuality(
        feature_net=feature_net.name, features=len(found.mean_F), samples=samples,
        real=len(real.features_NF), fid=frechet_distance(found, real.statistics),
        precision=precision, recall=recall,
        accuracy=None if logits is None else class_accuracy(logits, labels),
        class_accuracies=() if logits is None else _by_class(logits, labels),
        batch=min(batch, samples), kv_bytes_peak=made.kv_bytes,
        seconds_per_image=(sum(made.scales) + made.decoder) / samples,
        seconds_per_scale=tuple(seconds / samples for seconds in made.scales),
        seconds_decoder=made.decoder / samples)


def scale_cross_entropies(supernet: ImageSupernet, arch: Arch, batches: Iterable[Batch]
                          ) -> list[float]:
    """Returns the mean cross-entropy of each scale's tokens, in nats, coarse to fine.

    Args:
        supernet: In evaluation mode.
        arch: The subnet.
        batches: Of a `VisualGeneration`.

    Raises:
        ArchError: An architecture of another space.
        DataError: There is no batch.
        EvaluationError: Logits that are not finite.
    """
    return mean_cross_entropies(lambda tokens_BM: supernet(tokens_BM, arch), batches,
                                supernet.net.config.patch_nums)


def _by_class(logits_MK: Tensor, labels_M: Tensor) -> tuple[float, ...]:
    classes = int(labels_M.max()) + 1
    return tuple(class_accuracy(logits_MK[labels_M == label], labels_M[labels_M == label])
                 for label in range(classes))
