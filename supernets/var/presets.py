"""The configurations that come with the project: VAR as published, and one for 28 pixels.

Published: FoundationVision's VAR, d16 … d30 for 256 pixels and d36 for 512. Depths are VARiant's
(arXiv 2511.16546); its tables have N = 6 and 7, and a whole net is N = 10.
"""

from supernets.var.config import VarConfig
from supernets.var.vae_config import VaeConfig

SCALES_256 = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
SCALES_512 = (1, 2, 3, 4, 6, 9, 13, 18, 24, 32)


def _published(depth: int, sides: tuple[int, ...], *, shared: bool = False) -> VarConfig:
    return VarConfig(name=f"var-d{depth}/1", patch_nums=sides, depth=depth, width=64 * depth,
                     depths=tuple(d for d in (2, 4, 8, 16) if d < depth),
                     bridges=tuple(range(1, len(sides) + 1)), shared_adaln=shared)


D16, D20, D24, D30 = (_published(depth, SCALES_256) for depth in (16, 20, 24, 30))
D36 = _published(36, SCALES_512, shared=True)

VAE_256 = VaeConfig(name="var-vae-256/1", image_size=256, patch_nums=SCALES_256,
                    strides=(2, 2, 2, 2), multipliers=(1, 1, 2, 2, 4), width=160)
VAE_512 = VaeConfig(name="var-vae-512/1", image_size=512, patch_nums=SCALES_512,
                    strides=(2, 2, 2, 2), multipliers=(1, 1, 2, 2, 4), width=160)

# 104 tokens an image. Width and head are far from 64 · depth, so that it learns on two cores.
_SCALES_28 = (1, 2, 3, 4, 5, 7)
FMNIST = VarConfig(name="var-fmnist/1", patch_nums=_SCALES_28, depth=16, width=96, head_dim=32,
                   depths=(2, 4, 8), bridges=(1, 2, 3, 4, 5, 6), vocabulary=512, code_dim=16,
                   classes=10, shared_adaln=True, drop_path=0.0)
VAE_FMNIST = VaeConfig(name="var-vae-fmnist/1", image_size=28, patch_nums=_SCALES_28,
                       strides=(2, 2), multipliers=(1, 2, 4), width=16, image_channels=1, blocks=1,
                       groups=8, vocabulary=512, code_dim=16)

PRESETS = {"var-d16": D16, "var-d20": D20, "var-d24": D24, "var-d30": D30, "var-d36": D36,
           "var-fmnist": FMNIST}
VAES = {"var-d16": VAE_256, "var-d20": VAE_256, "var-d24": VAE_256, "var-d30": VAE_256,
        "var-d36": VAE_512, "var-fmnist": VAE_FMNIST}
