"""Images from a bundle, with ONNX Runtime and numpy alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.core.errors import ConstraintError, InputError
from nas.core.types import IntArray
from nas.export.generator import Generator
from nas.export.manifest import ARCH
from nas.pipeline.generate import GUIDANCE, GenerateRequest, Made


class BundleMaker:
    """The `Maker` of a bundle.

    Raises:
        InputError: The bundle makes no images, or an option chooses among networks.
        ExportError: A file of it is missing or damaged.
        ConstraintError: Caches over the bound.
    """

    def __init__(self, request: GenerateRequest) -> None:
        folder = Path(request.source)
        for option in ("bridge", "depth", "max_latency_ms"):
            if getattr(request, option) is not None:
                raise InputError(f"--{option.replace('_', '-')} chooses a network of a supernet, "
                                 f"and {folder} is a bundle of one; drop it")
        self._generator, self._request = Generator(folder), request
        facts = self._generator.facts
        self.classes: int = facts["classes"]
        self.labels: Sequence[str] = facts["labels"]
        self._guidance = (GUIDANCE if facts["guided"] else 0.0) if request.cfg is None \
            else request.cfg
        self._check_bound()
        arch = json.loads((folder / ARCH).read_text())["choices"]
        self.facts: Mapping[str, Any] = {
            "runtime": "onnxruntime", "arch": arch,
            "depths": [len(layers) for layers in facts["layers"]]}

    def __call__(self, labels: IntArray, *, first: int) -> Made:
        """Returns images of classes, (B,), the first of this index."""
        asked = self._request
        made = self._generator.generate(labels, guidance=self._guidance, top_k=asked.top_k,
                                        top_p=asked.top_p, seed=asked.seed, first=first)
        return Made(made.images, made.kv_bytes, made.seconds)

    def _check_bound(self) -> None:
        bound, images = self._request.max_kv_mb, self._request.at_once
        needed = self._generator.kv_bytes(images, guidance=self._guidance)
        if bound is not None and needed > bound * 1e6:
            raise ConstraintError(f"--max-kv-mb {bound:g}: the caches of {images} images take "
                                  f"{needed / 1e6:g} MB; allow more, give a smaller --batch, or "
                                  "export a network of less depth")
