from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from var_nets import SMALL, random_tokens, small_net, small_vae, teacher_forced

from nas.core.arch import Arch, make_arch
from nas.core.errors import ArchError, InputError, SpaceError
from supernets.var.cache import layouts
from supernets.var.decoding import CachedDecoder
from supernets.var.generate import generate
from supernets.var.memory import kv_bytes, layer_tokens
from supernets.var.presets import FMNIST
from supernets.var.sampling import Sampling, drawn, filtered, image_uniforms
from supernets.var.space import build_space, full_arch, plan, variant_arch
from supernets.var.supernet import TeacherForced, VarSupernet

VAE = small_vae()
IMAGES = teacher_forced(VAE, random_tokens(VAE, 3), classes=SMALL.classes)
SPACE = build_space(SMALL)
FALLING = make_arch(SPACE, {"bridge": 1, "scale2.depth": 8, "scale3.depth": 4, "scale4.depth": 2})
ARCHS = [full_arch(SMALL), FALLING,
         *(variant_arch(SMALL, bridge=bridge, depth=depth)
           for bridge, depth in ((1, 2), (1, 8), (2, 4), (3, 2), (3, 8)))]
LABELS = torch.tensor([0, 1, 2])
SAMPLING = Sampling(guidance=2.0, top_k=9, top_p=0.9)


def _cached(net: VarSupernet, arch: Arch, images: TeacherForced = IMAGES, *, freed: bool = True,
            key_dtype: torch.dtype | None = None) -> tuple[Tensor, int]:
    decoder = CachedDecoder(net, images.labels_B, arch, freed=freed, key_dtype=key_dtype)
    logits = [decoder.step()]
    for scale in range(1, SMALL.scales):
        ends = [end - SMALL.ends[0] for end in SMALL.ends[scale - 1:scale + 1]]
        logits.append(decoder.step(images.inputs_BTE[:, slice(*ends)]))
    return torch.cat(logits, 1), decoder.kv_bytes


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("arch", ARCHS, ids=range(len(ARCHS)))
def test_cached_logits_are_the_teacher_forced_ones(arch: Arch, shared: bool) -> None:
    net = small_net(replace(SMALL, shared_adaln=shared))
    found = plan(SMALL, arch)
    with torch.no_grad():
        expected = net(IMAGES, arch)
    outputs = []
    for freed in (False, True):
        logits, measured = _cached(net, arch, freed=freed)
        assert measured == kv_bytes(SMALL, found, images=3, key_bytes=4, value_bytes=4,
                                    guided=False, freed=freed)
        assert float((logits - expected).abs().max()) <= 1e-5
        outputs.append(logits)
    assert torch.equal(*outputs)


def test_bytes_of_variants_are_the_papers_formula() -> None:
    for bridge, depth in ((1, 2), (1, 8), (2, 4), (3, 2), (3, 8)):
        found = plan(SMALL, variant_arch(SMALL, bridge=bridge, depth=depth))
        ahead, whole = SMALL.ends[bridge - 1], SMALL.tokens
        assert layer_tokens(found, freed=False) == 9 * ahead + depth * (whole - ahead)
        assert layer_tokens(found, freed=True) == max(9 * ahead, depth * whole)


def test_layers_move_both_ways_within_the_buffer() -> None:
    # The claim that in-place moves are exercised: some run moves forwards and some backwards.
    ways = set()
    for arch in ARCHS:
        steps = layouts(plan(SMALL, arch), freed=True)
        for before, after in pairwise(steps):
            ways |= {np.sign(after.offsets[layer] - before.offsets[layer])
                     for layer in after.offsets}
    assert {-1, 1} <= ways


def test_keys_in_16_bits_take_half_and_change_little() -> None:
    net, arch = small_net(), variant_arch(SMALL, bridge=2, depth=4)
    whole, whole_bytes = _cached(net, arch)
    half, half_bytes = _cached(net, arch, key_dtype=torch.bfloat16)
    assert half_bytes * 4 == whole_bytes * 3
    assert 0 < float((half - whole).abs().max()) < 0.3


