"""Teachers: which features they give, what padding does to them, and what they refuse."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hubert_nets import TOLERANCE, furthest, make_supernet, uniform_arch
from hubert_trainings import FilterTeacher, clips, tiny_config
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import HubertConfig, HubertModel, WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from nas.core.errors import DataError, InputError
from supernets.hubert.plain import PlainHubert
from supernets.hubert.presets import TINY
from supernets.hubert.teacher import HubertTeacher, Teacher, check_rates
from supernets.hubert.whisper import WhisperTeacher, open_whisper
from supernets.tasks.waves import normalised

SHIPPED = (Path(__file__).parents[4] / "shared" / "data" / "teachers"
           / "whisper_tiny_en_encoder_fp16.safetensors")
SIZES = {"d_model": 16, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 24,
         "num_mel_bins": 80}


def stock() -> HubertModel:
    net = make_supernet(tiny_config())
    return net.extract(uniform_arch(net, embed=12, heads=3, ratio=2.0, depth=4))


def plain_like(model: HubertModel) -> PlainHubert:
    net = make_supernet(tiny_config())
    plain = PlainHubert(net.config, net.plan(uniform_arch(net, embed=12, heads=3, ratio=2.0,
                                                          depth=4)))
    plain.load_state_dict(model.state_dict())
    return plain.eval()


def padded() -> tuple[Tensor, Tensor]:
    waves = clips(3)
    wave = torch.zeros(3, max(map(len, waves)))
    padding = torch.ones(wave.shape, dtype=torch.bool)
    for row, clip in enumerate(waves):
        wave[row, :len(clip)] = torch.from_numpy(clip)
        padding[row, :len(clip)] = False
    return wave, padding


def check_padding(teacher: Teacher) -> None:
    wave, padding = padded()
    together = teacher(wave, padding)
    for row, clip in enumerate(clips(3)):
        alone = teacher(torch.from_numpy(clip)[None])
        cut = [layer[row:row + 1, :alone[0].shape[1]] for layer in together]
        assert furthest(tuple(cut), tuple(alone)) <= TOLERANCE


# HuBERT

def test_features_are_what_the_last_ffns_add() -> None:
    model = plain_like(stock())
    (clip,) = clips(1)
    with torch.no_grad():
        states = model(torch.from_numpy(normalised(clip))[None],
                       output_hidden_states=True).hidden_states
        wanted = []
        for layer, before, after in zip(model.encoder.layers[-2:], states[-3:-1], states[-2:],
                                        strict=True):
            x = layer.layer_norm(before + layer.attention(before))
            wanted.append(layer.feed_forward(x))
            assert torch.allclose(layer.final_layer_norm(x + wanted[-1]), after, atol=1e-6)
    found = HubertTeacher(model, last=2)(torch.from_numpy(clip)[None])
    assert furthest(tuple(found), tuple(wanted)) <= TOLERANCE


def test_a_stock_and_a_plain_teacher_say_the_same() -> None:
    model = stock()
    stocks, plains = HubertTeacher(model, last=3), HubertTeacher(plain_like(model), last=3)
    found, wanted = stocks(*padded()), plains(*padded())
    assert furthest(tuple(found), tuple(wanted)) <= 10 * TOLERANCE
    assert len(found) == 3
    assert stocks.dim == plains.dim == 12 == found[0].shape[-1]
    assert stocks.samples_per_frame == plains.samples_per_frame == 320


def test_the_teacher_normalises_clips_unless_it_is_told_not_to() -> None:
    wave = torch.from_numpy(clips(1)[0])[None]
    model = stock()
    (even,), (above,) = (HubertTeacher(model, last=1)(wave + level) for level in (0.0, 0.5))
    assert torch.allclose(even, above, atol=1e-4)
    (even,), (above,) = (HubertTeacher(model, last=1, normalise=False)(wave + level)
                         for level in (0.0, 0.5))
    assert not torch.allclose(even, above, atol=1e-2)


def test_padding_changes_nothing_in_a_huberts_features() -> None:
    check_padding(HubertTeacher(stock(), last=2))


def test_group_norm_takes_no_padding() -> None:
    with torch.random.fork_rng():
        model = HubertModel(HubertConfig(hidden_size=16, num_hidden_layers=2, intermediate_size=16,
                                         num_attention_heads=2, conv_dim=(8,) * 7,
                                         num_conv_pos_embeddings=4,
                                         num_conv_pos_embedding_groups=2)).eval()
    teacher = HubertTeacher(model, last=2)
    assert len(teacher(torch.from_numpy(clips(1)[0])[None])) == 2
    with pytest.raises(InputError, match="group norm over time"):
        teacher(*padded())


def test_the_model_is_left_as_it_was() -> None:
    model = stock()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    HubertTeacher(model, last=2)(*padded())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_is_no_hubert_teacher() -> None:
    with pytest.raises(InputError, match=r"training mode; give it after \.eval"):
        HubertTeacher(stock().train())
    with pytest.raises(InputError, match="has 4 layers, of which the last 8"):
        HubertTeacher(stock())


def test_identity_knows_weights_and_settings() -> None:
    model = stock()
    names = {HubertTeacher(model, last=2).identity(), HubertTeacher(model, last=3).identity(),
             HubertTeacher(model, last=2, normalise=False).identity()}
    assert HubertTeacher(stock(), last=2).identity() in names
    with torch.no_grad():
        model.encoder.layer_norm.weight[0] += 1e-3
    names.add(HubertTeacher(model, last=2).identity())
    assert len(names) == 4


# Whisper

def whisper_file(path: Path, *, metadata: Any = None, drop: str = "") -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        state = WhisperEncoder(WhisperConfig(**SIZES, max_source_positions=100)).state_dict()
    state = {name: tensor.half() for name, tensor in state.items() if name != drop}
    config = " ".join(f"{name}={size}" for name, size in SIZES.items())
    save_file(state, path, metadata={"config": config} if metadata is None else metadata)
    return state


def open_tiny(path: Path, **settings: Any) -> WhisperTeacher:
    return open_whisper(path, **{"last": 2, "context_s": 2, **settings})


def test_whispers_features_are_its_layers_outputs(tmp_path: Path) -> None:
    state = whisper_file(tmp_path / "w.safetensors")
    teacher = open_tiny(tmp_path / "w.safetensors")
    (clip,) = clips(1)
    encoder = WhisperEncoder(WhisperConfig(**SIZES, max_source_positions=100)).eval()
    encoder.load_state_dict(state)
    mel = WhisperFeatureExtractor(chunk_length=2)(clip, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        x = nn.functional.gelu(encoder.conv1(mel.input_features))
        x = nn.functional.gelu(encoder.conv2(x)).transpose(1, 2) + encoder.embed_positions.weight
        wanted = [x := layer(x, None) for layer in encoder.layers]
        last = encoder(mel.input_features).last_hidden_state
        assert torch.allclose(encoder.layer_norm(x), last, atol=1e-6)
    found = teacher(torch.from_numpy(clip)[None])
    frames = len(clip) // 320
    assert furthest(tuple(found), tuple(layer[:, :frames] for layer in wanted[-2:])) <= TOLERANCE
    assert teacher.dim == 16


def test_padding_changes_nothing_in_whispers_features(tmp_path: Path) -> None:
    whisper_file(tmp_path / "w.safetensors")
    check_padding(open_tiny(tmp_path / "w.safetensors"))


def test_whispers_and_huberts_frames_differ_by_one_at_most() -> None:
    for samples in range(400, 32_400, 20):
        assert 0 <= samples // WhisperTeacher.samples_per_frame - TINY.frames(samples) <= 1


def test_clips_that_whisper_cannot_take(tmp_path: Path) -> None:
    whisper_file(tmp_path / "w.safetensors")
    teacher = open_tiny(tmp_path / "w.safetensors", context_s=1)
    with pytest.raises(InputError, match=r"lasts 1\.5 s, and the teacher hears 1 s"):
        teacher(torch.zeros(1, 24_000))
    with pytest.raises(InputError, match="300 samples is shorter than one frame"):
        teacher(torch.zeros(1, 300))


def test_files_that_are_no_whisper_encoders(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        open_tiny(path)
    whisper_file(path, metadata={})
    with pytest.raises(DataError, match='metadata must have config="d_model='):
        open_tiny(path)
    whisper_file(path, drop="embed_positions.weight")
    with pytest.raises(DataError, match=r"no embed_positions\.weight"):
        open_tiny(path)
    whisper_file(path, drop="layers.1.fc1.bias")
    with pytest.raises(DataError, match=r"does not fit a WhisperEncoder.*layers\.1\.fc1\.bias"):
        open_tiny(path)
    whisper_file(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        open_tiny(path)


def test_contexts_and_layers_that_a_whisper_has_not(tmp_path: Path) -> None:
    whisper_file(tmp_path / "w.safetensors")
    for wrong in (0, 3):
        with pytest.raises(InputError, match=f"context of {wrong} s is not within"):
            open_tiny(tmp_path / "w.safetensors", context_s=wrong)
    with pytest.raises(InputError, match="has 3 layers, of which the last 4"):
        open_tiny(tmp_path / "w.safetensors", last=4)


@pytest.mark.skipif(not SHIPPED.exists(), reason="needs ../shared/data/teachers")
def test_the_published_whisper_encoder() -> None:
    teacher = open_whisper(SHIPPED, last=2)
    time = torch.arange(8_000) / 16_000
    tones = torch.cat([torch.sin(2 * torch.pi * pitch * time) for pitch in (200, 1500)])
    found = teacher(0.3 * tones[None])
    assert [layer.shape for layer in found] == [(1, 50, 384)] * 2
    for (features,) in found:
        low, high = features[:25].mean(0), features[25:].mean(0)
        side = (features - (low + high) / 2) @ (high - low)  # which tone a frame is more like
        assert (side[:25] < 0).float().mean() > 0.9
        assert (side[25:] > 0).float().mean() > 0.9


# Frame rates

def test_another_frame_rate_is_refused_by_name() -> None:
    check_rates(tiny_config(), FilterTeacher())
    with pytest.raises(InputError, match="teacher has 100 frames a second, hubert-tiny/1 has 50"):
        check_rates(tiny_config(), FilterTeacher(hop=160))


def test_normalised_clips_have_mean_0_and_variance_1_and_silence_stays() -> None:
    found = normalised(3 + 0.1 * clips(1)[0])
    assert abs(found.mean()) < 1e-5
    assert abs(found.std() - 1) < 1e-4
    assert not normalised(np.zeros(500, np.float32)).any()
