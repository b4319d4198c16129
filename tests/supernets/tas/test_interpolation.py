"""Channel-wise interpolation is the mean over slices of the paper."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import adaptive_avg_pool3d

from supernets.tas.interpolation import interpolated


@given(st.integers(1, 40), st.integers(0, 40))
def test_it_is_the_mean_of_slices(given_channels, more):
    channels = given_channels + more
    x = torch.randn(2, given_channels, 2, 3, generator=torch.Generator().manual_seed(more))
    slices = [x[:, j * given_channels // channels:-(-(j + 1) * given_channels // channels)].mean(1)
              for j in range(channels)]
    found = interpolated(x, channels)
    assert torch.allclose(found, torch.stack(slices, 1), atol=1e-6)
    assert torch.allclose(found, adaptive_avg_pool3d(x, (channels, 2, 3)), atol=1e-6)


def test_of_the_same_width_it_is_the_identity():
    x = torch.randn(2, 5, 3, 3)
    assert interpolated(x, 5) is x


def test_fewer_channels_are_refused():
    with pytest.raises(ValueError, match="6 channels are not interpolated to fewer, 5"):
        interpolated(torch.zeros(1, 6, 1, 1), 5)
