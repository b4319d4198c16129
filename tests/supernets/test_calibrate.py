import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.core.errors import DataError
from supernets.calibrate import recalibrate
from supernets.mobilenet.config import MobileNetConfig, StageConfig
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import ImageClassification

TINY = MobileNetConfig(
    name="tiny/1", input_shape=(1, 8, 8), num_classes=3, stem_width=8, head_width=8,
    stages=(StageConfig(widths=(8, 16), depths=(1, 2), kernels=(3, 5), expansions=(1, 2)),))


@pytest.fixture
def net() -> MobileNetSupernet:
    task = ImageClassification(labels=("a", "b", "c"), input_shape=(1, 8, 8), mean=0.5, std=0.25,
                               splits={})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MobileNetSupernet(TINY, task)


def batches(count: int = 3, *, size: int = 16) -> list[tuple[Tensor, None]]:
    generator = torch.Generator().manual_seed(1)
    return [(1 + 2 * torch.randn(size, 1, 8, 8, generator=generator), None) for _ in range(count)]


def test_statistics_are_those_of_the_layers_inputs(net: MobileNetSupernet) -> None:
    arch = net.space.extreme(largest=True)
    module = net.recalibrated(arch, batches())
    assert not module.training
    reference = net.extract(arch).train()
    inputs: dict[str, list[Tensor]] = {}
    for name, norm in reference.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.register_forward_pre_hook(
                lambda _, args, name=name: inputs.setdefault(name, []).append(args[0].detach()))
    with torch.no_grad():
        for x, _ in batches():
            reference(x)
    assert len(inputs) == 1 + 2 * 3 + 1
    for name, seen in inputs.items():
        norm = module.get_submodule(name)
        means = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
        variances = torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0)  # unbiased, as torch's
        torch.testing.assert_close(norm.running_mean, means, msg=name)
        torch.testing.assert_close(norm.running_var, variances, msg=name)


def test_old_statistics_leave_no_trace(net: MobileNetSupernet) -> None:
    arch = net.space.extreme(largest=True)
    fresh = net.recalibrated(arch, batches())
    again = recalibrate(copy.deepcopy(fresh), batches(1))
    once = net.recalibrated(arch, batches(1))
    for name, tensor in once.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, msg=name)


def test_the_supernet_is_untouched(net: MobileNetSupernet) -> None:
    before = copy.deepcopy(net.state_dict())
    net.recalibrated(net.space.sample(np.random.default_rng(0)), batches())
    assert net.training
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_only_statistics_change(net: MobileNetSupernet) -> None:
    arch = net.space.extreme(largest=False)
    weights = net.extract(arch).state_dict()
    module = net.recalibrated(arch, batches())
    for name, tensor in module.state_dict().items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(tensor, weights[name], rtol=0, atol=0)
    assert all(p.grad is None and p.requires_grad for p in module.parameters())


def test_momentum_is_restored(net: MobileNetSupernet) -> None:
    module = net.recalibrated(net.space.extreme(largest=False), batches())
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.1}


def failing() -> Iterator[tuple[Tensor, None]]:
    yield batches(1)[0]
    raise OSError("disk gone")


def test_momentum_and_mode_are_restored_when_the_batches_fail(net: MobileNetSupernet) -> None:
    module = net.extract(net.space.extreme(largest=False))
    with pytest.raises(OSError, match="disk gone"):
        recalibrate(module, failing())
    assert not any(m.training for m in module.modules())
    assert {m.momentum for m in module.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_dropout_stays_off() -> None:
    module = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(1))
    x = torch.ones(4, 1, 8, 8)
    recalibrate(module, [(x, None)])
    assert module[1].running_mean.item() == pytest.approx(1.0)


def test_no_batches_is_an_error(net: MobileNetSupernet) -> None:
    with pytest.raises(DataError, match="no batches"):
        net.recalibrated(net.space.extreme(largest=False), [])


def test_a_network_without_batch_norm_comes_back_as_it_is() -> None:
    linear = nn.Linear(2, 2)
    assert recalibrate(linear, []) is linear
    assert not linear.training
