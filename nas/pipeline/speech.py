"""A search of a speech supernet on labelled clips: the task that its options describe."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.core.errors import DataError, InputError
from nas.core.protocols import Supernet
from nas.pipeline.consistency import clip_options
from nas.pipeline.device import torch_device
from nas.pipeline.events import Event, Watcher
from supernets.hubert.encoders import wave_encoder
from supernets.tasks.audio import Reading
from supernets.tasks.audio_clips import ClipSet, open_clips
from supernets.tasks.distillation import FeatureDistillation
from supernets.tasks.probed_speech import FEWEST, ProbedSpeech
from supernets.tasks.speech import keyword_task, speaker_task

if TYPE_CHECKING:
    from nas.pipeline.config import SearchConfig

SEED = 0  # of what is drawn from the clips: searches with other seeds validate on the same ones


def on_clips(supernet: Supernet, config: "SearchConfig", *, watch: Watcher) -> Supernet:
    """Gives a speech supernet the task of the clips in `config.data`; others are left alone.

    Args:
        supernet: Its task is replaced.
        config: Of the search.
        watch: Is told of reading, and which clips are held out.

    Raises:
        InputError: Options that this supernet has no use for.
        DataError: Clips that cannot be used, or too few of them.
    """
    task = supernet.task
    if not isinstance(task, FeatureDistillation):
        _check_images(config)
    elif config.data is not None and config.evaluation == "inherited":
        if config.cascade:
            raise InputError("--cascade: what is validated on --data learns from all of its "
                             "training clips each time, so that a part costs as much; drop it")
        supernet.task = _probed(task, config, config.data, watch)
    return supernet


def _check_images(config: "SearchConfig") -> None:
    for name in clip_options(config):
        raise InputError(f"--{name.replace('_', '-')} is for supernets of speech, and "
                         f"{config.supernet} is of images; drop it")
    if config.data is not None and config.evaluation == "inherited":
        raise InputError("--data is for --evaluation trained, or for supernets of speech")


def _probed(windows: FeatureDistillation, config: "SearchConfig", root: Path,
            watch: Watcher) -> ProbedSpeech:
    reading = Reading(resample=config.resample, shortest=windows.signature.shortest)
    clips, unusable = open_clips(
        root, config.pattern, reading=reading,
        on_file=lambda done, total: watch(Event("clips", done, total)))
    if config.field == "speaker":
        task = speaker_task(clips, seed=SEED, encoder=wave_encoder, device=torch_device())
        held_out = "tested on a tenth of each speaker's clips, searched on a tenth of the rest"
    else:
        search, test = _speakers(clips, config.search_speakers, config.test_speakers)
        task = keyword_task(clips, search=search, test=test, seed=SEED, encoder=wave_encoder,
                            device=torch_device())
        held_out = f"searched on {_listed(search)}, tested on {_listed(test)}"
    tested = len(task.splits["test"])
    if tested < FEWEST:
        more = "" if config.field == "speaker" else "name more --test-speakers or "
        raise DataError(f"{tested} clips of {root} are to test on, and an exported network is "
                        f"compared on {FEWEST} at least; {more}add clips")
    left_out = f"; {unusable.lines()[0]}" if unusable.reasons else ""
    watch(Event("clips", unusable.files, unusable.files, f"{held_out}{left_out}"))
    return ProbedSpeech(windows=windows, clips=task, held_out=held_out)


def _speakers(clips: ClipSet, search: Sequence[str],
              test: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    # Where none are named: the last by name are tested on, the last of the others searched on.
    for name in ("label", "speaker"):
        if name not in clips.fields:
            raise DataError(f"nothing says the {name} of the clips of {clips.root}; give a "
                            "--pattern of their names such as '{label}_{speaker}_{take}.wav'")
    known = clips.classes("speaker")
    if len(known) < 3:
        raise DataError(f"the clips of {clips.root} are of {len(known)} speaker(s), and a search "
                        "needs three: to learn from, to search on, to test on; add clips, give "
                        "another --pattern, or search with --field speaker")
    if not test:
        test = [name for name in known if name not in search][-1:]
    if not search:
        search = [name for name in known if name not in test][-1:]
    return search, test


def _listed(speakers: Sequence[str]) -> str:
    return f"speaker{'s' if len(speakers) > 1 else ''} {', '.join(speakers)}"
