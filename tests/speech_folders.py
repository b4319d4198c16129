"""Folders of tones: a label is a pitch, a speaker a timbre with a pitch that is a little off."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

PATTERN = "{label}_{speaker}_{take}.wav"
PITCHES = {"low": 300.0, "mid": 700.0, "high": 1600.0}  # Hz
SPEAKERS = {"ann": (1.00, 0.0), "ben": (1.06, 0.3), "cat": (0.95, 0.6), "dan": (1.03, 0.9)}


def tone(label: str, speaker: str, take: int, *, rate: int = 16_000) -> NDArray[np.float32]:
    """Returns .1 s and a bit more of a tone, its third harmonic, and noise."""
    rng = np.random.default_rng([take, *label.encode(), *speaker.encode()])
    off, harmonic = SPEAKERS[speaker]
    time = np.arange(int(rate * (0.1 + 0.05 * rng.random()))) / rate
    phase = 2 * np.pi * (PITCHES[label] * off * time + rng.random())
    wave = np.sin(phase) + harmonic * np.sin(3 * phase) + 0.05 * rng.standard_normal(len(time))
    return (0.2 * wave).astype(np.float32)


def write_tones(root: Path, *, takes: int = 3) -> Path:
    """Writes clips named after `PATTERN` into a folder."""
    root.mkdir(parents=True, exist_ok=True)
    for label in PITCHES:
        for speaker in SPEAKERS:
            for take in range(takes):
                soundfile.write(root / f"{label}_{speaker}_{take}.wav",
                                tone(label, speaker, take), 16_000, subtype="PCM_16")
    return root
