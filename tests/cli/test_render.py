import pytest

from cli.render import arch_summary


@pytest.mark.parametrize(("arch", "text"), [
    ({"stage0.width": 16, "stage0.depth": 2, "stage0.block0.kernel": 3}, "2×16"),
    ({"resolution": 160, "stem.width": 24, "stage0.width": 16, "stage1.depth": 3,
      "stage1.block0.inner": 96}, "160px 24 16 3×"),
    ({"width": 192, "depth": 10, "block0.heads": 2}, "10×192"),
    ({"embed": 128, "depth": 4, "layer0.heads": 6, "layer0.ratio": 2.0}, "4×128"),
])
def test_an_architecture_in_short(arch, text):
    assert arch_summary(arch) == text
