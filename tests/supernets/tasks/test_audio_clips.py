"""Folders of clips: names, files that cannot be used, splits."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from speech_folders import PATTERN, PITCHES, SPEAKERS, write_tones

from nas.core.errors import DataError, InputError
from supernets.tasks.audio import Reading, read_wave
from supernets.tasks.audio_clips import ClipSet, open_clips
from supernets.tasks.audio_names import fields_of
from supernets.tasks.audio_splits import hold_out, hold_out_share

NOISE = np.random.default_rng(0).uniform(-1, 1, 400).astype(np.float32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipSet:
    found, unusable = open_clips(write_tones(tmp_path_factory.mktemp("tones")), PATTERN)
    assert unusable.lines() == ["all 36 files can be used"]
    return found


def test_clips_are_read_when_they_are_asked_for(clips: ClipSet) -> None:
    assert len(clips) == 36
    assert list(clips.files) == sorted(clips.files)
    for position in (0, 35, -1):
        wave = clips[position]
        assert len(wave) == clips.samples[position]
        np.testing.assert_array_equal(wave, read_wave(clips.root / clips.files[position]))
    with pytest.raises(IndexError):
        clips[36]
    assert [len(wave) for wave in clips[:3]] == clips.samples[:3].tolist()


def test_fields_follow_the_clips(clips: ClipSet) -> None:
    part = clips.take(np.array([7, 3]))
    for position, origin in enumerate((7, 3)):
        assert part.files[position] == clips.files[origin]
        label, speaker, _ = part.files[position].split("_")
        assert (part.field("label")[position], part.field("speaker")[position]) == (label, speaker)
    assert clips.classes("label") == ("high", "low", "mid")
    targets = clips.targets("label", ("mid", "low", "high"))
    assert [("mid", "low", "high")[t] for t in targets] == list(clips.field("label"))
    with pytest.raises(DataError, match=r"nothing says the mood .*\{mood\}"):
        clips.field("mood")
    with pytest.raises(DataError, match=r"label 'high' .* none of the 2 classes"):
        clips.targets("label", ("low", "mid"))


def test_a_fingerprint_tells_sets_apart(clips: ClipSet, tmp_path: Path) -> None:
    same = open_clips(write_tones(tmp_path), PATTERN, threads=3)[0]
    assert same.fingerprint() == clips.fingerprint()
    others = {part.fingerprint() for part in (clips, clips[1:], clips.take(np.arange(36)[::-1]))}
    assert len(others) == 3


@pytest.mark.parametrize(("pattern", "files", "fields"), [
    (None, ["a/x.wav", "b/c/x.wav"], {"label": ("a", "b")}),
    (None, ["x.wav", "y.wav"], {}),
    ("{label}_{speaker}_{i}", ["0_al_3.wav", "d/1_bo_2.flac"],
     {"label": ("0", "1"), "speaker": ("al", "bo"), "i": ("3", "2")}),
    ("{label}/{speaker}_nohash_{i}.wav", ["yes/0f_nohash_0.wav"],
     {"label": ("yes",), "speaker": ("0f",), "i": ("0",)}),
    ("{speaker}-{rest}.wav", ["a-b-c.wav"], {"speaker": ("a",), "rest": ("b-c",)}),
])
def test_names_say_what_the_pattern_says(pattern: str | None, files: list[str],
                                         fields: dict[str, tuple[str, ...]]) -> None:
    assert fields_of(files, pattern) == fields


@pytest.mark.parametrize("pattern", ["x.wav", "{a}{b}.wav", "{a}_{a}.wav", "", "{0}"])
def test_patterns_that_are_none(pattern: str) -> None:
    with pytest.raises(InputError, match="must have fields"):
        fields_of(["x.wav"], pattern)


def test_names_that_do_not_fit() -> None:
    with pytest.raises(DataError, match=r"1 of 2 files are not named as .* first z.wav"):
        fields_of(["a_b.wav", "z.wav"], "{label}_{speaker}.wav")
    with pytest.raises(DataError, match=r"y.wav lies in no sub-folder"):
        fields_of(["a/x.wav", "y.wav"])


def test_hidden_files_and_others_are_passed_over(tmp_path: Path) -> None:
    for name in ("a/x.wav", "a/.x.wav", ".trash/x.wav", "a/X.WAV"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, NOISE, 16_000)
    (tmp_path / "a" / "readme.txt").write_text("no audio")
    assert open_clips(tmp_path)[0].files == ("a/X.WAV", "a/x.wav")


def test_a_few_files_that_cannot_be_used_are_listed(tmp_path: Path) -> None:
    for index in range(200):
        soundfile.write(tmp_path / f"{index:03}.wav", NOISE, 16_000)
    (tmp_path / "007.wav").write_bytes(b"")
    (tmp_path / "100.wav").write_bytes(b"damaged")
    seen: list[tuple[int, int]] = []
    clips, unusable = open_clips(tmp_path, "{label}.wav",
                                 on_file=lambda *done: seen.append(done))
    assert seen == [(done, 200) for done in range(1, 201)]
    assert len(clips) == 198
    assert clips.samples.tolist() == [400] * 198
    assert not {"007", "100"} & set(clips.field("label"))
    count, *lines = unusable.lines()
    assert count == "2 of 200 files cannot be used and are left out"
    assert ["007.wav is empty" in lines[0], "100.wav cannot be read" in lines[1]] == [True, True]
    soundfile.write(tmp_path / "150.wav", NOISE[:300], 16_000)
    with pytest.raises(DataError, match=r"3 of 200 files .* more than 1%; the first: .*007.wav is"):
        open_clips(tmp_path)


def test_a_folder_of_another_rate_says_how_to_resample(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", NOISE, 8000)
    with pytest.raises(DataError, match=r"1 of 1 files .* 8000 Hz, not 16000; have clips resample"):
        open_clips(tmp_path)
    assert open_clips(tmp_path, reading=Reading(resample=True))[0].samples.tolist() == [800]


@pytest.mark.parametrize("made", [False, True])
def test_folders_without_audio(tmp_path: Path, made: bool) -> None:
    root = tmp_path / "x"
    if made:
        root.mkdir()
    with pytest.raises(DataError, match="holds no audio files" if made else "is no folder"):
        open_clips(root)


def test_speakers_are_held_out(clips: ClipSet) -> None:
    rest, held = hold_out(clips, ["ben", "dan"])
    assert (rest.classes("speaker"), held.classes("speaker")) == (("ann", "cat"), ("ben", "dan"))
    assert sorted(rest.files + held.files) == list(clips.files)
    with pytest.raises(DataError, match=r"no clip is of speaker 'eve'; .* has ann, ben, cat, dan"):
        hold_out(clips, ["ann", "eve"])
    with pytest.raises(DataError, match="no speaker is to be held out"):
        hold_out(clips, [])
    with pytest.raises(DataError, match=r"all clips .* would be held out"):
        hold_out(clips, list(SPEAKERS))


def test_a_share_of_every_class_is_held_out(clips: ClipSet) -> None:
    rng = np.random.default_rng
    rest, held = hold_out_share(clips, 0.25, rng(0), field="label")
    assert sorted(rest.files + held.files) == list(clips.files)
    assert [held.field("label").count(label) for label in PITCHES] == [3, 3, 3]
    assert hold_out_share(clips, 0.25, rng(0), field="label")[1].files == held.files
    assert hold_out_share(clips, 0.25, rng(1), field="label")[1].files != held.files
    with pytest.raises(DataError, match="label 'high' has 1 clips"):
        hold_out_share(clips[:1], 0.25, rng(0), field="label")
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(InputError, match="not between 0 and 1"):
            hold_out_share(clips, share, rng(0), field="label")
