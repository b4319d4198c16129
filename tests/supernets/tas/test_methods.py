"""Layer tickets and magnitude choose by what the weights say."""

import copy
import sys
from dataclasses import replace

import pytest
import torch
import torch_pruning
from tas_subjects import MODELS, make_subject, make_supernet
from timm_models import make_model

from nas.core.errors import EvaluationError, InputError
from supernets.tas.methods.layer_tickets import LayerTickets, block_scores, random_scores
from supernets.tas.methods.magnitude import Channels, magnitude
from supernets.timm.supernet import TimmSupernet


def weight_norms(model):
    return {name: parameter.detach().abs() for name, parameter in model.named_parameters()}


def scored(supernet, scores):
    """Returns the method, and the same supernet with blocks in the order of their scores."""
    tickets = LayerTickets(scores=scores)
    order = tickets.order(supernet.model, supernet.elastic.facts)
    elastic = replace(supernet.elastic, id="scored", drop_order=order)
    return tickets, TimmSupernet(supernet.model, elastic, supernet.task).eval()


def kept(supernet, arch):
    return supernet.elastic.subnet(arch).dropped


def test_scores_of_a_block_are_summed():
    supernet = make_supernet("resnet18")
    found = block_scores(supernet.model, supernet.elastic.facts, weight_norms)
    assert list(found) == [f"layer1.{place}" for place in (0, 1)] + [
        f"layer{stage}.1" for stage in (2, 3, 4)]  # never from one stage to the next
    assert found["layer2.1"] == pytest.approx(sum(
        float(parameter.detach().double().abs().sum())
        for parameter in supernet.model.layer2[1].parameters()))


@pytest.mark.parametrize("name", MODELS)
def test_tickets_meet_the_budget(name):
    for seed, share in enumerate((0.4, 0.7)):
        tickets, supernet = scored(make_supernet(name), random_scores(seed))
        subject = make_subject(supernet, share)
        arch = tickets(subject)
        assert subject.budget.is_met(subject.budget.cost.of(arch))
        assert kept(supernet, arch)


def test_the_least_important_blocks_go():
    # Blocks of one score each; stages without other widths, as in the paper.
    plain = make_supernet("cifar_resnet20", inner=(1.0,), width=(1.0,))
    ranks = {"layer1.0": 2, "layer1.1": 5, "layer1.2": 9, "layer2.1": 1, "layer2.2": 7,
             "layer3.1": 8, "layer3.2": 3}

    def scores(model):
        return {name: torch.full_like(parameter, ranks[".".join(name.split(".")[:2])])
                / sum(p.numel() for p in model.get_submodule(name[:8]).parameters())
                for name, parameter in model.named_parameters() if name[:8] in ranks}

    tickets, supernet = scored(plain, scores)
    assert supernet.elastic.drop_order == {"stage0": (0, 1, 2), "stage1": (1, 2),
                                           "stage2": (2, 1)}
    gone = [kept(supernet, tickets(make_subject(supernet, share)))
            for share in (1.0, 0.95, 0.8, 0.7)]
    assert gone == [frozenset(), {"layer2.1"}, {"layer2.1", "layer1.0"},
                    {"layer2.1", "layer1.0", "layer3.2"}]
    arch = tickets(make_subject(supernet, 0.7))
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    stages = supernet.model.layer1[1:], supernet.model.layer2[0::2], supernet.model.layer3[:2]
    with torch.no_grad():
        out = supernet.model.act1(supernet.model.bn1(supernet.model.conv1(x)))
        for stage in stages:
            out = stage(out)
        expected = supernet.model.fc(out.mean((2, 3)))
        assert torch.allclose(supernet.extract(arch)(x), expected, atol=1e-5)


def test_the_space_must_drop_blocks_in_that_order():
    supernet = make_supernet("resnet18", order={"stage0": (1, 0)})
    tickets = LayerTickets(scores=lambda model: {
        name: torch.ones(()) * (2 if name.startswith("layer1.1") else 1)
        for name, _ in model.named_parameters()})
    with pytest.raises(InputError, match=r"of stage0 in the order \(1, 0\), .* it is \(0, 1\)"):
        tickets(make_subject(supernet, 0.5))


