"""The quality of a network as the feature-FID of the images that it makes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from nas.core.errors import InputError
from supernets.var.classifier import FeatureClassifier
from supernets.var.image_supernet import TokenScorer
from supernets.var.metrics import (
    FeatureStatistics,
    check_net,
    class_accuracy,
    feature_statistics,
    frechet_distance,
)
from supernets.var.samples import BATCH, sampled
from supernets.var.sampling import Sampling
from supernets.var.vae import MultiScaleVqvae


@dataclass(frozen=True, kw_only=True)
class FeatureFid:
    """The `Sampler` of a `VisualGeneration`: the feature-FID of the images that a network makes.

    Attributes:
        vae: Decodes the tokens.
        classifier: The feature net, which says the classes too.
        real: Statistics of real images, of the same feature net.
        sampling: How tokens are drawn.
        seed: Of the random numbers: equal for all networks.
        batch: Images made at a time.

    Raises:
        InputError: Statistics of another feature net.
    """

    vae: MultiScaleVqvae = field(repr=False)
    classifier: FeatureClassifier = field(repr=False)
    real: FeatureStatistics = field(repr=False)
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    batch: int = BATCH

    def __post_init__(self) -> None:
        check_net(self.classifier.name, self.real.net)

    @property
    def features(self) -> str:
        """What the distance is measured with."""
        return self.classifier.name

    def __call__(self, model: nn.Module, samples: int) -> Mapping[str, float]:
        """Returns ``error``, the feature-FID, and ``class_accuracy`` in %, of so many images.

        Raises:
            InputError: A network that is no `TokenScorer`, or too few images.
            EvaluationError: Features that are not finite.
        """
        scorer = next((part for part in model.modules() if isinstance(part, TokenScorer)), None)
        if scorer is None:
            raise InputError(f"quality 'fid' needs a network that generates, and a "
                             f"{type(model).__name__} does not; extract one from the supernet")
        made = sampled(scorer.net, self.vae, scorer.arch, self.classifier, self.classifier,
                       samples=samples, sampling=self.sampling, seed=self.seed, batch=self.batch)
        assert made.logits_MK is not None  # a classifier was given
        found = feature_statistics(self.classifier.name, made.features_MF)
        return {"error": frechet_distance(found, self.real),
                "class_accuracy": class_accuracy(made.logits_MK, made.labels_M)}
