"""Images of classes from a bundle, with ONNX Runtime and numpy alone.

Legend: B images, R rows (images, twice where they are guided), T tokens of a scale, L of all, V
codes, N layers of a scale, H heads, D width of one.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from nas.core.errors import ExportError, InputError
from nas.core.generation import image_uniforms
from nas.core.types import IntArray
from nas.export.drawing import Logits, drawn, filtered, guided
from nas.export.generator_entry import DECODER, scale_file

FACTS = "nas:generator"  # of the decoder's metadata

F32Array = NDArray[np.float32]
Choose = Callable[[int, Logits], IntArray]  # (scale, (B, T, V)) → tokens (B, T)


@dataclass(frozen=True, slots=True)
class Generated:
    """What was made.

    Attributes:
        images: (B, channels, H, W) in −1 … 1.
        tokens: A map for each scale, (B, T) int64 each.
        kv_bytes: Bytes of the caches that it took.
        seconds: On the wall clock.
    """

    images: F32Array
    tokens: tuple[IntArray, ...]
    kv_bytes: int
    seconds: float


class Generator:
    """The generator of a bundle; it may be called any number of times.

    Args:
        folder: Of the bundle.
        threads: Of ONNX Runtime.

    Raises:
        InputError: The bundle makes no images.
        ExportError: A file of it is missing or damaged.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        if not (folder / DECODER).is_file():
            raise InputError(f"{folder} holds no generator of images ({DECODER} is missing); give "
                             "a bundle of a VAR, such as RUN/best of a search of var-fmnist")
        self._decoder = _session(folder / DECODER, threads)
        facts = json.loads(self._decoder.get_modelmeta().custom_metadata_map[FACTS])
        self.facts: dict[str, Any] = facts
        self._sides: list[int] = facts["patch_nums"]
        self._layers: list[list[int]] = facts["layers"]
        self._steps = [_session(folder / scale_file(scale + 1), threads)
                       for scale in range(len(self._sides))]

    def generate(self, labels: Sequence[int] | IntArray, *, guidance: float = 1.5, top_k: int = 0,
                 top_p: float = 0.0, seed: int = 0, first: int = 0) -> Generated:
        """Returns images of classes: those that `supernets.var.generate` gives, token by token.

        Logits agree to rounding. So a token can differ where its random number is as near to the
        bound of two codes, and then those behind it.

        Args:
            labels: Classes, (B,).
            guidance: Of the last scale; it rises from 0 at the first. 0: none.
            top_k: The likeliest codes that may be drawn; 0: all.
            top_p: The smallest probability that they have together; 0: all may be drawn.
            seed: Of the random numbers, ≥ 0.
            first: Index of the first image.

        Raises:
            InputError: No image, no class, or sampling that the network cannot do.
        """
        started = time.perf_counter()
        self._check(guidance, top_k, top_p)
        labels_B = self._classes(labels)
        ends = np.cumsum([side**2 for side in self._sides])
        uniforms_BL = image_uniforms(int(ends[-1]), images=len(labels_B), seed=seed, first=first)

        def choose(scale: int, logits_BTV: Logits) -> IntArray:
            end = ends[scale]
            return drawn(filtered(logits_BTV, top_k=top_k, top_p=top_p),
                         uniforms_BL[:, end - logits_BTV.shape[1]:end])

        images, tokens, kv_bytes = self.run(labels_B, guidance=guidance, choose=choose)
        return Generated(images, tuple(tokens), kv_bytes, time.perf_counter() - started)

    def run(self, labels: Sequence[int] | IntArray, *, guidance: float, choose: Choose
            ) -> tuple[F32Array, list[IntArray], int]:
        """Returns images, tokens and bytes of caches where tokens are chosen from guided logits.

        Raises:
            InputError: No image, or no class.
        """
        labels_B = self._classes(labels)
        copies, facts = (2 if guidance else 1), self.facts
        labels_R = np.concatenate((labels_B, np.full_like(labels_B, facts["classes"]))[:copies])
        cache = _Caches(self._layers, [side**2 for side in self._sides], rows=len(labels_R),
                        heads=facts["heads"], head_dim=facts["head_dim"])
        side = self._sides[-1]
        f_hat: F32Array = np.zeros((len(labels_R), facts["code_dim"], side, side), np.float32)
        found: list[IntArray] = []
        for scale, step in enumerate(self._steps):
            feeds: dict[str, NDArray[Any]] = {"labels": labels_R}
            if scale:
                keys, values = cache.past(scale)
                feeds |= {"tokens": np.tile(found[-1], (copies, 1)), "past_f_hat": f_hat,
                          "past_keys": keys, "past_values": values}
            logits, *latent, keys, values = step.run(None, feeds)
            f_hat = latent[0] if latent else f_hat
            cache.append(keys, values)
            if copies == 2:
                logits = guided(logits, guidance * scale / (len(self._sides) - 1))
            found.append(choose(scale, logits))
        last = {"tokens": found[-1], "past_f_hat": f_hat[:len(labels_B)]}
        return self._decoder.run(None, last)[0], found, cache.nbytes

    def kv_bytes(self, images: int, *, guidance: float) -> int:
        """Returns the bytes of the caches of a batch."""
        ends = np.cumsum([side**2 for side in self._sides])
        rows = images * (2 if guidance else 1)
        width: int = self.facts["heads"] * self.facts["head_dim"]
        return 2 * np.dtype(np.float32).itemsize * rows * width * _room(self._layers, ends)

    def _classes(self, labels: Sequence[int] | IntArray) -> IntArray:
        labels_B, classes = np.asarray(labels, dtype=np.int64), self.facts["classes"]
        if labels_B.ndim != 1 or not len(labels_B):
            raise InputError("no label, no image; give one for each")
        if not 0 <= labels_B.min() <= labels_B.max() < classes:
            raise InputError(f"a class is outside 0 … {classes - 1}")
        return labels_B

    def _check(self, guidance: float, top_k: int, top_p: float) -> None:
        name, codes = self.facts["name"], self.facts["vocabulary"]
        if not 0 <= guidance < float("inf"):
            raise InputError(f"guidance {guidance} must be 0 or more")
        if guidance and not self.facts["guided"]:
            raise InputError(f"{name} has not learnt images without a class, which guidance needs; "
                             "set guidance to 0")
        if not 0 <= top_k <= codes:
            raise InputError(f"top-k {top_k} is outside 0 … {codes}, the codes of {name}")
        if not 0 <= top_p <= 1:
            raise InputError(f"top-p {top_p} is outside 0 … 1")


