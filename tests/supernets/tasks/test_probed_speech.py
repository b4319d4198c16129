"""The task of encoders that are searched on labelled clips."""

import json

import numpy as np
import pytest
import torch
from hubert_nets import make_supernet, random_archs
from hubert_trainings import tiny_config
from speech_folders import PATTERN, write_tones
from speech_supernets import DIM, SAMPLES, windows
from torch import Tensor, nn

from nas.core.errors import DataError
from nas.core.protocols import Task, export_inputs_of, quality_of, signature_of
from supernets.hubert.encoders import supernet_encoder, wave_encoder
from supernets.hubert.wave_supernet import WaveSupernet
from supernets.tasks.audio_clips import ClipSet, open_clips
from supernets.tasks.distillation import FeatureDistillation
from supernets.tasks.probed_speech import EXPORTED, FEWEST, ProbedSpeech
from supernets.tasks.speech import keyword_task
from supernets.tasks.speech_probe import pooled_features, probe
from supernets.tasks.waves import normalised

NET = WaveSupernet(make_supernet(tiny_config(), target_dim=DIM)).eval()
ARCH = random_archs(NET.net, 1)[0]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipSet:
    return open_clips(write_tones(tmp_path_factory.mktemp("tones"), takes=6), PATTERN)[0]


@pytest.fixture
def task(clips: ClipSet) -> ProbedSpeech:
    head = NET.net.prediction_head
    assert head is not None
    return ProbedSpeech(
        windows=FeatureDistillation(head_DE=head.weight.detach(),
                                    splits={"train_calib": windows(5, seed=0)}),
        clips=keyword_task(clips, search=["cat"], test=["dan"], seed=0, encoder=wave_encoder),
        held_out="searched on cat, tested on dan")


def test_networks_learn_of_windows_and_are_validated_on_clips(task: ProbedSpeech,
                                                              clips: ClipSet) -> None:
    protocol: Task = task
    (wave, features), = protocol.batches("train_calib")
    assert wave.shape == (5, SAMPLES)
    network = NET.extract(ARCH)
    assert torch.equal(task.loss(network(wave), features),
                       task.windows.loss(network(wave), features))
    wanted = probe(supernet_encoder(NET.net, ARCH), task.clips.training,
                   task.clips.splits["test"]).accuracy
    assert task.metrics(network, task.batches("test")) == {"error": pytest.approx(100 - wanted)}
    assert len(clips) == 72
    with pytest.raises(DataError, match="no split 'train'"):
        next(task.batches("train"))


def test_what_it_says_is_that_of_its_parts(task: ProbedSpeech) -> None:
    assert signature_of(task) == signature_of(task.windows)
    assert quality_of(task).error.endswith("in %; searched on cat, tested on dan")
    assert json.loads(task.onnx_metadata()["preprocessing"])["normalise"]
    longer = task.with_clips(2.0)
    assert (task.clip_seconds, longer.clip_seconds) == (0.5, 2.0)
    assert longer.example_inputs(2, np.random.default_rng(0)).shape == (2, 32_000)
    assert longer.identity == task.identity


def test_inputs_of_an_export_are_beginnings_of_the_longer_test_clips(task: ProbedSpeech) -> None:
    inputs, = export_inputs_of(task)
    tested = task.clips.splits["test"]
    order = np.argsort(-tested.samples, kind="stable")[:FEWEST]
    length = int(tested.samples[order].min())
    assert inputs.shape == (FEWEST, length)
    assert len(inputs) <= EXPORTED
    for row, place in zip(inputs.numpy(), sorted(order.tolist()), strict=True):
        np.testing.assert_array_equal(row, normalised(tested[place][:length]))
    assert inputs.dtype == torch.float32


def test_other_clips_or_roles_are_another_identity(task: ProbedSpeech, clips: ClipSet) -> None:
    def identity(search: str, test: str, some: ClipSet = clips) -> str:
        made = keyword_task(some, search=[search], test=[test], seed=0, encoder=wave_encoder)
        return ProbedSpeech(windows=task.windows, clips=made, held_out="").identity

    assert identity("cat", "dan") == task.identity
    others = {identity("dan", "cat"), identity("ben", "dan"), identity("cat", "dan", clips[:60])}
    assert len(others | {task.identity}) == 4


def test_an_exported_file_is_heard_clip_by_clip(clips: ClipSet) -> None:
    class Alone(nn.Module):
        def forward(self, wave_BS: Tensor) -> Tensor:
            assert len(wave_BS) == 1
            states: Tensor = network(wave_BS)
            return states

    network, some = NET.extract(ARCH), clips[:7]
    whole = pooled_features(wave_encoder(network), some)
    last = pooled_features(wave_encoder(Alone()), some)
    assert last.shape == (7, 1, whole.shape[2])
    torch.testing.assert_close(last[:, 0], whole[:, -1], rtol=0, atol=1e-5)
