"""Probes of frozen encoders, and the task that learns heads: tones, and spoken digits."""

import json
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hubert_nets import make_supernet, random_archs
from speech_folders import PATTERN, PITCHES, SPEAKERS, write_tones
from torch import Tensor, nn

from nas.core.errors import DataError, EvaluationError, InputError
from nas.core.protocols import Task
from supernets.hubert.encoders import hubert_encoder, supernet_encoder, whisper_encoder
from supernets.hubert.presets import TINY
from supernets.hubert.whisper import open_whisper
from supernets.tasks.audio import Reading
from supernets.tasks.audio_batches import PaddedWaves, padded
from supernets.tasks.audio_clips import ClipSet, open_clips
from supernets.tasks.audio_splits import hold_out
from supernets.tasks.speech import SpeechClassification, keyword_task, speaker_task
from supernets.tasks.speech_encoders import SpeechEncoder, log_mel_encoder
from supernets.tasks.speech_probe import (
    accuracy,
    fit_head,
    pooled_batch,
    pooled_features,
    probe,
)

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
DIGITS = SHARED / "speech" / "fsdd_recordings.tar.gz"
WHISPER = SHARED / "teachers" / "whisper_tiny_en_encoder_fp16.safetensors"

NET = make_supernet(TINY)
ARCHS = {"stock": NET.space.extreme(largest=True), "plain": random_archs(NET, 1)[0]}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipSet:
    return open_clips(write_tones(tmp_path_factory.mktemp("tones"), takes=4), PATTERN)[0]


def constant(states: Sequence[float], frames: Sequence[int]) -> SpeechEncoder:
    """Returns an encoder whose states are numbers, and infinite where there is padding."""
    keep_BT = torch.arange(max(frames)) < torch.tensor(frames)[:, None]

    def encode(_: Tensor, __: Tensor) -> tuple[list[Tensor], Tensor]:
        return [torch.where(keep_BT[..., None], torch.full((1, 1, 2), value), float("inf"))
                for value in states], keep_BT

    return encode


def test_states_are_averaged_over_frames_that_are_real() -> None:
    batch = padded([np.ones(5, np.float32), np.ones(3, np.float32)])
    pooled = pooled_batch(constant((1.0, -2.0), (4, 2)), batch)
    torch.testing.assert_close(pooled, torch.tensor([[[1.0, 1.0], [-2.0, -2.0]]] * 2))
    with pytest.raises(DataError, match="shorter than one frame"):
        pooled_batch(constant((1.0,), (4, 0)), batch)
    with pytest.raises(EvaluationError, match="not finite"):
        pooled_batch(constant((float("nan"),), (4, 2)), batch)


@pytest.mark.parametrize("kind", ARCHS)
def test_extracted_encoders_and_the_supernet_give_the_same_features(clips: ClipSet,
                                                                    kind: str) -> None:
    arch, some = ARCHS[kind], clips[:6]
    found = pooled_features(hubert_encoder(NET.extract(arch)), some)
    wanted = pooled_features(supernet_encoder(NET, arch), some)
    assert found.shape == (6, 1 + len(NET.plan(arch).layers), NET.plan(arch).embed)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    alone = torch.cat([pooled_features(supernet_encoder(NET, arch), some[i:i + 1])
                       for i in range(6)])
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-5)


def test_features_do_not_depend_on_the_batches(clips: ClipSet) -> None:
    encode, seen = log_mel_encoder(), []
    wanted = pooled_features(encode, clips)
    found = pooled_features(encode, clips, batch_seconds=0.4,
                            on_clip=lambda *done: seen.append(done))
    torch.testing.assert_close(found, wanted)
    assert seen[-1] == (len(clips), len(clips))
    assert len(seen) > 10
    with pytest.raises(DataError, match="no clips to encode"):
        pooled_features(encode, clips[:0])


def test_modules_that_are_no_encoder() -> None:
    with pytest.raises(InputError, match="a Linear is no HuBERT"):
        hubert_encoder(nn.Linear(2, 2))
    with pytest.raises(InputError, match="0 mel bands"):
        log_mel_encoder(bands=0)


def test_mel_bands_lie_where_the_tone_is() -> None:
    time = np.arange(8000) / 16_000
    peaks = []
    for pitch in (200.0, 1000.0, 4000.0):
        batch = padded([np.sin(2 * np.pi * pitch * time).astype(np.float32)])
        (state,), keep = log_mel_encoder(bands=20)(batch.wave_BS, batch.padding_mask_BS)
        assert state.shape == (1, 24, 40)
        assert keep.all()
        peaks.append(int(state[0, :, :20].mean(0).argmax()))
    mel = [2595 * np.log10(1 + pitch / 700) / (2840.02 / 21) - 1 for pitch in (200, 1000, 4000)]
    np.testing.assert_allclose(peaks, mel, atol=0.6)


