from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from var_nets import SMALL, SMALL_VAE, random_tokens, small_net, small_vae, teacher_forced

from nas.core.errors import DataError, InputError
from supernets.var.checkpoints import load_vae, load_var, save_vae, save_var
from supernets.var.presets import D16, FMNIST, VAE_256
from supernets.var.space import variant_arch
from supernets.var.supernet import VarSupernet
from supernets.var.vae import MultiScaleVqvae

# The names in a file of VAR's code (of its d16, and of its VQVAE), but for numbers of layers.
BLOCK = ("attn.scale_mul_1H11", "attn.q_bias", "attn.v_bias", "attn.zero_k_bias",
         "attn.mat_qkv.weight", "attn.proj.weight", "attn.proj.bias", "ffn.fc1.weight",
         "ffn.fc1.bias", "ffn.fc2.weight", "ffn.fc2.bias")
OUTSIDE = {"pos_start", "pos_1LC", "lvl_1L", "attn_bias_for_masking", "word_embed.weight",
           "word_embed.bias", "class_emb.weight", "lvl_embed.weight", "head_nm.ada_lin.1.weight",
           "head_nm.ada_lin.1.bias", "head.weight", "head.bias"}
VAE_NAMES = {
    "encoder.conv_in.weight", "encoder.down.0.block.1.norm1.weight",
    "encoder.down.2.block.0.nin_shortcut.bias", "encoder.down.3.downsample.conv.weight",
    "encoder.down.4.attn.1.proj_out.weight", "encoder.mid.block_1.conv2.weight",
    "encoder.mid.attn_1.qkv.weight", "encoder.norm_out.weight", "encoder.conv_out.bias",
    "decoder.up.4.block.2.conv1.weight", "decoder.up.4.attn.2.norm.bias",
    "decoder.up.1.upsample.conv.weight", "decoder.up.0.block.2.norm2.weight",
    "decoder.mid.block_2.conv1.bias", "quantize.embedding.weight",
    "quantize.quant_resi.qresi_ls.3.weight", "quant_conv.weight", "post_quant_conv.bias"}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("layout", ["weights", "trainer"])
def test_a_transformer_survives_its_file(tmp_path: Path, shared: bool, layout: Any) -> None:
    config = replace(SMALL, shared_adaln=shared)
    net, path = small_net(config), tmp_path / "var.pth"
    save_var(net, path, layout)
    content = torch.load(path, weights_only=True)
    state = content if layout == "weights" else content["trainer"]["var_wo_ddp"]
    adaln = ("ada_gss",) if shared else ("ada_lin.1.weight", "ada_lin.1.bias")
    outside = {"shared_ada_lin.1.weight", "shared_ada_lin.1.bias"} if shared else set()
    assert set(state) == OUTSIDE | outside | {f"blocks.{layer}.{name}" for layer in range(9)
                                              for name in BLOCK + adaln}
    assert state["lvl_1L"].tolist() == [[0] + [1] * 4 + [2] * 9 + [3] * 16]
    mask = state["attn_bias_for_masking"]
    assert mask.shape == (1, 1, 30, 30)
    assert mask[0, 0, 2, :6].tolist() == [0.0] * 5 + [-torch.inf]

    again, arch = load_var(path, config), variant_arch(config, bridge=2, depth=4)
    images = teacher_forced(small_vae(), random_tokens(small_vae(), 2), classes=3)
    assert torch.equal(again(images, arch), net(images, arch))
    assert not again.training
    assert all(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize("layout", ["weights", "trainer"])
def test_a_vqvae_survives_its_file(tmp_path: Path, layout: Any) -> None:
    net, path = small_vae(), tmp_path / "vae.pth"
    save_vae(net, path, layout)
    again, images = load_vae(path, SMALL_VAE), torch.rand(2, 1, 24, 24)
    assert torch.equal(again(images).images, net(images).images)


def test_names_of_the_vqvae_are_the_published_ones() -> None:
    with torch.device("meta"):
        state = MultiScaleVqvae(VAE_256).state_dict()
    assert set(state) >= VAE_NAMES
    assert len(state) == 323
    assert state["quantize.embedding.weight"].shape == (4096, 32)
    assert state["decoder.conv_in.weight"].shape == (640, 32, 3, 3)
    assert sum(tensor.numel() for tensor in state.values()) == 108_948_355


def test_published_names_without_constants_and_safetensors_are_accepted(tmp_path: Path) -> None:
    net = small_net()
    save_file(net.state_dict(), tmp_path / "var.safetensors")
    again = load_var(tmp_path / "var.safetensors", SMALL)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


def test_presets_are_recognised(tmp_path: Path) -> None:
    net = VarSupernet(FMNIST)
    save_var(net, tmp_path / "var.pth")
    assert load_var(tmp_path / "var.pth").config == FMNIST
    save_var(small_net(), tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"fits none of var-d16.*\(9, 30, 16\)"):
        load_var(tmp_path / "other.pth")


State = dict[str, Tensor]


def _without_a_name(state: State) -> None:
    del state["head.bias"]


def _with_another_name(state: State) -> None:
    state["head.scale"] = torch.zeros(1)


def _with_a_nan(state: State) -> None:
    state["pos_start"] = torch.full_like(state["pos_start"], torch.nan)


@pytest.mark.parametrize(("change", "message"), [
    (_without_a_name, r"1 tensors are missing \(head.bias\)"),
    (_with_another_name, r"1 tensors are unexpected \(head.scale\)"),
    (_with_a_nan, "not finite, the first pos_start")])
def test_damaged_weights(tmp_path: Path, change: Callable[[State], None], message: str) -> None:
    state = dict(small_net().state_dict())
    change(state)
    torch.save(state, tmp_path / "var.pth")
    with pytest.raises(DataError, match=message):
        load_var(tmp_path / "var.pth", SMALL)


@pytest.mark.parametrize(("config", "message"), [
    (D16, "has 9 layers and var-d16/1 16"),
    (replace(SMALL, patch_nums=(1, 5, 6, 7)), r"patch numbers \(1, 2, 3, 4\)"),
    (replace(SMALL, vocabulary=25), "of another shape")])
def test_checkpoints_of_another_configuration(tmp_path: Path, config: Any, message: str) -> None:
    save_var(small_net(), tmp_path / "var.pth")
    with pytest.raises(DataError, match=message):
        load_var(tmp_path / "var.pth", config)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    with pytest.raises(DataError, match="does not exist"):
        load_var(path, SMALL)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match="cannot be read"):
        load_var(path, SMALL)
    torch.save([1, 2], path)
    with pytest.raises(DataError, match="does not hold weights by name"):
        load_var(path, SMALL)
    save_vae(small_vae(), path, "trainer")
    with pytest.raises(DataError, match="has no trainer/var_wo_ddp"):
        load_var(path, SMALL)
    with pytest.raises(DataError, match="of another shape"):
        load_vae(path, replace(SMALL_VAE, vocabulary=25))
