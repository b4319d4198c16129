"""Named members of the mobilenet family."""

from supernets.mobilenet.config import MobileNetConfig, StageConfig

# 28×28 grey images; ≤4 MMAC at the largest, so that two cores train it in a morning. The last
# stages see 4×4 maps: a 7×7 kernel would read mostly padding there.
FMNIST = MobileNetConfig(
    name="mobilenet-fmnist/1",
    input_shape=(1, 28, 28),
    num_classes=10,
    stem_width=16,
    head_width=192,
    stages=(
        StageConfig(widths=(8, 16), depths=(1, 2), kernels=(3, 5), expansions=(2, 3)),
        StageConfig(widths=(16, 24), depths=(1, 2, 3), expansions=(2, 3), stride=2),
        StageConfig(widths=(24, 32, 40), depths=(1, 2, 3), expansions=(2, 3, 4), stride=2),
        StageConfig(widths=(48, 56, 64), depths=(1, 2), kernels=(3, 5), expansions=(2, 3),
                    se_ratio=0.25),
    ),
)
