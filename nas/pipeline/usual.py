"""How each family of supernets is trained where a request says nothing: values alone, no torch."""

from dataclasses import dataclass

# What is random about a training image: milder than timm's, which is for hundreds of epochs.
HFLIP = 0.5
CROP_SCALE = (0.35, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Usual:
    """What a family does where nothing is said; `TrainRequest` has what each value is."""

    epochs: int
    optimizer: str
    learning_rates: dict[str, float]
    weight_decays: dict[str, float]
    rule: str = "sandwich"
    clip_norm: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class UsualOfImages(Usual):
    """The same of a family of image classifiers."""

    batch_size: int


# That of the shipped supernet; and gentle updates for weights that are good already.
MOBILENET = UsualOfImages(epochs=32, batch_size=128, optimizer="sgd",
                          learning_rates={"sgd": 0.3, "adamw": 3e-3},
                          weight_decays={"sgd": 1e-4, "adamw": 0.05})
PRETRAINED = UsualOfImages(epochs=10, batch_size=64, optimizer="adamw",
                           learning_rates={"sgd": 0.01, "adamw": 2e-4},
                           weight_decays={"sgd": 1e-4, "adamw": 0.05})
SCRATCH = UsualOfImages(epochs=30, batch_size=64, optimizer="adamw",
                        learning_rates={"sgd": 0.1, "adamw": 2e-3},
                        weight_decays={"sgd": 1e-4, "adamw": 0.05})
# Of stage 2. LightHuBERT's authors do not say theirs; the rate is that of HuBERT and data2vec.
# Twice as much made hubert-tiny say the same of every frame, for good.
SPEECH = Usual(epochs=120, optimizer="adamw", learning_rates={"sgd": 0.1, "adamw": 5e-4},
               weight_decays={"sgd": 1e-4, "adamw": 0.01}, rule="single-path", clip_norm=1.0)
