import pytest
import torch
from timm_models import images, make_model, make_supernet

from nas.core.errors import InputError
from supernets.timm.elastic import Elastic
from supernets.timm.excluded import excluding
from supernets.timm.families import describe_model
from supernets.timm.importance import (
    by_activation,
    by_magnitude,
    by_taylor,
    drop_order,
    sort_units,
)


def losses(model):
    for seed in range(2):
        logits = model(images(seed=seed))
        yield torch.nn.functional.cross_entropy(logits, logits.detach().argmax(1))


JUDGES = {
    "magnitude": by_magnitude,
    "activation": lambda model, facts: by_activation(model, facts, [images(), images(seed=1)]),
    "taylor": lambda model, facts: by_taylor(model, facts, losses(model)),
}


@pytest.mark.parametrize("judge", JUDGES)
def test_sorting_keeps_the_function_and_puts_the_best_first(named, judge):
    name, _, _ = named
    model = make_model(name)
    facts = describe_model(model)
    with torch.no_grad():
        before = model(images())
    importance = JUDGES[judge](model, facts)
    sort_units(model, facts, importance)
    with torch.no_grad():
        after = model(images())
    assert float((after - before).abs().max() / before.abs().max().clamp_min(1.0)) <= 1e-5
    again = JUDGES[judge](model, facts)
    alike = {}
    for dim, scores in again.units.items():
        if not (facts.layout.dims[dim].ordered or facts.layout.dims[dim].fixed):
            alike.setdefault(facts.layout.dims[dim].stream or dim, []).append(scores)
    for name, parts in alike.items():
        scores = sum(parts)
        assert bool((scores[:-1] >= scores[1:] * (1 - 1e-3)).all()), name


def test_channels_that_something_mixes_stay_in_order():
    model = make_model("ecaresnet26t")
    facts = describe_model(model)
    mixed = [name for name, dim in facts.layout.dims.items() if dim.ordered]
    assert mixed
    importance = by_magnitude(model, facts)
    weight = model.layer1[0].conv3.weight.clone()
    sort_units(model, facts, importance)
    rows = weight.flatten(1).norm(dim=1)
    assert torch.allclose(model.layer1[0].conv3.weight.flatten(1).norm(dim=1), rows)


def test_what_is_excluded_holds_all_that_is_added_to_it():
    model = make_model("cifar_resnet20")
    facts = excluding(describe_model(model), ["layer1.1.conv2"],
                      [path for path, _ in model.named_modules() if path])
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    sort_units(model, facts, by_magnitude(model, facts))
    assert torch.equal(model.conv1.weight, before["conv1.weight"])
    assert torch.equal(model.layer1[2].bn2.weight, before["layer1.2.bn2.weight"])
    assert not torch.equal(model.layer2[0].bn2.weight, before["layer2.0.bn2.weight"])


def test_blocks_of_own_widths_go_in_order_unless_some_are_excluded():
    model = make_model("cifar_resnet20")
    with torch.no_grad():
        model.layer3[1].bn2.weight.mul_(1e-4)
        model.layer3[1].bn2.bias.mul_(1e-4)
    judged = by_magnitude(model, describe_model(model))
    assert drop_order(describe_model(model), judged)["stage2"] == (1, 2)
    held = excluding(describe_model(model), ["fc"],
                     [path for path, _ in model.named_modules() if path])
    assert "stage2" not in drop_order(held, judged)
    assert set(drop_order(held, judged)) == {"stage0", "stage1"}


def test_nothing_counts_less_than_a_unit_that_nothing_reads():
    model = make_model("resnet18")
    dead = 5
    with torch.no_grad():
        block = model.layer2[1]
        block.conv1.weight[dead] = 0
        block.bn1.weight[dead] = 0
        block.bn1.bias[dead] = 0
        block.conv2.weight[:, dead] = 0
    facts = describe_model(model)
    for judge in JUDGES.values():
        scores = judge(model, facts).units["stage1.block1.inner"]
        assert float(scores[dead]) == float(scores.min()) == 0.0
        assert float(scores.max()) > 0.0


def test_the_block_that_does_least_goes_first():
    model = make_model("vit_tiny_patch16_224")
    facts = describe_model(model)
    with torch.no_grad():
        block = model.blocks[3]
        for layer in (block.attn.proj, block.mlp.fc2):
            layer.weight.mul_(1e-4)
            layer.bias.mul_(1e-4)
    order = drop_order(facts, by_activation(model, facts, [images()]))
    assert order[""][0] == 3
    elastic = Elastic("timm:vit/1", facts, drop_order=order)
    subnet = elastic.of_values({"depth": 11})
    assert subnet.dropped == {"blocks.3"}
    gene = next(gene for gene in elastic.space.genes if gene.name == "block3.heads")
    assert gene.condition is not None
    assert gene.condition.values == (12,)


def test_no_batch_is_an_error():
    model = make_model("test_resnet")
    facts = describe_model(model)
    with pytest.raises(InputError, match="at least one batch"):
        by_activation(model, facts, [])
    with pytest.raises(InputError, match="at least one batch"):
        by_taylor(model, facts, [])


def test_sorted_supernets_extract_what_they_run():
    model = make_model("mobilenetv3_small_050")
    facts = describe_model(model)
    sort_units(model, facts, by_magnitude(model, facts))
    supernet = make_supernet(model, "sorted")
    arch = supernet.space.extreme(largest=False)
    with torch.no_grad():
        assert torch.allclose(supernet(images(), arch), supernet.extract(arch)(images()), atol=1e-5)
