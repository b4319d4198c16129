"""Training a multi-scale VQVAE: reconstruction, the loss of the codes, and codes that nobody uses.

VAR's authors did not publish theirs. The loss of the codes is VQVAE's (van den Oord et al., arXiv
1711.00937, equation 3) at every scale, see `quantizer`. Codes that no token used for a while start
anew where the data is, as in Jukebox (Dhariwal et al., arXiv 2005.00341, section 3): with one
codebook for all scales, coarse ones would else share a handful.

Legend: B batch, C channels, H and W sides, T tokens of a scale, E channels of a code, V codes, N
vectors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.space import Gene, GeneSpace
from supernets.training.data import Batches
from supernets.training.distill import Loss
from supernets.training.sampling import Largest
from supernets.training.trainer import Progress, TrainConfig, Trainer
from supernets.var.usage import count_codes
from supernets.var.vae import MultiScaleVqvae, Reconstruction

Features = Callable[[Tensor], Sequence[Tensor]]  # images → feature maps of some network


class VaeLearner(nn.Module):
    """A VQVAE that revives unused codes as it trains; its one architecture is itself.

    Args:
        vae: Trained in place.
        revive_every: Steps between revivals; the first is at step 0, so that all codes start
            where the data is. 0: never.
        revive_until: Steps after which codes are left alone, so that they can settle.

    Raises:
        InputError: A negative number.
    """

    steps: Tensor
    hits_V: Tensor

    def __init__(self, vae: MultiScaleVqvae, *, revive_every: int, revive_until: int) -> None:
        super().__init__()
        if revive_every < 0 or revive_until < 0:
            raise InputError(f"codes are revived every {revive_every} steps until {revive_until}; "
                             "give 0 or more")
        self.vae = vae
        self.space = GeneSpace(vae.config.name, (Gene("vqvae", ("whole",)),))
        self._every, self._until = revive_every, revive_until
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("hits_V", torch.zeros(vae.config.vocabulary, dtype=torch.int64))

    def forward(self, image_BCHW: Tensor, arch: Arch) -> Reconstruction:
        """Returns images through codes; in training mode it counts and revives codes."""
        del arch
        if not self.training:
            return self.vae(image_BCHW)  # type: ignore[no-any-return]
        step = int(self.steps)
        if self._every and step % self._every == 0 and step < self._until:
            revive(self.vae, image_BCHW, self.hits_V == 0)
            self.hits_V.zero_()
        found: Reconstruction = self.vae(image_BCHW)
        self.hits_V += count_codes(found.tokens, len(self.hits_V)).sum(0)
        self.steps += 1
        return found

    def no_weight_decay(self) -> set[str]:
        """Returns the codebook's name: decay would draw unused codes to zero."""
        return {"vae.quantize.embedding.weight"}


@torch.no_grad()
def revive(vae: MultiScaleVqvae, image_BCHW: Tensor, unused_V: Tensor) -> None:
    """Sets unused codes to vectors that some scale has to quantise; torch's generator draws them.

    Args:
        vae: Whose codes are set.
        image_BCHW: Images to take vectors of.
        unused_V: True where a code is to be set.
    """
    unused = unused_V.nonzero().flatten()
    if not len(unused):
        return
    seen = seen_by_scales(vae, image_BCHW)
    device = unused.device
    scales = torch.randint(len(seen), (len(unused),), device=device)
    for scale, vectors_NE in enumerate(seen):  # scales alike, however many tokens they have
        codes = unused[scales == scale]
        rows = torch.randint(len(vectors_NE), (len(codes),), device=device)
        vae.quantize.embedding.weight[codes] = vectors_NE[rows]


def seen_by_scales(vae: MultiScaleVqvae, image_BCHW: Tensor) -> list[Tensor]:
    """Returns the vectors (N, E) that each scale chooses the nearest codes to."""
    quantizer = vae.quantize
    rest, seen = vae.latent(image_BCHW).float(), []
    for scale in range(len(vae.config.patch_nums)):
        seen.append(quantizer.scale_input(rest, scale).flatten(0, 1))
        rest = rest - quantizer.contribution(quantizer.nearest(rest, scale), scale)
    return seen


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeLoss:
    """The loss of a reconstruction: pixels, codes and, if wanted, features.

    Attributes:
        squared: Weight of the mean squared error of pixels (in −1 … 1).
        absolute: Weight of their mean absolute error.
        codes: Weight of the quantisation's loss.
        perceptual: Weight of the mean squared difference of feature maps, each in units of its
            own mean square, the mean over maps: Johnson et al., arXiv 1603.08155, section 3.2,
            without LPIPS' learnt weights.
        features: Gives the maps, such as those of a classifier in evaluation mode.

    Raises:
        InputError: A negative weight, or a perceptual one without features.
    """

    squared: float = 1.0
    absolute: float = 0.5
    codes: float = 1.0
    perceptual: float = 0.0
    features: Features | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if min(self.squared, self.absolute, self.codes, self.perceptual) < 0:
            raise InputError(f"a weight of {self!r} is negative")
        if self.perceptual and self.features is None:
            raise InputError("a perceptual loss needs a network's features; give one, or weight 0")

    def __call__(self, inputs: Tensor, targets: Any) -> Loss:
        """Returns the loss of reconstructions of images (B, C, H, W)."""
        del targets
        wanted = self._maps(inputs)

        def loss(found: Reconstruction) -> Tensor:
            difference = found.images - inputs
            total = (self.squared * difference.square().mean()
                     + self.absolute * difference.abs().mean() + self.codes * found.loss)
            for mine, theirs in zip(self._maps(found.images), wanted, strict=True):
                theirs = theirs.detach()
                total = total + self.perceptual / len(wanted) * (
                    F.mse_loss(mine, theirs) / theirs.square().mean())
            return total

        return loss

    def identity(self) -> str:
        """Returns its weights."""
        return repr(self)

    def _maps(self, images: Tensor) -> Sequence[Tensor]:
        return self.features(images) if self.perceptual and self.features is not None else ()


def train_vae(vae: MultiScaleVqvae, data: Batches, *, config: TrainConfig, checkpoint: Path,
              loss: VaeLoss | None = None, revive_every: int = 50, revived: float = 0.7,
              origin: Mapping[str, Any] | None = None,
              on_step: Callable[[Progress], None] | None = None) -> None:
    """Trains a VQVAE in place to the end, from the checkpoint if there is one.

    Args:
        vae: Left in evaluation mode, with the result's weights.
        data: Images in −1 … 1; labels are not read.
        config: How.
        checkpoint: See `Trainer`.
        loss: By default that of pixels and codes.
        revive_every: See `VaeLearner`.
        revived: Share of all steps during which codes are revived.
        origin: See `Trainer`.
        on_step: See `Trainer`.

    Raises:
        DataError, InputError, EvaluationError, OSError: See `Trainer.run`.
    """
    steps = config.epochs * data.checked_steps_per_epoch() // config.accumulation
    learner = VaeLearner(vae, revive_every=revive_every, revive_until=int(revived * steps))
    learner.to(next(vae.parameters()).device)
    Trainer(supernet=learner, task=None, data=data, config=config, checkpoint=checkpoint,
            rule=Largest(), criterion=loss or VaeLoss(),
            origin={**(origin or {}), "vae": repr(vae.config),
                    "revive": f"{revive_every} {revived}"},
            on_step=on_step).run()