def test_depth_cannot_rise_in_mid_image() -> None:
    net = small_net()
    deep, low = (variant_arch(SMALL, bridge=1, depth=depth) for depth in (8, 2))
    decoder = CachedDecoder(net, IMAGES.labels_B, low)
    decoder.step()
    with pytest.raises(ArchError, match=r"scale 2 would run layer 1, .* mid-image; start a new"):
        decoder.lower(deep)
    # I_2 of all layers lies within I_8, so that this one can fall.
    mixed = make_arch(SPACE, {"bridge": 1, "scale2.depth": 8, "scale3.depth": 8,
                              "scale4.depth": 2})
    decoder = CachedDecoder(net, IMAGES.labels_B, deep)
    logits = [decoder.step(), decoder.step(IMAGES.inputs_BTE[:, :4])]
    decoder.lower(mixed)
    logits += [decoder.step(IMAGES.inputs_BTE[:, 4:13]), decoder.step(IMAGES.inputs_BTE[:, 13:])]
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(logits, 1), net(IMAGES, mixed), rtol=0, atol=1e-5)


def test_steps_that_do_not_fit() -> None:
    decoder = CachedDecoder(small_net(), IMAGES.labels_B, full_arch(SMALL))
    with pytest.raises(InputError, match="scale 1 reads inputs None"):
        decoder.step(IMAGES.inputs_BTE[:, :4])
    decoder.step()
    with pytest.raises(InputError, match=r"scale 2 reads inputs \(3, 4, 4\), not None"):
        decoder.step()
    for begin, end in ((0, 4), (4, 13), (13, 29)):
        decoder.step(IMAGES.inputs_BTE[:, begin:end])
    with pytest.raises(InputError, match="all 4 scales are made"):
        decoder.step()


def _allowed(logits: Tensor, top_k: int, top_p: float) -> set[int]:
    # Of one token's logits, in plain arithmetic.
    order = sorted(range(len(logits)), key=lambda code: float(logits[code]))
    if top_k:
        order = order[-top_k:]
    weights = np.exp(np.array([float(logits[code]) for code in order]))
    below = np.cumsum(weights / weights.sum())
    return {code for place, code in enumerate(order)
            if not top_p or below[place] > 1 - top_p or place == len(order) - 1}


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.0), (5, 0.0), (0, 0.7), (7, 0.5), (1, 1.0),
                                              (0, 1e-9), (24, 0.96)])
def test_top_k_and_top_p_allow_exactly_the_right_codes(top_k: int, top_p: float) -> None:
    logits = 2 * torch.randn(3, 5, 24, generator=torch.Generator().manual_seed(0)).double()
    found = filtered(logits, top_k=top_k, top_p=top_p)
    for before, after in zip(logits.view(-1, 24), found.view(-1, 24), strict=True):
        allowed = _allowed(before, top_k, top_p)
        assert set(after.isfinite().nonzero().flatten().tolist()) == allowed
        assert torch.equal(after[list(allowed)], before[list(allowed)])


def test_codes_at_the_very_edge() -> None:
    alike = torch.zeros(1, 1, 4)  # sums of 1/4, 1/2, 3/4 and 1, all exact
    kept = [int(filtered(alike, top_k=0, top_p=top_p).isfinite().sum())
            for top_p in (0.25, 0.5, 0.51, 1.0)]
    assert kept == [1, 2, 3, 4]
    tied = torch.tensor([[[1.0, 2.0, 2.0, 3.0]]])
    assert filtered(tied, top_k=2, top_p=0.0).isfinite().tolist() == [[[False, True, True, True]]]


def test_draws_follow_the_probabilities_and_never_what_is_forbidden() -> None:
    logits = torch.tensor([-torch.inf, 0.0, np.log(3), -torch.inf]).expand(1, 4001, 4)
    uniforms = torch.linspace(0, 1, 4002, dtype=torch.float64)[None, :-1]
    tokens = drawn(logits, uniforms)
    counts = torch.bincount(tokens[0], minlength=4).tolist()
    assert counts[0] == counts[3] == 0
    assert counts[1] == pytest.approx(1000, abs=2)
    largest = torch.full((1, 1), float(np.nextafter(1.0, 0.0)), dtype=torch.float64)
    assert int(drawn(logits[:, :1], largest)) == 2
    with pytest.raises(InputError, match="double precision"):
        drawn(logits[:, :1], largest.float())


