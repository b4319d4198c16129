"""Speed of `var-fmnist`: depth, caches against recomputation, the elastic form against a plain one.

CPU time of one thread, in turns; the ratio of each round is taken, and the median of ratios.
Generation is with guidance, decoder included, at N=4 of 6 scales (the paper's 6 of 10).

    python tests/benchmarks/bench_var_speed.py
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from _report import write_report
from _var import BRIDGE, SHIPPED
from torch import Tensor, nn
from torch.nn import functional as F

from nas.core.arch import Arch
from nas.pipeline.device import keep_freed_memory
from supernets.folder import load_folder
from supernets.var.generate import generate
from supernets.var.image_supernet import ImageSupernet
from supernets.var.presets import FMNIST
from supernets.var.sampling import Sampling, drawn, filtered, guided, image_uniforms, strength_at
from supernets.var.space import full_arch, variant_arch
from supernets.var.supernet import TeacherForced, VarSupernet
from supernets.var.vae import MultiScaleVqvae

SEED = 0
ROUNDS = {1: 30, 32: 6}
SAMPLING = Sampling(guidance=1.5, top_k=0, top_p=0.96)
WHOLE = full_arch(FMNIST)


def timed(actions: Mapping[str, Callable[[], object]], rounds: int, base: str) -> dict[str, Any]:
    """Returns CPU seconds of each action and its ratio to the base's."""
    for action in actions.values():
        action()
    spent: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds):
        for name in list(actions)[::1 if number % 2 else -1]:
            started = time.process_time()
            actions[name]()
            spent[name].append(time.process_time() - started)
    return {name: {"cpu_s": round(float(np.median(found)), 5),
                   "ratio": round(float(np.median(np.array(found) / np.array(spent[base]))), 4)}
            for name, found in spent.items()}


def recomputed(net: VarSupernet, vae: MultiScaleVqvae, labels_B: Tensor, arch: Arch) -> Tensor:
    """Returns the tokens (B, L) that `generate` makes, each scale from all tokens anew."""
    config, quantizer, count = net.config, vae.quantize, len(labels_B)
    uniforms_BL = image_uniforms(config, images=count, seed=SEED)
    class_RC = net.class_emb(torch.cat((labels_B, torch.full_like(labels_B, config.classes))))
    conditioning, lengths = net.shared_ada_lin(class_RC), net.plan(arch).lengths
    levels_L = net.levels(labels_B.device)
    mask_LL = levels_L[:, None] >= levels_L
    f_hat, tokens = quantizer.blank(count), []
    inputs = torch.zeros(2 * count, 0, config.code_dim)
    for scale, end in enumerate(config.ends):
        x = net.embedded(class_RC, inputs)
        for index, block in enumerate(net.blocks):
            stop = min(lengths[index], end)
            x = torch.cat((block(x[:, :stop], conditioning, mask_LL[:stop, :stop]), x[:, stop:]), 1)
        begin = config.ends[scale - 1] if scale else 0
        logits = guided(net.logits(x[:, begin:], class_RC),
                        strength_at(scale, config.scales, SAMPLING.guidance))
        allowed = filtered(logits, top_k=SAMPLING.top_k, top_p=SAMPLING.top_p)
        tokens.append(drawn(allowed, uniforms_BL[:, begin:end]))
        f_hat = f_hat + quantizer.contribution(tokens[-1], scale)
        if scale + 1 < config.scales:
            inputs = torch.cat((inputs, quantizer.scale_input(f_hat, scale + 1).repeat(2, 1, 1)), 1)
    vae.image(f_hat)
    return torch.cat(tokens, 1)


def shared_tokens(net: VarSupernet, vae: MultiScaleVqvae, labels_B: Tensor, arch: Arch) -> float:
    """Returns the share of tokens that are equal with and without caches: all but for rounding."""
    made = generate(net, vae, labels_B, arch, sampling=SAMPLING, seed=SEED)
    equal_BL = torch.cat(made.tokens, 1) == recomputed(net, vae, labels_B, arch)
    return float(equal_BL.double().mean())


class Plain(nn.Module):
    """The whole net as anyone would write it: all layers in a loop, one mask."""

    def __init__(self, net: VarSupernet) -> None:
        super().__init__()
        self.net = net
        levels_L = net.levels(torch.device("cpu"))
        self.register_buffer("mask_LL", levels_L[:, None] >= levels_L)

    def forward(self, images: TeacherForced) -> Tensor:
        """Returns logits (B, L, V)."""
        net = self.net
        class_BC = net.class_emb(images.labels_B)
        x = net.embedded(class_BC, images.inputs_BTE)
        conditioning = net.shared_ada_lin(class_BC)
        for block in net.blocks:
            x = block(x, conditioning, self.mask_LL)
        return net.logits(x, class_BC)


def steps(net: VarSupernet) -> dict[str, Any]:
    """Returns a training step (forward and backward) of the elastic form and of a plain module."""
    generator = torch.Generator().manual_seed(SEED)
    batch = TeacherForced(torch.randn(32, FMNIST.tokens - 1, FMNIST.code_dim, generator=generator),
                          torch.arange(32) % 10)
    targets = torch.randint(FMNIST.vocabulary, (32, FMNIST.tokens), generator=generator)
    plain = Plain(net)

    def step(logits: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            net.zero_grad(set_to_none=True)
            F.cross_entropy(logits().flatten(0, 1), targets.flatten()).backward()
        return run

    net.eval()  # draws nothing: both compute the same
    torch.testing.assert_close(net(batch, WHOLE), plain(batch))
    return timed({"elastic": step(lambda: net(batch, WHOLE)), "plain": step(lambda: plain(batch))},
                 20, "plain")


def main() -> None:
    keep_freed_memory()
    torch.set_num_threads(1)
    found = load_folder(SHIPPED)
    assert isinstance(found, ImageSupernet)
    net, vae = found.net, found.vae
    archs = {"d16": WHOLE, **{f"d{depth}": variant_arch(FMNIST, bridge=BRIDGE, depth=depth)
                              for depth in FMNIST.depths}}

    def making(arch: Arch, labels_B: Tensor) -> Callable[[], object]:
        return lambda: generate(net, vae, labels_B, arch, sampling=SAMPLING, seed=SEED)

    def remaking(arch: Arch, labels_B: Tensor) -> Callable[[], object]:
        return lambda: recomputed(net, vae, labels_B, arch)

    figures: dict[str, Any] = {"bridge": BRIDGE, "training_step": steps(net)}
    for batch, rounds in ROUNDS.items():
        labels_B = torch.arange(batch) % FMNIST.classes
        with torch.no_grad():
            same = {name: shared_tokens(net, vae, labels_B, arch) for name, arch in archs.items()}
            figures[f"batch_{batch}"] = {
                "tokens_equal": same,
                "depths": timed({name: making(arch, labels_B) for name, arch in archs.items()},
                                rounds, "d16"),
                "recomputation": {name: timed(
                    {"cached": making(arch, labels_B),
                     "recomputed": remaking(arch, labels_B)},
                    rounds, "cached") for name, arch in archs.items()}}
    print(write_report("var_speed", figures, seed=SEED))


if __name__ == "__main__":
    main()