class _Caches:
    # Keys and values of the running layers, token by token in one run of memory each, allocated
    # once. Where a scale runs fewer layers than the one before, those that stay move together.

    def __init__(self, layers: Sequence[Sequence[int]], tokens: Sequence[int], *, rows: int,
                 heads: int, head_dim: int) -> None:
        self._layers, self._running, self._filled = layers, list(layers[0]), 0
        room = _room(layers, np.cumsum(tokens))
        self._buffers = [np.empty((room, rows, heads, head_dim), np.float32) for _ in range(2)]

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self._buffers)

    def past(self, scale: int) -> list[F32Array]:
        # (S, N, R, H, D) of the scale's layers, for which it frees those of all others.
        before, now = len(self._running), self._layers[scale]
        if list(now) != self._running:
            kept = np.array([self._running.index(layer) for layer in now])
            for buffer in self._buffers:
                for token in range(self._filled):  # forwards: no token is behind its new place
                    buffer[token * len(now):(token + 1) * len(now)] = buffer[token * before + kept]
            self._running = list(now)
        return [buffer[:self._filled * len(now)].reshape(self._filled, len(now), *buffer.shape[1:])
                for buffer in self._buffers]

    def append(self, *new: F32Array) -> None:
        # Keys and values (T, N, R, H, D).
        layers = len(self._running)
        for buffer, added in zip(self._buffers, new, strict=True):
            begin = self._filled * layers
            buffer[begin:begin + len(added) * layers] = added.reshape(-1, *buffer.shape[1:])
        self._filled += len(new[0])


def _room(layers: Sequence[Sequence[int]], ends: IntArray) -> int:
    # The most tokens that all caches hold at once.
    return max(len(used) * int(end) for used, end in zip(layers, ends, strict=True))


def _session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ExportError(f"{path} cannot be run ({line}); `nas verify {path.parent}` says more"
                          ) from None