def test_an_image_does_not_depend_on_its_batch_nor_on_freeing() -> None:
    net, arch = small_net(), variant_arch(SMALL, bridge=2, depth=4)
    made = generate(net, VAE, LABELS, arch, sampling=SAMPLING, seed=7)
    last = generate(net, VAE, LABELS[2:], arch, sampling=SAMPLING, seed=7, first=2, freed=False)
    for all_BT, last_BT in zip(made.tokens, last.tokens, strict=True):
        assert torch.equal(all_BT[2:], last_BT)
    assert made.images.shape == (3, 1, 24, 24)
    torch.testing.assert_close(made.images, VAE.images(made.tokens))
    assert made.kv_bytes == kv_bytes(SMALL, plan(SMALL, arch), images=3, key_bytes=4,
                                     value_bytes=4, freed=True)
    other = generate(net, VAE, LABELS, arch, sampling=SAMPLING, seed=8)
    assert not all(map(torch.equal, made.tokens, other.tokens))


def test_generation_is_guided_sampling_of_teacher_forced_logits() -> None:
    net, arch = small_net(), FALLING
    made = generate(net, VAE, LABELS, arch, sampling=SAMPLING, seed=3)
    images = teacher_forced(VAE, made.tokens, classes=SMALL.classes)
    with torch.no_grad():
        with_class, without = (net(replace(images, labels_B=labels), arch)
                               for labels in (LABELS, torch.full((3,), SMALL.classes)))
    begin = 0
    for scale, tokens in enumerate(made.tokens):
        end, strength = SMALL.ends[scale], 2.0 * scale / 3
        logits = ((1 + strength) * with_class - strength * without)[:, begin:end]
        allowed = filtered(logits, top_k=9, top_p=0.9)
        uniforms = image_uniforms(SMALL, images=3, seed=3)[:, begin:end]
        assert torch.equal(drawn(allowed, uniforms), tokens)
        begin = end


def test_without_guidance_each_image_runs_once() -> None:
    net, arch = small_net(replace(SMALL, cond_drop=0.0)), full_arch(SMALL)
    made = generate(net, VAE, LABELS, arch, sampling=Sampling(guidance=0.0), seed=0)
    assert made.kv_bytes == kv_bytes(SMALL, plan(SMALL, arch), images=3, key_bytes=4,
                                     value_bytes=4, guided=False)


@pytest.mark.parametrize(("sampling", "message"), [
    (Sampling(guidance=-1.0), "must be 0 or more"), (Sampling(top_k=25), "top-k 25 is outside"),
    (Sampling(top_p=1.5), "top-p 1.5 is outside"), (Sampling(guidance=float("nan")), "0 or more")])
def test_sampling_that_a_net_cannot_do(sampling: Sampling, message: str) -> None:
    with pytest.raises(InputError, match=message):
        generate(small_net(), VAE, LABELS, full_arch(SMALL), sampling=sampling, seed=0)


def test_requests_that_cannot_be_met() -> None:
    arch, sampling = full_arch(SMALL), Sampling()
    with pytest.raises(InputError, match="without a class"):
        generate(small_net(replace(SMALL, cond_drop=0.0)), VAE, LABELS, arch, sampling=sampling,
                 seed=0)
    with pytest.raises(InputError, match="class is outside"):
        generate(small_net(), VAE, LABELS + 2, arch, sampling=sampling, seed=0)
    with pytest.raises(InputError, match="no label, no image"):
        generate(small_net(), VAE, LABELS[:0], arch, sampling=sampling, seed=0)
    with pytest.raises(ArchError, match="not 'small/1'"):
        generate(small_net(), VAE, LABELS, full_arch(FMNIST), sampling=sampling, seed=0)
    with pytest.raises(InputError, match="seed -1"):
        generate(small_net(), VAE, LABELS, arch, sampling=sampling, seed=-1)
    with pytest.raises(InputError, match=r"caches of torch\.int8"):
        generate(small_net(), VAE, LABELS, arch, sampling=sampling, seed=0, key_dtype=torch.int8)
    with pytest.raises(SpaceError, match="vocabulary"):
        generate(small_net(replace(SMALL, vocabulary=25)), VAE, LABELS, arch, sampling=sampling,
                 seed=0)
    with pytest.raises(InputError, match="images 0 must be at least 1"):
        kv_bytes(SMALL, plan(SMALL, arch), images=0, key_bytes=2, value_bytes=2)
