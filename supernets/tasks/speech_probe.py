"""What a frozen encoder knows, in the manner of SUPERB: learnt layer weights and a linear head.

Yang et al., arXiv 2105.01051, section 3.2: a weighted sum of all hidden states, the mean over a
clip's frames, a linear layer. The mean and the sum change places, so that a clip is encoded once
and the head is learnt from one vector for each layer. Differences: SUPERB's two linear layers are
one, features are standardised by those that are learnt from, and the head is fitted to convergence
by L-BFGS, without any draw, so that equal features give equal heads.

Legend: N clips, B batch, L hidden states, T frames, E width, K classes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.core.errors import DataError, EvaluationError
from nas.core.types import IntArray
from supernets.tasks.audio_batches import BATCH_SECONDS, PaddedWaves, clip_batches
from supernets.tasks.audio_clips import ClipSet
from supernets.tasks.speech_encoders import SpeechEncoder

_EPSILON = 1e-5  # beside the standard deviation of a feature

ProgressCallback = Callable[[int, int], None]  # clips done, clips in all


@dataclass(frozen=True, eq=False, slots=True)
class Head:
    """A classifier of pooled features.

    Attributes:
        mean_LE: Of the features that it was learnt from.
        scale_LE: Their standard deviation.
        layers_L: Weight of each hidden state; they sum to 1.
        weight_KE: Of the linear layer.
        bias_K: The same.
    """

    mean_LE: Tensor
    scale_LE: Tensor
    layers_L: Tensor
    weight_KE: Tensor
    bias_K: Tensor

    def logits(self, pooled_NLE: Tensor) -> Tensor:
        """Returns (N, K)."""
        x_NLE = (pooled_NLE - self.mean_LE) / self.scale_LE
        return F.linear(torch.einsum("l,nle->ne", self.layers_L, x_NLE), self.weight_KE,
                        self.bias_K)


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe found.

    Attributes:
        accuracy: On the clips that were held out, in %.
        layer_weights: Of each hidden state; they sum to 1.
        classes: That were told apart.
    """

    accuracy: float
    layer_weights: tuple[float, ...]
    classes: tuple[str, ...]


def probe(encode: SpeechEncoder, training: ClipSet, held_out: ClipSet, *, field: str = "label",
          normalise: bool = True, batch_seconds: float = BATCH_SECONDS,
          device: torch.device | None = None, on_clip: ProgressCallback | None = None) -> Probed:
    """Learns a head from clips and returns how many others it classifies rightly.

    Args:
        encode: The encoder, which is not changed; its modules must be in evaluation mode.
        training: Clips to learn from.
        held_out: Others: of other speakers, for what is said; of the same, for who says it.
        field: What to tell clips by, such as ``label`` or ``speaker``.
        normalise: Whether the encoder wants clips of mean 0 and variance 1.
        batch_seconds: Of a batch, padding included.
        device: Where batches lie; None: the CPU.
        on_clip: Called after each batch.

    Raises:
        DataError: No clips, one class, or a class that is only held out.
        EvaluationError: Features that are not finite.
    """
    classes = training.classes(field)
    wanted = held_out.targets(field, classes)
    total = len(training) + len(held_out)
    pooled = []
    for done, clips in ((0, training), (len(training), held_out)):
        report = None if on_clip is None else _offset(on_clip, done, total)
        pooled.append(pooled_features(encode, clips, normalise=normalise, device=device,
                                      batch_seconds=batch_seconds, on_clip=report))
    head = fit_head(pooled[0], training.targets(field, classes), classes=len(classes))
    right = accuracy(head, pooled[1], wanted)
    return Probed(right, tuple(head.layers_L.tolist()), classes)


def pooled_features(encode: SpeechEncoder, clips: ClipSet, *, normalise: bool = True,
                    batch_seconds: float = BATCH_SECONDS, device: torch.device | None = None,
                    on_clip: ProgressCallback | None = None) -> Tensor:
    """Returns the mean of each hidden state over each clip's frames, (N, L, E), on the CPU.

    Raises:
        DataError: No clips, or one that cannot be read any more.
        EvaluationError: Features that are not finite.
    """
    place = device or torch.device("cpu")
    found: list[Tensor] = []
    order: list[IntArray] = []
    done = 0
    for batch, positions in clip_batches(clips, normalise=normalise, batch_seconds=batch_seconds):
        found.append(pooled_batch(encode, batch.to(place)))
        order.append(positions)
        done += len(positions)
        if on_clip is not None:
            on_clip(done, len(clips))
    if not found:
        raise DataError("there are no clips to encode; give some")
    back = torch.from_numpy(np.argsort(np.concatenate(order)))
    return torch.cat(found)[back]


