from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.errors import ArchError, InputError
from nas.core.types import IntArray
from supernets.nasbench201.costs import flops, macs, params
from supernets.nasbench201.graph import EDGES, live_codes, reaching_output
from supernets.nasbench201.network import Cell, build
from supernets.nasbench201.space import SPACE
from supernets.nasbench201.text import from_ops

# All none · output cut off from the input · input cut off from the output · a node that leads
# nowhere · nodes that nothing leads to.
ODD = ("000000", "000033", "333000", "330010", "000333")


def images(batch: int, side: int = 16, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(seed))


def small(arch: Arch, *, seed: int = 0, skip_dead: bool = False) -> nn.Module:
    return build(arch, rng=np.random.default_rng(seed), channels=4, cells=1, skip_dead=skip_dead)


def sampled(count: int, seed: int = 0) -> list[Arch]:
    codes = SPACE.sample_codes(count, np.random.default_rng(seed))
    return [*map(from_ops, ODD), *SPACE.decode(codes)]


def operations_by_layer(model: nn.Module, x: Tensor) -> Counter[str]:
    """What one forward pass takes: multiply-adds, normalised elements, ReLU's, pooled ones."""
    counts: Counter[str] = Counter()

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            counts["macs"] += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            counts["macs"] += output.numel() * module.in_features
        elif isinstance(module, nn.BatchNorm2d):
            counts["normalised"] += output.numel()
        elif isinstance(module, nn.ReLU):
            counts["relu"] += inputs[0].numel()
        elif isinstance(module, nn.AvgPool2d):
            counts["pooled"] += output.numel() * int(module.kernel_size) ** 2
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            counts["pooled"] += output.numel() * 9**2

    handles = [module.register_forward_hook(count) for module in model.modules()]
    with torch.inference_mode():
        model(x)
    for handle in handles:
        handle.remove()
    return counts


def test_closed_forms_are_what_the_built_networks_have() -> None:
    archs = sampled(120)
    codes = SPACE.encode(archs)
    sizes = zip(archs, params(codes).tolist(), macs(codes).tolist(), flops(codes).tolist(),
                strict=True)
    for arch, params_count, macs_count, flops_count in sizes:
        model = build(arch, rng=np.random.default_rng(0)).eval()
        counts = operations_by_layer(model, images(1, side=32))
        assert sum(parameter.numel() for parameter in model.parameters()) == params_count
        assert counts["macs"] == macs_count
        assert (counts["macs"] + 2 * counts["normalised"] + counts["relu"]
                + counts["pooled"]) == flops_count


@pytest.mark.parametrize("arch", sampled(8), ids=repr)
def test_logits_are_finite_in_both_modes(arch: Arch) -> None:
    model = small(arch)
    assert model.training
    for mode in (True, False):
        logits = model.train(mode)(images(4))
        assert logits.shape == (4, 10)
        assert torch.isfinite(logits).all()


def test_the_published_network_takes_cifar_images() -> None:
    model = build(from_ops("342013"), rng=np.random.default_rng(0), num_classes=100)
    assert model(images(2, side=32)).shape == (2, 100)


def conv_norm(x: Tensor, edge: nn.Module) -> Tensor:
    conv, norm = edge[1], edge[2]
    out = F.conv2d(F.relu(x), conv.weight, padding=conv.kernel_size[0] // 2)
    return F.batch_norm(out, None, None, norm.weight, norm.bias, training=True)


def test_cell_is_the_sum_over_incoming_edges_of_each_node() -> None:
    cell = Cell(SPACE.encode([from_ops("342014")])[0], 4, skip_dead=False)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    # A corner has 4 neighbours and an edge 6: padding is not counted.
    def pool(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, 1, 1) / F.avg_pool2d(torch.ones_like(x), 3, 1, 1)
    node_1 = conv_norm(x, cell.edges["edge1_0"])
    node_2 = pool(x) + conv_norm(node_1, cell.edges["edge2_1"])
    torch.testing.assert_close(cell(x), node_1 + pool(node_2))


def test_a_node_without_input_is_zero() -> None:
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for ops in ODD[:3]:
        assert not Cell(SPACE.encode([from_ops(ops)])[0], 4, skip_dead=False)(x).any()


def test_initialisation_is_pytorchs_own_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    model = small(from_ops("342013"), seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    expected = small(from_ops("342013"), seed=6)
    drawn = [m for m in expected.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.default_rng(5).integers(2**63 - 1)))
        for module in drawn:
            module.reset_parameters()
    for a, b in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a, b)


def test_weights_are_a_function_of_the_generator() -> None:
    arch = from_ops("342013")
    rng = np.random.default_rng(0)
    first, second = (build(arch, rng=rng, channels=4, cells=1) for _ in range(2))
    again = small(arch)
    assert torch.equal(first[0][0].weight, again[0][0].weight)
    assert not torch.equal(first[0][0].weight, second[0][0].weight)


def gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    logits = model(x)
    F.cross_entropy(logits, torch.arange(len(x)) % 10).backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad
            for name, p in model.named_parameters()} | {"logits": logits.detach()}


@pytest.mark.parametrize("arch", sampled(20, seed=1), ids=repr)
def test_skipping_dead_operations_changes_neither_logits_nor_gradients(arch: Arch) -> None:
    full, quick = (small(arch, skip_dead=skip) for skip in (False, True))
    generator = torch.Generator().manual_seed(0)
    for a, b in zip(full.parameters(), quick.parameters(), strict=True):
        noise = 0.1 * torch.randn(a.shape, generator=generator)  # so that shifts are not 0
        a.data.add_(noise)
        b.data.add_(noise)
    expected, found = gradients(full, images(4)), gradients(quick, images(4))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def called_edges(code: IntArray, *, skip_dead: bool) -> list[str]:
    cell = Cell(code, 4, skip_dead=skip_dead)
    called: list[str] = []
    for name, edge in cell.edges.items():
        edge.register_forward_hook(lambda *_, name=name: called.append(name))
    cell(torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)))
    return called


@pytest.mark.parametrize("arch", sampled(20, seed=2), ids=repr)
def test_only_what_cannot_reach_the_output_is_skipped(arch: Arch) -> None:
    code = SPACE.encode([arch])
    reaches = reaching_output(code)[0]
    edges = [(target, f"edge{target}_{source}")
             for operation, (target, source) in zip(code[0], EDGES, strict=True) if operation]
    assert called_edges(code[0], skip_dead=False) == [name for _, name in edges]
    assert called_edges(code[0], skip_dead=True) == [name for target, name in edges
                                                     if reaches[target]]


def test_dead_edges_do_not_change_what_an_untrained_network_computes() -> None:
    codes: IntArray = SPACE.sample_codes(400, np.random.default_rng(3))
    codes = codes[(live_codes(codes) != codes).any(axis=1)][:25]
    assert len(codes) == 25
    for arch, live in zip(SPACE.decode(codes), SPACE.decode(live_codes(codes)), strict=True):
        model, masked = small(arch), small(live)
        masked.load_state_dict({name: tensor for name, tensor in model.state_dict().items()
                                if name in masked.state_dict()})
        torch.testing.assert_close(model(images(4)), masked(images(4)), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["num_classes", "channels", "cells", "in_channels"])
def test_count_below_one_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is 0"):
        build(from_ops("342013"), rng=np.random.default_rng(0), **{name: 0})


def test_architecture_of_another_space_is_an_error() -> None:
    with pytest.raises(ArchError, match="of space 'other/1'"):
        build(Arch("other/1", from_ops("342013").choices), rng=np.random.default_rng(0))
