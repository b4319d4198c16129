"""Networks with drawn widths and depths compute what the paper says, and give subnets weights."""

import copy

import numpy as np
import pytest
import timm
import torch
from tas_subjects import MODELS, make_supernet
from torch import nn
from torch.nn import functional as F

from nas.core.errors import InputError
from supernets.tas.controller import Controller, Draw
from supernets.tas.interpolation import interpolated
from supernets.tas.relaxed import Relaxed
from supernets.tas.relaxed_layers import Now, WidthNorm
from supernets.timm.supernet import TimmSupernet


@pytest.fixture(scope="module", params=MODELS)
def supernet(request):
    return make_supernet(request.param)


def images(supernet, count=4):
    shape = supernet.task.example_inputs(1, np.random.default_rng(0)).shape
    return torch.randn(count, *shape[1:], generator=torch.Generator().manual_seed(0))


def test_all_that_is_drawn_has_gradients(supernet):
    relaxed = Relaxed(supernet.model, supernet.elastic).train()
    controller = Controller(supernet.space, depths=relaxed.depth_genes,
                            generator=torch.Generator().manual_seed(0))
    draws = controller.draw(5.0, torch.Generator().manual_seed(1))
    logits = relaxed(images(supernet), draws)
    assert logits.shape == (4, 10)
    F.cross_entropy(logits, torch.arange(4)).backward()
    for gene in supernet.space.genes:
        gradient = controller.logits[gene.name.replace(".", "/")].grad
        assert torch.isfinite(gradient).all()
        assert len(gene.choices) == 1 or bool(gradient.abs().sum() > 0), gene.name
    assert all(parameter.grad is not None for parameter in relaxed.parameters())
    assert relaxed.depth_genes == {gene.name for gene in supernet.space.genes
                                   if gene.name.endswith("depth")}


def certain(supernet, arch):
    """Returns draws of one network: of widths a narrower one is drawn, too, with weight 0."""
    draws = {}
    for gene, (_, value) in zip(supernet.space.genes, arch.choices, strict=True):
        place = gene.choices.index(value)
        if gene.name.endswith("depth"):
            draws[gene.name] = Draw(tuple(range(len(gene.choices))), F.one_hot(
                torch.tensor(place), len(gene.choices)).float())
        else:
            draws[gene.name] = Draw((place, place - 1)[:place + 1], torch.tensor(
                [1.0, 0.0][:place + 1]))
    return draws


def growing(supernet, arch):
    """Returns an architecture whose stages pass on the widest that their blocks give.

    Outputs of other depths have weight 0, but they are interpolated to the widest.
    """
    values = arch.as_dict()
    for stage in supernet.elastic.facts.stages:
        names = [str(block.target) for block in stage.blocks]
        if stage.out is not None:
            depth = values[f"{stage.name}.depth"]
            values |= dict(zip(names[:depth], sorted(values[name] for name in names[:depth]),
                               strict=True))
    return supernet.space.canonical(type(arch)(arch.space_id, tuple(values.items())))


def test_a_certain_draw_is_the_subnet(supernet):
    relaxed = Relaxed(supernet.model, supernet.elastic).train()
    with torch.no_grad():
        for index, (name, tensor) in enumerate(relaxed.named_parameters()):
            if name in relaxed.no_weight_decay():  # each width has a norm of its own
                tensor.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(index))
    rng = np.random.default_rng(0)
    for arch in (growing(supernet, supernet.space.sample(rng)) for _ in range(3)):
        model = copy.deepcopy(supernet.model)
        relaxed.copy_into(model, arch)
        subnet = TimmSupernet(model, supernet.elastic, supernet.task).train().extract(arch)
        with torch.no_grad():
            found = relaxed(images(supernet), certain(supernet, arch))
            difference = (subnet(images(supernet)) - found).abs().max()
        assert float(difference) <= 1e-4 * float(found.abs().max())


def test_weights_beside_elastic_widths_are_copied():
    # The stem's norm has an activation within, and no gene.
    supernet = make_supernet("mobilenetv2_100", fixed=["conv_stem"])
    assert "stem.width" not in supernet.space.positions
    relaxed = Relaxed(supernet.model, supernet.elastic)
    with torch.no_grad():
        for tensor in (*relaxed.parameters(), *relaxed.buffers()):
            tensor.fill_(3)
    model = copy.deepcopy(supernet.model)
    relaxed.copy_into(model, supernet.space.extreme(largest=True))
    for name, tensor in model.named_parameters():
        assert bool((tensor == 3).all()), name
    for name in ("running_mean", "running_var"):  # of a norm without a gene they are kept
        assert bool((model.get_buffer(f"bn1.{name}") == 3).all()), name


@pytest.mark.parametrize("widths", [(6, 11, 16), (100, 200, 300)])
@pytest.mark.parametrize("positions", [(0, 2), (2, 1), (1, 0)])
def test_norms_are_weighted_interpolated_and_added(widths, positions):
    generator = torch.Generator().manual_seed(0)
    norm = nn.BatchNorm2d(widths[-1])
    now = Now()
    layer = WidthNorm(norm, "width", widths, now).train()
    with torch.no_grad():
        layer.affine.copy_(torch.randn(layer.affine.shape, generator=generator))
    larger = max(widths[position] for position in positions)
    x = torch.randn(5, widths[-1], 3, 2, generator=generator)
    expected = torch.zeros_like(x)
    for weight, position in zip((0.3, 0.7), positions, strict=True):
        with torch.no_grad():
            layer.copy_into(norm, position)
        width = widths[position]
        normed = F.batch_norm(x[:, :width], None, None, norm.weight[:width], norm.bias[:width],
                              training=True)
        expected[:, :larger] += weight * interpolated(normed, larger)
    draws = {"width": Draw(positions, torch.tensor([0.3, 0.7]))}
    with now.drawn(draws, [layer]):
        assert torch.allclose(layer(x), expected.detach(), atol=1e-5)
    with pytest.raises(RuntimeError, match="runs without the network"):
        layer(x)


def test_depths_are_weighted_interpolated_and_added():
    model = timm.create_model("cifar_resnet20", num_classes=10, depth=2, width=0.5)
    supernet = make_supernet("cifar_resnet20", model=model, inner=(1.0,), width=(1.0,))
    relaxed = Relaxed(model.train(), supernet.elastic).train()
    x = images(supernet)
    rng = np.random.default_rng(0)
    shares = {gene: rng.dirichlet([1.0, 1.0]) for gene in relaxed.depth_genes}
    draws = {gene.name: Draw(tuple(range(len(gene.choices))), torch.tensor(
        shares.get(gene.name, [1.0]), dtype=torch.float32)) for gene in supernet.space.genes}
    with torch.no_grad():
        out = model.act1(model.bn1(model.conv1(x)))
        for index in range(3):
            first, second = getattr(model, f"layer{index + 1}")
            one, two = shares[f"stage{index}.depth"]
            shallow = first(out)
            out = float(one) * shallow + float(two) * second(shallow)
        assert torch.allclose(relaxed(x, draws), model.fc(out.mean((2, 3))), atol=1e-5)


def test_blocks_must_go_from_the_end():
    supernet = make_supernet("resnet18", order={"stage0": (0, 1)})
    with pytest.raises(InputError, match="blocks of stage0 do not go from its end"):
        Relaxed(supernet.model, supernet.elastic)


def test_widths_need_batch_norms():
    model = timm.create_model("test_convnext", num_classes=10)
    supernet = make_supernet("resnet18", model=model)
    with pytest.raises(InputError, match=r"has no batch norm, which a relaxed network needs"):
        Relaxed(model, supernet.elastic)