@torch.no_grad()
def pooled_batch(encode: SpeechEncoder, batch: PaddedWaves) -> Tensor:
    """Returns the same for one batch, (B, L, E).

    Raises:
        EvaluationError: Features that are not finite.
        DataError: A clip without a frame.
    """
    states, keep_BT = encode(batch.wave_BS, batch.padding_mask_BS)
    frames_B = keep_BT.sum(1)
    if int(frames_B.min()) < 1:
        raise DataError("a clip is shorter than one frame of the encoder; leave it out")
    # Frames of padding hold anything, even what is not finite.
    pooled = [torch.where(keep_BT[..., None], state, 0.0).float().sum(1) / frames_B[:, None]
              for state in states]
    pooled_BLE = torch.stack(pooled, 1).cpu()
    if not bool(torch.isfinite(pooled_BLE).all()):
        raise EvaluationError("the encoder's hidden states are not finite")
    return pooled_BLE


def fit_head(pooled_NLE: Tensor, targets: IntArray, *, classes: int, decay: float = 1e-3,
             steps: int = 200) -> Head:
    """Returns the head of least cross-entropy.

    Args:
        pooled_NLE: Features to learn from.
        targets: Their classes, (N,).
        classes: K.
        decay: Half of it times the squared weights is added to the mean cross-entropy.
        steps: Of L-BFGS at most.

    Raises:
        DataError: One class, or not one target for each clip.
    """
    if classes < 2 or len(targets) != len(pooled_NLE):
        raise DataError(f"{len(targets)} targets of {classes} classes for {len(pooled_NLE)} clips; "
                        "give one for each, and two classes at least")
    mean_LE, scale_LE = pooled_NLE.mean(0), pooled_NLE.std(0, correction=0) + _EPSILON
    x_NLE, y_N = (pooled_NLE - mean_LE) / scale_LE, torch.from_numpy(targets)
    _, states, width = pooled_NLE.shape
    layers_L, weight_KE, bias_K = (torch.zeros(shape, requires_grad=True) for shape in (
        (states,), (classes, width), (classes,)))
    optimizer = torch.optim.LBFGS([layers_L, weight_KE, bias_K], max_iter=steps,
                                  line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        x_NE = torch.einsum("l,nle->ne", layers_L.softmax(0), x_NLE)
        loss = F.cross_entropy(F.linear(x_NE, weight_KE, bias_K), y_N)
        loss = loss + 0.5 * decay * weight_KE.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return Head(mean_LE, scale_LE, layers_L.detach().softmax(0), weight_KE.detach(),
                bias_K.detach())


def accuracy(head: Head, pooled_NLE: Tensor, targets: IntArray) -> float:
    """Returns how many clips the head classifies rightly, in %.

    Raises:
        DataError: No clips.
    """
    if len(pooled_NLE) == 0:
        raise DataError("there are no clips to classify; give some")
    right = head.logits(pooled_NLE).argmax(1) == torch.from_numpy(targets)
    return 100.0 * float(right.double().mean())


def features_and_targets(encode: SpeechEncoder, batches: Iterable[tuple[PaddedWaves, Tensor]]
                         ) -> tuple[Tensor, IntArray]:
    """Returns pooled features and targets of batches, in their order.

    Raises:
        DataError: There is no batch.
        EvaluationError: Features that are not finite.
    """
    pooled: list[Tensor] = []
    targets: list[Tensor] = []
    for batch, wanted in batches:
        pooled.append(pooled_batch(encode, batch))
        targets.append(wanted.cpu())
    if not pooled:
        raise DataError("validation got no batches")
    return torch.cat(pooled), torch.cat(targets).numpy()


def _offset(on_clip: ProgressCallback, done: int, total: int) -> ProgressCallback:
    return lambda count, _: on_clip(done + count, total)
