"""The slices that are LightHuBERT's own, against their definitions written out."""

import pytest
import torch
import torch.nn.functional as F
from hubert_nets import make_supernet, scaled
from torch.nn.utils.parametrizations import weight_norm

from nas.core.errors import ArchError
from supernets.hubert.layers import ElasticPositionalConv
from supernets.hubert.presets import BASE, SMALL


@pytest.mark.parametrize(("embed", "units", "expected"), [
    (768, 3072, range(3072)), (768, 2688, range(2688)),
    (256, 768, [*range(256), *range(768, 1024), *range(1536, 1792)]),
    (256, 896, [*range(256), *range(768, 1024), *range(1536, 1792), *range(2304, 2432)]),
    (512, 2048, [row for block in range(4) for row in range(768 * block, 768 * block + 512)]),
])
def test_ffn_units_are_the_first_of_each_block(embed: int, units: int, expected: range) -> None:
    rows = [row for block in SMALL.unit_blocks(embed, units)
            for row in range(block.start, block.stop)]
    assert rows == list(expected)
    assert len(rows) == units


@pytest.mark.parametrize(("embed", "ratio"), [(48, 4.0), (48, 3.5), (32, 4.0), (40, 3.5)])
def test_feed_forward_is_that_of_the_gathered_units(embed: int, ratio: float) -> None:
    net, units = make_supernet(scaled(BASE)), int(ratio * embed)
    layer = net.encoder.layers[0].feed_forward
    inner, outer = layer.intermediate_dense, layer.output_dense
    rows = [48 * (unit // embed) + unit % embed for unit in range(units)]
    x = torch.randn(2, 3, embed)
    hidden = F.gelu(x @ inner.weight[rows, :embed].t() + inner.bias[rows])
    expected = hidden @ outer.weight[:embed, rows].t() + outer.bias[:embed]
    torch.testing.assert_close(layer(x, units), expected)


def test_feed_forward_copies_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make_supernet(scaled(BASE)).encoder.layers[0].feed_forward
    stored = {tensor.untyped_storage().data_ptr() for tensor in layer.parameters()}
    seen = []

    def linear(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        seen.extend(weights)
        return torch._C._nn.linear(x, *weights)

    addmm = torch.addmm
    monkeypatch.setattr(F, "linear", linear)
    monkeypatch.setattr(torch, "addmm",
                        lambda y, x, weight: [seen.append(weight), addmm(y, x, weight)][1])
    layer(torch.randn(1, 2, 32), 128)
    assert len(seen) == 3 * 4
    assert {tensor.untyped_storage().data_ptr() for tensor in seen} <= stored


@pytest.mark.parametrize("embed", [48, 40, 32])
def test_positional_conv_norms_the_whole_weight_and_then_slices_it(embed: int) -> None:
    position = make_supernet(scaled(BASE)).encoder.pos_conv_embed
    whole = weight_norm(torch.nn.Conv1d(48, 48, 16, groups=4), dim=2)
    whole.parametrizations.weight.original0.data = position.weight_g.data
    whole.parametrizations.weight.original1.data = position.weight_v.data
    weight = whole.weight[:embed, :embed // 4]
    x = torch.randn(2, 7, embed)
    y = F.conv1d(x.transpose(1, 2), weight, position.bias[:embed], padding=8, groups=4)[..., :-1]
    torch.testing.assert_close(position(x), F.gelu(y).transpose(1, 2))


@pytest.mark.parametrize("embed", [48, 40, 32])
def test_the_parts_of_the_positional_conv_make_its_slice(embed: int) -> None:
    position = make_supernet(scaled(BASE)).encoder.pos_conv_embed
    with torch.no_grad():
        position.weight_g[..., 3] = 0.0  # a tap that does nothing keeps doing so
        gain, direction = position.parts(embed)
        expected = (position.weight_v * (position.weight_g / position.weight_v.norm(
            dim=(0, 1), keepdim=True)))[:embed, :embed // 4]
        found = torch._weight_norm(direction.contiguous(), gain, 2)
    torch.testing.assert_close(found, expected)
    assert not found[..., 3].any()


@pytest.mark.parametrize("embed", [42, 52])
def test_positional_conv_refuses_other_widths(embed: int) -> None:
    with pytest.raises(ArchError, match=f"48 channels in 4 groups, asked for {embed}"):
        ElasticPositionalConv(scaled(BASE))(torch.zeros(1, 3, embed))
