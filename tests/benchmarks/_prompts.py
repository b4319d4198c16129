"""Spoken prompts as training speech: Debian's Italian and Russian ones, which are CC-BY-3.0.

The English, Spanish and French ones of the same package are CC-BY-SA-3.0 and are left out: what
ships is learnt from these alone. Each prompt is cut or joined with others, and said faster, slower,
through a telephone, or in noise, so that two voices make more.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr

from nas.core.rng import derive_rng
from supernets.tasks.waves import SAMPLE_RATE, Wave

PROMPTS = Path("/usr/share/asterisk/sounds")
LANGUAGES = ("it", "ru")  # of asterisk-core-sounds-it-g722 and -ru-g722

SPEEDS = (1.0, 0.87, 1.15, 0.93, 1.07, 1.25)  # of a voice; its pitch goes along
LONGEST_S = (1.6, 3.0, 6.0)  # of the clips that prompts are joined to
NOISE_DB = (12.0, 35.0)  # signal over noise, where there is noise
_SHORTEST = SAMPLE_RATE // 4


def prompts(folder: Path, language: str) -> list[Wave]:
    """Returns the prompts of a language by name, without those that are empty or too short."""
    import G722

    found: list[Wave] = []
    for file in sorted((folder / language).rglob("*.g722")):
        data = file.read_bytes()
        if data:
            samples = np.asarray(G722.G722(SAMPLE_RATE, 64_000).decode(data), dtype=np.int16)
            wave_S = samples.astype(np.float32) / 32768
            if len(wave_S) >= _SHORTEST and np.ptp(wave_S) > 1e-3:
                found.append(wave_S)
    return found


def held_out(waves: list[Wave], share: float, rng: np.random.Generator
             ) -> tuple[list[Wave], list[Wave]]:
    """Returns the rest of some prompts, and a share of them that is drawn."""
    chosen = set(rng.choice(len(waves), round(share * len(waves)), replace=False).tolist())
    return ([wave for place, wave in enumerate(waves) if place not in chosen],
            [wave for place, wave in enumerate(waves) if place in chosen])


def varied(waves: list[Wave], seed: int) -> list[Wave]:
    """Returns the prompts of one voice once at each speed, in clips of three lengths."""
    clips: list[Wave] = []
    for number, speed in enumerate(SPEEDS):
        rng = derive_rng(seed, "variants", index=number)
        faster = [soxr.resample(wave, SAMPLE_RATE, SAMPLE_RATE / speed) for wave in waves]
        longest = LONGEST_S[number % len(LONGEST_S)]
        clips += [coloured(clip, rng) for clip in joined(faster, longest, rng)]
    return clips


def joined(waves: list[Wave], longest_s: float, rng: np.random.Generator) -> Iterator[Wave]:
    """Yields prompts in random order, joined up to a length; longer ones are cut evenly."""
    most = int(longest_s * SAMPLE_RATE)
    held: list[Wave] = []
    for place in rng.permutation(len(waves)):
        for part in np.array_split(waves[place], -(-len(waves[place]) // most)):
            if held and sum(map(len, held)) + len(part) > most:
                yield np.concatenate(held)
                held = []
            held.append(part)
    if held and sum(map(len, held)) >= _SHORTEST:
        yield np.concatenate(held)


def coloured(clip_S: Wave, rng: np.random.Generator) -> Wave:
    """Returns a clip as it is, through a telephone's band, in noise, or both: each as often."""
    telephone, noisy = rng.random(2) < 0.5
    if telephone:
        clip_S = soxr.resample(soxr.resample(clip_S, SAMPLE_RATE, 8000), 8000, SAMPLE_RATE)
    if noisy:
        level = np.sqrt(np.square(clip_S).mean()) * 10 ** (-rng.uniform(*NOISE_DB) / 20)
        clip_S = clip_S + level * rng.standard_normal(len(clip_S))
    return np.ascontiguousarray(clip_S, dtype=np.float32)
