"""Generators whose parts torch runs: exporting takes seconds, and one test compares the two."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nas.core.generation import GeneratorPart, GeneratorParts
from nas.export import generator


class _Session:
    """What a session of ONNX Runtime is to a `Generator`."""

    def __init__(self, part: GeneratorPart, facts: Mapping[str, Any]) -> None:
        self.part, self.facts = part, facts

    def run(self, outputs: None, feeds: Mapping[str, Any]) -> list[Any]:
        assert outputs is None
        assert feeds.keys() == self.part.inputs.keys()
        with torch.inference_mode():
            found = self.part.module(*(torch.from_numpy(np.ascontiguousarray(feeds[name]))
                                       for name in self.part.inputs))
        return [part.numpy() for part in (found if isinstance(found, tuple) else (found,))]

    def get_modelmeta(self) -> SimpleNamespace:
        return SimpleNamespace(custom_metadata_map={generator.FACTS: json.dumps(self.facts)})


def stand_in(parts: GeneratorParts, folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Has generators of an existing folder run these parts, and returns the folder."""
    by_name = {part.name: part for part in parts.parts}
    patch.setattr(generator, "_session",
                  lambda path, _threads: _Session(by_name[path.stem], parts.facts))
    (folder / "decoder.onnx").touch()
    return folder