def test_tickets_need_blocks_that_may_go():
    tickets, supernet = scored(make_supernet("resnet18", depth=1.0), random_scores(0))
    with pytest.raises(InputError, match="all blocks stay in this space"):
        tickets(make_subject(supernet, 0.5))
    held = make_supernet("resnet18", fixed=["layer*"])
    with pytest.raises(InputError, match="no block of this model can be left out"):
        tickets.order(held.model, held.elastic.facts)


@pytest.mark.parametrize(("scores", "message"), [
    (lambda _: {}, "no parameter of block layer1.0 has a score"),
    (lambda model: {name: torch.full_like(parameter, torch.nan)
                    for name, parameter in model.named_parameters()},
     "score of block layer1.0 is nan")])
def test_scores_must_be_numbers(scores, message):
    supernet = make_supernet("resnet18")
    with pytest.raises(EvaluationError, match=message):
        LayerTickets(scores=scores).order(supernet.model, supernet.elastic.facts)


def test_tickets_say_what_they_reach():
    tickets, supernet = scored(make_supernet(
        "resnet18", inner=(1.0,), width=(1.0,), depth=0.01), weight_norms)
    least = make_subject(supernet, 1.0).budget.cost.of(supernet.space.extreme(largest=False))
    whole = make_subject(supernet, 1.0).budget.limit
    arch = tickets(make_subject(supernet, least / whole))
    assert arch == supernet.space.extreme(largest=False)


def test_random_scores_follow_the_seed():
    model = make_model("resnet18")
    first, again, other = (random_scores(seed)(model)["fc.weight"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_layers_of_small_weights_are_narrowed():
    model = make_model("resnet18")
    with torch.no_grad():  # half of one layer's channels say next to nothing
        for name in ("conv1", "bn1"):
            model.layer2[1].get_submodule(name).weight[64:] *= 1e-4
        model.layer2[1].conv2.weight[:, 64:] *= 1e-4
    supernet = make_supernet("resnet18", model=model)
    channels = Channels(make_subject(supernet, 0.9))
    widths = channels.widths(0.02)
    assert list(widths) == ["stage1.block1.inner"]
    assert widths["stage1.block1.inner"] < 128
    assert len(channels.widths(0.5)) > 5
    assert channels.widths(0.02) == widths
    arch = magnitude(make_subject(supernet, 0.97)).as_dict()
    assert arch["stage1.block1.inner"] <= 0.75 * 128


def test_widths_are_those_that_torch_pruning_leaves():
    supernet = make_supernet("mobilenetv2_100")
    model = copy.deepcopy(supernet.model)
    torch_pruning.pruner.BasePruner(
        model, torch.zeros(1, 3, 32, 32), global_pruning=True, pruning_ratio=0.3, round_to=8,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        ignored_layers=[model.classifier, model.conv_head]).step()
    widths = Channels(make_subject(supernet, 0.9)).widths(0.3)
    for path, dim in {"conv_stem": "stem.width", "blocks.1.0.conv_pw": "stage1.block0.inner",
                      "blocks.2.1.conv_dw": "stage2.block1.inner",
                      "blocks.5.1.conv_pwl": "stage5.width"}.items():
        left = model.get_submodule(path).out_channels
        assert left == widths.get(dim, supernet.elastic.choices[dim][-1]), path
    assert len(widths) > 5


def test_magnitude_leaves_the_model_alone():
    supernet = make_supernet("resnet18")
    before = {name: tensor.clone() for name, tensor in supernet.model.state_dict().items()}
    magnitude(make_subject(supernet, 0.5))
    assert all(torch.equal(tensor, before[name])
               for name, tensor in supernet.model.state_dict().items())


def test_without_torch_pruning_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(InputError, match="`pip install torch-pruning`"):
        magnitude(make_subject(make_supernet("resnet18"), 0.5))