def test_mel_statistics_are_mean_and_deviation_of_the_clip_alone(clips: ClipSet) -> None:
    encode, wave = log_mel_encoder(bands=20), clips[0]
    alone = padded([wave])
    (state,), _ = encode(alone.wave_BS, alone.padding_mask_BS)
    bands = state[0, :, :20]
    wanted = torch.cat([bands.mean(0), bands.std(0, correction=0)])
    found = pooled_batch(encode, padded([wave, np.tile(wave, 2)]))[0, 0]
    torch.testing.assert_close(found, wanted)


def separable(seed: int, count: int = 90) -> tuple[Tensor, np.ndarray]:
    """Returns features (N, 3, 4) whose second state alone tells the classes."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, count)
    x = rng.standard_normal((count, 3, 4)).astype(np.float32)
    x[:, 1] = 0.5 * x[:, 1] + 100 + 40 * np.eye(3, 4, dtype=np.float32)[targets]
    return torch.from_numpy(x), targets


def test_a_head_finds_the_layer_that_knows() -> None:
    x, targets = separable(0)
    head = fit_head(x, targets, classes=3)
    assert accuracy(head, *separable(1)) == 100.0
    assert float(head.layers_L.sum()) == pytest.approx(1.0)
    assert int(head.layers_L.argmax()) == 1
    assert float(head.layers_L[1]) > 0.6
    again = fit_head(x, targets, classes=3)
    assert torch.equal(head.weight_KE, again.weight_KE)
    logits = head.logits(x)
    assert logits.shape == (90, 3)
    assert not logits.requires_grad


def test_a_head_is_where_the_gradient_is_none() -> None:
    x, targets = separable(2)
    x += 3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    head = fit_head(x, targets, classes=3)
    weight, bias = head.weight_KE.requires_grad_(), head.bias_K.requires_grad_()
    loss = nn.functional.cross_entropy(head.logits(x), torch.from_numpy(targets))
    (loss + 0.5e-3 * weight.square().sum()).backward()
    assert float(weight.grad.abs().max()) < 1e-3
    assert float(bias.grad.abs().max()) < 1e-3


def test_heads_need_clips_and_classes() -> None:
    x, targets = separable(0)
    with pytest.raises(DataError, match="two classes at least"):
        fit_head(x, targets * 0, classes=1)
    with pytest.raises(DataError, match=r"89 targets .* for 90 clips"):
        fit_head(x, targets[1:], classes=3)
    with pytest.raises(DataError, match="no clips to classify"):
        accuracy(fit_head(x, targets, classes=3), x[:0], targets[:0])


def test_tones_are_told_apart_for_speakers_that_were_held_out(clips: ClipSet) -> None:
    training, held_out = hold_out(clips, ["cat"])
    seen: list[tuple[int, int]] = []
    for encode in (log_mel_encoder(), supernet_encoder(NET, ARCHS["plain"])):
        found = probe(encode, training, held_out, on_clip=lambda *done: seen.append(done))
        assert found.accuracy >= 90.0
        assert found.classes == ("high", "low", "mid")
        assert sum(found.layer_weights) == pytest.approx(1.0)
    assert seen[-1] == (48, 48)
    with pytest.raises(DataError, match=r"speaker 'cat' .* none of the 3 classes"):
        probe(log_mel_encoder(), training, held_out, field="speaker")


def quality(task: SpeechClassification, split: str) -> float:
    """Returns the error of mel bands, which know tones better than random weights do."""
    mel = replace(task, encoder=lambda _: log_mel_encoder())
    return mel.metrics(nn.Identity(), task.batches(split))["error"]


def test_the_task_of_what_is_said(clips: ClipSet) -> None:
    task = keyword_task(clips, search=["ben"], test=["cat"], seed=0, batch_seconds=0.7,
                        encoder=hubert_encoder)
    protocol: Task = task
    assert protocol.labels == tuple(sorted(PITCHES))
    assert {split: part.classes("speaker") for split, part in task.splits.items()} == {
        "search": ("ben",), "test": ("cat",), "train_calib": task.splits["train_calib"].classes(
            "speaker")}
    assert set(task.splits["train_calib"].files) <= set(task.training.files)
    assert task.training.classes("speaker") == ("ann", "dan")
    assert quality(task, "search") <= 10.0
    arch = ARCHS["plain"]
    wanted = probe(supernet_encoder(NET, arch), task.training, task.splits["test"]).accuracy
    found = task.metrics(NET.extract(arch), task.batches("test"))
    assert found == {"error": pytest.approx(100 - wanted)}


def test_the_task_of_who_speaks(clips: ClipSet) -> None:
    task = speaker_task(clips, seed=0, encoder=hubert_encoder, share=0.25)
    assert task.labels == tuple(SPEAKERS)
    parts = [task.training, task.splits["search"], task.splits["test"]]
    assert sorted(file for part in parts for file in part.files) == list(clips.files)
    assert all(part.classes("speaker") == task.labels for part in parts)
    assert quality(task, "test") <= 25.0
    again, other = (speaker_task(clips, seed=seed, encoder=hubert_encoder, share=0.25)
                    for seed in (0, 1))
    assert again.splits["test"].files == parts[2].files
    assert other.splits["test"].files != parts[2].files


def test_batches_of_a_task(clips: ClipSet) -> None:
    task = keyword_task(clips, search=["ben"], test=["cat"], seed=0, batch_seconds=0.7,
                        encoder=hubert_encoder)
    batches = list(task.batches("test"))
    assert len(batches) > 1
    for waves, targets in batches:
        assert isinstance(waves, PaddedWaves)
        assert len(waves) == len(targets)
        assert targets.dtype == torch.int64
    assert sum(len(targets) for _, targets in batches) == 12
    again = list(task.batches("test"))
    assert all(torch.equal(a.wave_BS, b.wave_BS) and torch.equal(s, t)
               for (a, s), (b, t) in zip(batches, again, strict=True))
    with pytest.raises(DataError, match="no split 'train'; it has train_calib, search, test"):
        next(task.batches("train"))
    with pytest.raises(DataError, match="validation got no batches"):
        task.metrics(NET.extract(ARCHS["plain"]), [])


def test_what_a_task_says_of_itself(clips: ClipSet) -> None:
    task = keyword_task(clips, search=["ben"], test=["cat"], seed=0, normalise=False,
                        encoder=hubert_encoder)
    said = json.loads(task.onnx_metadata()["preprocessing"])
    assert (said["sample_rate"], said["channels"], said["normalise"]) == (16_000, 1, False)
    rng = np.random.default_rng
    x = task.example_inputs(2, rng(0))
    assert x.shape == (2, 16_000)
    assert torch.equal(x, task.example_inputs(2, rng(0)))
    assert float(task.loss(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]))) == pytest.approx(
        np.log(3))


def test_tasks_that_cannot_be(clips: ClipSet) -> None:
    with pytest.raises(DataError, match="speaker 'ben' is in search and in test"):
        keyword_task(clips, search=["ben"], test=["cat", "ben"], seed=0,
                     encoder=hubert_encoder)
    with pytest.raises(DataError, match="no clip is of speaker 'eve'"):
        keyword_task(clips, search=["eve"], test=["cat"], seed=0, encoder=hubert_encoder)
    with pytest.raises(DataError, match="split 'train' is none of"):
        SpeechClassification(labels=("low",), by="label", training=clips,
                             encoder=hubert_encoder, splits={"train": clips})
    with pytest.raises(DataError, match=r"'high' .* none of the 1 classes"):
        SpeechClassification(labels=("low",), by="label", training=clips,
                             encoder=hubert_encoder, splits={})


def whisper_layer_3() -> SpeechEncoder:
    encode = whisper_encoder(open_whisper(WHISPER, last=2, context_s=3))

    def first(wave_BS: Tensor, padding_mask_BS: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        states, keep_BT = encode(wave_BS, padding_mask_BS)
        return states[:1], keep_BT

    return first


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ClipSet:
    """The first 12 takes of every digit and speaker."""
    if not (DIGITS.is_file() and WHISPER.is_file()):
        pytest.skip("needs the spoken digits and Whisper's encoder in ../shared/data")
    root = tmp_path_factory.mktemp("digits")
    with tarfile.open(DIGITS) as archive:
        archive.extractall(root, filter="data", members=[
            member for member in archive.getmembers()
            if member.name.endswith(tuple(f"_{take}.wav" for take in range(12)))])
    return open_clips(root, "{label}_{speaker}_{take}.wav", reading=Reading(resample=True))[0]


@pytest.mark.slow
def test_whisper_knows_digits_of_speakers_that_were_held_out(digits: ClipSet) -> None:
    assert len(digits) == 720
    training, held_out = hold_out(digits, ["theo", "lucas"])
    mel = probe(log_mel_encoder(), training, held_out, normalise=False)
    whisper = probe(whisper_layer_3(), training, held_out, normalise=False)
    assert whisper.accuracy >= 95.0  # 98.8 on all 3,000 clips
    assert mel.accuracy + 15.0 <= whisper.accuracy
