import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from var_nets import SMALL, random_tokens, small_net, small_vae, teacher_forced

from nas.core.arch import Arch, make_arch
from nas.core.errors import ArchError, InputError
from supernets.var.config import VarConfig
from supernets.var.layers import Block
from supernets.var.presets import D16, D20, D24, D30, FMNIST
from supernets.var.space import build_space, full_arch, variant_arch
from supernets.var.supernet import TeacherForced, VarSupernet

VAE = small_vae()
IMAGES = teacher_forced(VAE, random_tokens(VAE, 4), classes=SMALL.classes)


def _norm(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def _attended(block: Block, config: VarConfig, x: Tensor, levels: list[int]) -> Tensor:
    # Of one image, (T, C), token by token.
    attn, heads, width = block.attn, config.heads, config.head_dim
    q, k, v = (x @ attn.mat_qkv.weight.T).split(config.width, -1)
    q, v = q + attn.q_bias, v + attn.v_bias
    out = torch.zeros_like(x)
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        for t, level in enumerate(levels):
            seen = [s for s, other in enumerate(levels) if other <= level]
            if attn.scale_mul_1H11 is not None:
                scale = math.exp(min(float(attn.scale_mul_1H11[0, h]), math.log(100)))
                unit = k[seen, part] / k[seen, part].norm(dim=-1, keepdim=True)
                scores = unit @ (q[t, part] / q[t, part].norm()) * scale
            else:
                scores = k[seen, part] @ q[t, part] * 0.25 / width**0.5
            out[t, part] = scores.softmax(0) @ v[seen, part]
    return out @ attn.proj.weight.T + attn.proj.bias


def _by_the_formulas(net: VarSupernet, images: TeacherForced, arch: Arch) -> Tensor:
    config, found = net.config, []
    lengths = net.plan(arch).lengths
    levels = [level for level, side in enumerate(config.patch_nums) for _ in range(side**2)]
    for inputs, label in zip(images.inputs_BTE, images.labels_B, strict=True):
        y = net.class_emb.weight[label]
        x = torch.cat((y + net.pos_start[0], net.word_embed(inputs)))
        x = x + net.pos_1LC[0] + net.lvl_embed.weight[levels]
        for index, block in enumerate(net.blocks):
            assert isinstance(block, Block)
            if block.ada_gss is not None:
                projection = net.shared_ada_lin.get_parameter("1.weight")
                six = (projection @ F.silu(y) + net.shared_ada_lin.get_parameter("1.bias")
                       ).view(6, -1) + block.ada_gss[0, 0]
            else:
                assert block.ada_lin is not None
                six = block.ada_lin(y).view(6, -1)
            gates, scales, shifts = six[:2], six[2:4], six[4:]
            n = lengths[index]
            part = x[:n] + gates[0] * _attended(
                block, config, _norm(x[:n]) * (1 + scales[0]) + shifts[0], levels[:n])
            inner = (_norm(part) * (1 + scales[1]) + shifts[1]) @ block.ffn.fc1.weight.T
            inner = F.gelu(inner + block.ffn.fc1.bias, approximate="tanh")
            part = part + gates[1] * (inner @ block.ffn.fc2.weight.T + block.ffn.fc2.bias)
            x = torch.cat((part, x[n:]))
        scale, shift = net.head_nm.ada_lin(y).chunk(2)
        found.append(net.head(_norm(x) * (1 + scale) + shift))
    return torch.stack(found)


@pytest.mark.parametrize("l2_norm", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_forward_is_what_the_formulas_say(shared: bool, l2_norm: bool) -> None:
    net = small_net(replace(SMALL, depth=5, depths=(2, 3), shared_adaln=shared,
                            attn_l2_norm=l2_norm)).double()
    images = TeacherForced(IMAGES.inputs_BTE[:2].double(), IMAGES.labels_B[:2])
    genes = {"bridge": 1, "scale2.depth": 3, "scale3.depth": 3, "scale4.depth": 2}
    for arch in (full_arch(net.config), make_arch(net.space, genes)):
        with torch.no_grad():
            expected = _by_the_formulas(net, images, arch).float()
            torch.testing.assert_close(net(images, arch), expected, rtol=1e-5, atol=1e-5)


def test_a_large_query_scale_stops_at_100() -> None:
    net = small_net()
    arch = full_arch(SMALL)
    outputs = []
    for scale in (100.0, 1000.0):
        for block in net.blocks:
            assert isinstance(block, Block)
            assert block.attn.scale_mul_1H11 is not None
            block.attn.scale_mul_1H11.data.fill_(math.log(scale))
        outputs.append(net(IMAGES, arch))
    assert torch.equal(*outputs)


def test_tokens_see_their_own_and_coarser_scales_alone() -> None:
    net, arch = small_net(), variant_arch(SMALL, bridge=2, depth=4)
    changed = IMAGES.inputs_BTE.clone()
    changed[:, 4:13] += 1.0  # of scale 3
    a, b = net(IMAGES, arch), net(replace(IMAGES, inputs_BTE=changed), arch)
    assert torch.equal(a[:, :5], b[:, :5])
    assert bool((a[:, 5:] != b[:, 5:]).any(-1).all())


def test_evaluation_keeps_labels_and_draws_nothing() -> None:
    net, arch = small_net(replace(SMALL, cond_drop=0.999)), full_arch(SMALL)
    state = torch.get_rng_state()
    logits = net(IMAGES, arch)
    assert torch.equal(torch.get_rng_state(), state)
    alike = net(replace(IMAGES, labels_B=torch.full((4,), 1)), arch)
    assert torch.equal(logits[1], alike[1])
    assert not torch.allclose(logits[0], alike[0], atol=1e-3)


def test_training_drops_labels_and_branches_by_the_generator_given() -> None:
    config = replace(SMALL, cond_drop=0.999, drop_path=0.0)
    net, arch = small_net(config), full_arch(SMALL)
    without = net(replace(IMAGES, labels_B=torch.full((4,), 3)), arch)
    assert torch.equal(net.train()(IMAGES, arch, generator=_rng(0)), without)

    deep = small_net(replace(SMALL, cond_drop=0.0, drop_path=0.5)).train()
    first = deep(IMAGES, arch, generator=_rng(1))
    assert torch.equal(deep(IMAGES, arch, generator=_rng(1)), first)
    assert not torch.equal(deep(IMAGES, arch, generator=_rng(2)), first)


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_switching_depth_copies_nothing_and_comes_back() -> None:
    net = small_net()
    pointers = {name: tensor.data_ptr() for name, tensor in net.state_dict().items()}
    first, between, again = (net(IMAGES, variant_arch(SMALL, bridge=2, depth=depth))
                             for depth in (2, 8, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first[:, 5:], between[:, 5:], atol=1e-3)
    torch.testing.assert_close(first[:, :5], between[:, :5])
    assert {name: tensor.data_ptr() for name, tensor in net.state_dict().items()} == pointers


def test_an_extracted_subnet_owns_its_weights() -> None:
    net, arch = small_net(), variant_arch(SMALL, bridge=2, depth=4)
    expected = net(IMAGES, arch)
    extracted = net.extract(arch)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert torch.equal(extracted(IMAGES), expected)


def test_loss_reaches_every_weight_of_the_layers_that_run() -> None:
    net = small_net()
    net(IMAGES, variant_arch(SMALL, bridge=1, depth=2)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


@pytest.mark.parametrize(("config", "params"), [
    (D16, 310_283_520), (D20, 600_917_136), (D24, 1_033_399_360), (D30, 2_010_020_356),
    (FMNIST, 1_928_528)])
def test_parameters_are_the_published_ones(config: VarConfig, params: int) -> None:
    with torch.device("meta"):
        net = VarSupernet(config)
    assert sum(parameter.numel() for parameter in net.parameters()) == params


@pytest.mark.parametrize("shared", [True, False])
def test_weights_start_as_vars_do(shared: bool) -> None:
    config = replace(SMALL, width=64, head_dim=16, vocabulary=500, shared_adaln=shared)
    net = VarSupernet(config, generator=_rng(0))
    std = (1 / (3 * 64))**0.5
    block = net.blocks[4]
    assert isinstance(block, Block)
    expected = {net.word_embed.weight: std, net.pos_1LC: std, block.attn.mat_qkv.weight: std,
                net.head.weight: 0.02 * std, net.head_nm.get_parameter("ada_lin.1.weight"): std / 2,
                block.attn.proj.weight: std / 18**0.5, block.ffn.fc2.weight: std / 18**0.5}
    if block.ada_gss is not None:
        expected |= {block.ada_gss[:, :, :2]: 1e-5 / 8, block.ada_gss[:, :, 2:]: 0.5 / 8}
    else:
        rows = block.get_parameter("ada_lin.1.weight")
        expected |= {rows[:128]: 1e-5 * std, rows[128:]: 0.5 * std}
    for weight, deviation in expected.items():
        assert float(weight.detach().std()) == pytest.approx(deviation, rel=0.25)
    assert not any(bool(parameter.any()) for name, parameter in net.named_parameters()
                   if name.endswith("bias"))


@pytest.mark.parametrize(("images", "message"), [
    (replace(IMAGES, labels_B=torch.tensor([0, 1, 2, 4])), "class is outside 0 … 2"),
    (replace(IMAGES, labels_B=torch.tensor([0, 1, -1, 2])), "class is outside 0 … 2"),
    (replace(IMAGES, labels_B=IMAGES.labels_B.float()), "int64"),
    (replace(IMAGES, inputs_BTE=IMAGES.inputs_BTE[:, 1:]), "teacher_inputs")])
def test_images_that_do_not_fit(images: TeacherForced, message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_net()(images, full_arch(SMALL))


def test_an_architecture_of_another_space() -> None:
    with pytest.raises(ArchError, match="not 'small/1'"):
        small_net()(IMAGES, build_space(FMNIST).extreme(largest=True))
