import numpy as np
import pytest
import torch
from torch import nn

from nas.core.costs import ClosedFormCosts
from nas.core.errors import EvaluationError
from nas.evaluation.efficiency import count_activation_bytes, count_macs, count_params
from supernets.mobilenet.config import plan


def test_closed_forms_are_the_counts_of_extracted_networks(tiny_supernet):
    costs = ClosedFormCosts(tiny_supernet.vocabulary, tiny_supernet.block_ids)
    codes = tiny_supernet.space.sample_codes(40, np.random.default_rng(1))
    image = torch.zeros(1, 1, 16, 16)
    skips = set()
    for row, arch in enumerate(tiny_supernet.space.decode(codes)):
        module = tiny_supernet.extract(arch)
        code = codes[row:row + 1]
        assert count_params(module) == costs.predict("params", code).value[0]
        assert count_macs(module, image) == costs.predict("macs", code).value[0]
        if row < 8:
            assert (count_activation_bytes(module, image)
                    == costs.predict("activation_bytes", code).value[0])
            skips |= {(block.has_skip, block.se_width > 0)
                      for block in plan(tiny_supernet.config, arch)}
    assert len(skips) == 4  # with and without each of the two


@pytest.mark.parametrize(("layer", "shape", "macs"), [
    (nn.Conv2d(4, 6, 3, padding=1), (4, 5, 7), 6 * 5 * 7 * 4 * 9),
    (nn.Conv2d(4, 8, 3, stride=2, groups=4), (4, 9, 9), 8 * 4 * 4 * 9),
    (nn.Conv1d(3, 5, 4), (3, 10), 5 * 7 * 3 * 4),
    (nn.Linear(6, 4), (6,), 24),
    (nn.Linear(6, 4), (10, 6), 240),
])
def test_macs_of_single_layers(layer, shape, macs):
    assert count_macs(layer, torch.zeros(1, *shape)) == macs
    assert count_macs(layer, torch.zeros(3, *shape)) == macs  # of one input, whatever the batch


def test_a_shared_layer_has_its_parameters_once_and_its_macs_each_time():
    layer = nn.Linear(4, 4)
    module = nn.Sequential(layer, nn.ReLU(), layer)
    assert count_params(module) == 20
    assert count_macs(module, torch.zeros(1, 4)) == 32


class Residual(nn.Module):
    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 1)
        self.act = nn.ReLU(inplace=inplace)

    def forward(self, x):
        y = self.conv(x)
        return self.act(y) + y


def test_activations_alive_at_once():
    image = torch.zeros(1, 2, 3, 3)
    chain = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5))
    assert count_activation_bytes(chain, image) == 4 * (18 + 36)
    # What is still needed is not written over: both operands and the sum.
    assert count_activation_bytes(Residual(inplace=False), image) == 4 * 3 * 36
    # An operator that writes over its input leaves one tensor, whoever reads it under which name.
    assert count_activation_bytes(Residual(inplace=True), image) == 4 * 2 * 36


def test_views_are_no_tensors_of_their_own():
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 8, 1)

        def forward(self, x):
            value, gate = self.conv(x).reshape(1, 8, 9).chunk(2, 1)
            return value * gate

    assert count_activation_bytes(Gated(), torch.zeros(1, 2, 3, 3)) == 4 * (72 + 36)


def test_what_no_rule_is_known_for_is_an_error_that_names_it():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return torch.cumsum(x * self.scale, 1)

    with pytest.raises(EvaluationError, match="Scaled"):
        count_macs(Scaled(), torch.zeros(1, 3))
    with pytest.raises(EvaluationError, match=r"aten\.cumsum"):
        count_activation_bytes(Scaled(), torch.zeros(1, 3))


def test_counting_leaves_the_module_as_it_was():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).train()
    module[2].eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    count_macs(module, torch.randn(2, 1, 8, 8))
    count_activation_bytes(module, torch.randn(2, 1, 8, 8))
    assert [part.training for part in module] == [True, True, False]
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert not module[0]._forward_hooks
