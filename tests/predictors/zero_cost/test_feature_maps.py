import pytest
import timm
import torch
from proxy_models import batch, conv1d_net, conv_net, seeded, vit
from timm.layers import SelectAdaptivePool2d
from torch import Tensor, nn

from predictors.zero_cost.feature_maps import FeatureTap


def features(model: nn.Module, inputs: Tensor) -> Tensor:
    tap = FeatureTap()
    tap.watch(model)
    with torch.no_grad():
        return tap.take(model.eval()(inputs))


class Gated(nn.Module):
    """A squeeze-and-excite gate, then 1×1 convolution, and a head that pools or averages."""

    def __init__(self, *, pool: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.excite = nn.Conv2d(4, 4, 1)
        self.project = nn.Conv2d(4, 6, 1)
        self.pool = nn.AdaptiveAvgPool2d(1) if pool else None
        self.head = nn.Conv2d(6, 7, 1)  # after the pooling, on one position
        self.classifier = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.project(x * self.excite(self.squeeze(x)).sigmoid())
        x = self.pool(x) if self.pool is not None else x.mean(dim=(2, 3), keepdim=True)
        return self.classifier(self.head(x).flatten(1))


def test_pooling_in_a_gate_is_not_the_last_one() -> None:
    assert features(Gated(pool=True), batch()[0]).shape == (8, 6, 6, 6)
    assert features(Gated(pool=False), batch()[0]).shape == (8, 7)


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1), nn.AvgPool2d(6),
                                  SelectAdaptivePool2d(pool_type="avg", flatten=True),
                                  SelectAdaptivePool2d(pool_type="avgmax"),
                                  nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten())])
def test_kinds_of_global_pooling(pool: nn.Module) -> None:
    stem = nn.Conv2d(3, 4, 3)
    found = features(nn.Sequential(stem, pool, nn.Flatten(), nn.Linear(4, 5)), batch()[0])
    assert found.equal(stem(batch()[0]))


def test_networks_of_other_families() -> None:
    assert features(conv_net(), batch()[0]).shape == (8, 8, 3, 3)
    assert features(conv1d_net(), batch(shape=(2, 12))[0]).shape == (8, 6, 8)
    assert features(vit(), batch()[0]).shape == (8, 16)
    mobilenet = seeded(lambda: timm.create_model("mobilenetv3_small_050", num_classes=5))
    assert features(mobilenet, torch.zeros(2, 3, 64, 64)).shape == (2, 288, 2, 2)


def test_network_without_pooling_or_linear_layer_gives_its_outputs() -> None:
    assert features(nn.Conv2d(3, 4, 3), batch()[0]).shape == (8, 4, 6, 6)


def test_features_of_one_pass_do_not_leak_into_the_next() -> None:
    tap = FeatureTap()
    pooled, plain = conv_net().eval(), nn.Conv2d(3, 4, 3)
    tap.watch(pooled)
    tap.take(pooled(batch()[0]))
    tap.watch(plain)
    outputs = plain(batch()[0])
    assert tap.take(outputs) is outputs
