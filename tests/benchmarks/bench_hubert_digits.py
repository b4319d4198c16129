"""Spoken digits of speakers that no head has heard: the searched encoder among others.

Heads are learnt from four speakers of the Free Spoken Digit Dataset and tried on theo and lucas.
The search sees neither: it validates on one of the four, with at most half of the multiply-adds of
the largest network (convolutions included), by `nas search`. Compared with it are the teacher, the
largest and the smallest network, random ones that cost as much, the one that a search by
distillation loss finds, and mel statistics.

    python tests/benchmarks/bench_hubert_digits.py --clips DIR --teacher WHISPER.safetensors \
        --work DIR
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import write_report
from train_hubert_digits import CONTEXT_S

from nas.core.arch import Arch, make_arch
from nas.core.costs import ClosedFormCosts
from nas.core.rng import derive_rng
from nas.pipeline.compose import load_supernet
from nas.pipeline.config import SearchConfig
from nas.pipeline.device import keep_freed_memory, one_thread
from nas.pipeline.search import run_search
from supernets.hubert.encoders import supernet_encoder, whisper_encoder
from supernets.hubert.wave_supernet import WaveSupernet
from supernets.hubert.whisper import open_whisper
from supernets.tasks.audio import Reading
from supernets.tasks.audio_clips import ClipSet, open_clips
from supernets.tasks.audio_splits import hold_out
from supernets.tasks.speech_encoders import SpeechEncoder, log_mel_encoder
from supernets.tasks.speech_probe import probe

PATTERN = "{label}_{speaker}_{take}.wav"
HELD_OUT = ("theo", "lucas")
SEARCHED_ON = "yweweler"
SHARE = 0.5  # of the largest network's multiply-adds
EQUAL = 0.05  # below the bound, at most, random networks cost as much
RANDOM = 5
SEED = 0


class Digits:
    """The probe of every row.

    Args:
        root: Folder of the recordings.
    """

    def __init__(self, root: Path) -> None:
        clips, _ = open_clips(root, PATTERN, reading=Reading(resample=True))
        self.training: ClipSet
        self.training, self.held_out = hold_out(clips, HELD_OUT)

    def row(self, encode: SpeechEncoder, *, normalise: bool = True, **facts: Any) -> dict[str, Any]:
        """Returns the accuracy in % on the held-out speakers, with other facts."""
        started = time.process_time()
        with torch.no_grad():
            found = probe(encode, self.training, self.held_out, normalise=normalise,
                          batch_seconds=8.0)
        row = {**facts, "accuracy": found.accuracy, "layer_weights": found.layer_weights,
               "cpu_s": round(time.process_time() - started, 1)}
        print(row, flush=True)
        return row


class Networks:
    """The networks of a supernet with their costs.

    Args:
        name: Of the supernet, or its folder.
    """

    def __init__(self, name: str) -> None:
        supernet = load_supernet(name)
        assert isinstance(supernet, WaveSupernet)
        self.net, self.space = supernet.net, supernet.space
        self._costs = ClosedFormCosts(supernet.vocabulary, supernet.block_ids)
        self.largest, self.smallest = (self.space.extreme(largest=large) for large in (True, False))
        self.bound = SHARE * self.macs([self.largest])[0]

    def macs(self, archs: Sequence[Arch]) -> list[float]:
        """Returns multiply-adds for a second of speech, convolutions included."""
        return [float(value) for value in
                self._costs.predict("macs", self.space.encode(archs)).value]

    def facts(self, arch: Arch) -> dict[str, Any]:
        """Returns what a row says of a network."""
        macs = self.macs([arch])[0]
        return {"digest": arch.digest, "macs": macs,
                "macs_share": macs / self.macs([self.largest])[0]}

    def random(self, count: int) -> list[Arch]:
        """Returns random networks that cost as much as the bound, and at most `EQUAL` less."""
        rng, found = derive_rng(SEED, "random of equal cost"), {}
        while len(found) < count:
            arch = self.space.sample(rng)
            if (1.0 - EQUAL) * self.bound <= self.macs([arch])[0] <= self.bound:
                found[arch.digest] = arch
        return list(found.values())

    def encoder(self, arch: Arch) -> SpeechEncoder:
        """Returns the encoder of a network."""
        return supernet_encoder(self.net, arch)


def searched(networks: Networks, name: str, out: Path, budget: int, **data: Any) -> Arch:
    """Returns the network of least error that `nas search` finds within the bound."""
    config = SearchConfig(supernet=name, objectives=("error",), max_macs=int(networks.bound),
                          budget=budget, seed=SEED, out=out, **data)
    best = run_search(config).payload["best"]
    return make_arch(networks.space, best["arch"])


def figures(networks: Networks, digits: Digits, options: argparse.Namespace) -> dict[str, Any]:
    """Returns all rows."""
    of = networks.encoder
    found: dict[str, Any] = {
        "mel_statistics": digits.row(log_mel_encoder(), normalise=False),
        "largest": digits.row(of(networks.largest), **networks.facts(networks.largest)),
        "smallest": digits.row(of(networks.smallest), **networks.facts(networks.smallest))}
    clips = {"data": options.clips, "pattern": PATTERN, "resample": True,
             "search_speakers": (SEARCHED_ON,), "test_speakers": HELD_OUT}
    for kind, data in (("searched", clips), ("searched_by_distillation", {})):
        arch = searched(networks, options.supernet, options.work / kind, options.budget, **data)
        found[kind] = digits.row(of(arch), **networks.facts(arch), arch=arch.as_dict())
    found["random"] = [digits.row(of(arch), **networks.facts(arch))
                       for arch in networks.random(RANDOM)]
    found["random_mean"] = float(np.mean([row["accuracy"] for row in found["random"]]))
    found["searched_minus_largest"] = found["searched"]["accuracy"] - found["largest"]["accuracy"]
    found["searched_minus_random"] = found["searched"]["accuracy"] - found["random_mean"]
    teacher = open_whisper(options.teacher, last=2, context_s=CONTEXT_S)
    found["teacher"] = digits.row(whisper_encoder(teacher), normalise=False, context_s=CONTEXT_S,
                                  layers=2)
    return found


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="for the searches' runs")
    parser.add_argument("--supernet", default="hubert-digits")
    parser.add_argument("--budget", type=int, default=48)
    options = parser.parse_args()
    keep_freed_memory()
    with one_thread():
        found = figures(Networks(options.supernet), Digits(options.clips), options)
    write_report("hubert_digits", {"budget": options.budget, "searched_on": SEARCHED_ON,
                                   "held_out": HELD_OUT, **found}, seed=SEED)


if __name__ == "__main__":
    main()
