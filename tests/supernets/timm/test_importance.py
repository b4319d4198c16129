import pytest
import torch
from timm_models import images, make_model, make_supernet

from nas.core.errors import InputError
from supernets.timm.elastic import Elastic
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
    for dim, scores in again.units.items():
        if not (facts.layout.dims[dim].ordered or facts.layout.dims[dim].fixed):
            assert bool((scores[:-1] >= scores[1:] * (1 - 1e-3)).all()), dim


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
