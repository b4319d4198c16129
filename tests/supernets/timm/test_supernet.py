"""What every supernet of a timm model must do, whatever its family."""

import numpy as np
import pytest
import torch
from timm_models import SIDE, images, make_model, make_supernet
from torch.utils.flop_counter import FlopCounterMode

from nas.core.costs import ClosedFormCosts
from nas.core.errors import ArchError
from supernets.timm.layout import tensors_of

TOLERANCE = 1e-5  # of logits, in single precision


def some_archs(supernet, count=4, seed=0):
    rng = np.random.default_rng(seed)
    space = supernet.space
    return [space.extreme(largest=True), space.extreme(largest=False),
            *(space.sample(rng) for _ in range(count))]


def difference(a, b):
    return float((a - b).abs().max() / b.abs().max().clamp_min(1.0))


def test_the_largest_architecture_is_the_model_itself(named):
    _, model, supernet = named
    with torch.no_grad():
        found = supernet(images(), supernet.space.extreme(largest=True))
        assert difference(found, model(images())) <= TOLERANCE


def test_forward_is_the_extracted_network(named):
    _, model, supernet = named
    for arch in some_archs(supernet):
        module = supernet.extract(arch)
        assert type(module) is type(model)
        with torch.no_grad():
            assert difference(supernet(images(), arch), module(images())) <= TOLERANCE


def test_extracted_networks_own_their_weights(named):
    _, _, supernet = named
    module = supernet.extract(supernet.space.extreme(largest=False))
    own = {tensor.untyped_storage().data_ptr() for _, tensor in tensors_of(supernet)}
    for name, tensor in tensors_of(module):
        assert tensor.untyped_storage().data_ptr() not in own, name
        assert tensor.is_contiguous(), name


def test_extracted_networks_name_their_weights_as_timm_does(named):
    _, model, supernet = named  # layer decay finds a weight's layer by its name
    module = supernet.extract(supernet.space.extreme(largest=False))
    assert set(module.state_dict()) <= set(model.state_dict())


def test_macs_and_params_are_exact(named):
    _, _, supernet = named
    archs = some_archs(supernet)
    costs = ClosedFormCosts(supernet.vocabulary, supernet.block_ids)
    codes = supernet.space.encode(archs)
    macs, params = (costs.predict(metric, codes).value for metric in ("macs", "params"))
    for arch, mac, param in zip(archs, macs, params, strict=True):
        module = supernet.extract(arch).to("meta")
        with FlopCounterMode(display=False) as counter:
            module(torch.empty(1, 3, SIDE, SIDE, device="meta"))
        assert mac == counter.get_total_flops() // 2
        assert param == sum(tensor.numel() for tensor in module.parameters())


def test_training_writes_no_statistics_and_reaches_the_stored_weights(named):
    name, _, _ = named
    supernet = make_supernet(make_model(name), name).train()
    before = {name: tensor.clone() for name, tensor in supernet.named_buffers()}
    arch = supernet.space.extreme(largest=False)
    module = supernet.extract(arch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet(images(4), arch).square().mean().backward()
        torch.manual_seed(0)
        module(images(4)).square().mean().backward()
    for name, tensor in supernet.named_buffers():
        assert torch.equal(tensor, before[name]), name
    # Leading parts have the extracted network's gradients, and nothing else has any.
    reached = sum(float(p.grad.square().sum()) for p in supernet.model.parameters()
                  if p.grad is not None)
    expected = sum(float(p.grad.square().sum()) for p in module.parameters()
                   if p.grad is not None)
    assert reached > 0
    if not supernet.elastic.kernels:  # the maps turn the gradients of kernels
        assert reached == pytest.approx(expected, rel=1e-3)


def test_widths_are_multiples_of_8_or_those_of_the_model(named):
    _, _, supernet = named
    layout = supernet.elastic.facts.layout
    for name, choices in supernet.elastic.choices.items():
        dim = layout.dims[name]
        assert choices[-1] == dim.units * dim.step
        if dim.channels and choices[-1] > 8:
            assert all(value % 8 == 0 for value in choices[:-1]), name


def test_architectures_of_another_space_are_refused(named):
    _, _, supernet = named
    other = make_supernet(make_model("test_resnet"), "another")
    for call in (supernet.extract, lambda arch: supernet(images(), arch)):
        with pytest.raises(ArchError, match="is of space"):
            call(other.space.extreme(largest=True))
