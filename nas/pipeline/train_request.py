"""What `nas train` is asked to do."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from nas.pipeline.config import validated
from nas.pipeline.design import TIMM
from nas.pipeline.train_speech_options import OF_SPEECH, SpeechOptions, is_speech
from nas.pipeline.train_var_options import OF_VAR, VarOptions, is_var
from nas.pipeline.usual import CROP_SCALE, HFLIP
from supernets.timm.make import IMPORTANCE
from supernets.training.rules import RULES
from supernets.training.timm_augmentation import TimmAugmentation

# What only a supernet of a timm model can be told.
OF_TIMM = ("dataset", "download", "pretrained", "weights", "new_head", "image_size",
           "resolutions", "importance", "calibration", "teacher", "teacher_weights", "workers",
           "crop_scale", "hflip", "color_jitter", "auto_augment", "random_erasing", "mixup",
           "cutmix")

# What a supernet of speech cannot be told.
OF_IMAGES = (*(name for name in OF_TIMM if name not in ("weights", "teacher")), "batch_size",
             "label_smoothing", "layer_decay", "tensorboard")

# What a supernet that generates images cannot be told.
OF_CLASSIFIERS = (*(name for name in OF_TIMM if name != "weights"), "rule", "front",
                  "layer_decay", "label_smoothing", "tensorboard")

_GENERATION = "is for supernets that generate images (--supernet var-fmnist)"

AUGMENTATION = TimmAugmentation(scale=CROP_SCALE, hflip=HFLIP, color_jitter=0.2)


class TrainRequest(SpeechOptions, VarOptions):
    """What to train. What is None takes the family's usual value.

    Further attributes are those of `SpeechOptions` and `VarOptions`.

    Attributes:
        supernet: Name of a family member to train anew, or ``timm:NAME``.
        data: Folder of the images, or of audio files. For timm supernets see
            `supernets.tasks.opening.open_images`; for others idx files (train-… and t10k-…),
            plain or gzipped, whose class names are read from ``labels.txt``, one a line, where
            there is one.
        out: Folder to make; a folder that holds a checkpoint is resumed.
        epochs: Passes over the training images, or those of speech's stage 2; 0, for timm
            supernets, trains nothing. Where images are generated, all passes of the transformer.
        batch_size: Images of a batch.
        rule: Which architectures a step runs: one of `supernets.training.rules.RULES`.
        front: Run folder of a finished search, around whose front the rule ``pareto`` draws.
        optimizer: ``sgd`` or ``adamw``.
        schedule: Of the learning rate: ``cosine`` or ``one-cycle``.
        learning_rate: Peak.
        weight_decay: See `supernets.training.recipe.Recipe`, also for what follows.
        layer_decay: Factor on the learning rate from each layer to the one before it.
        label_smoothing: Of the loss.
        teaching: See `supernets.training.trainer.TrainConfig`.
        accumulation: Batches of one update.
        clip_norm: Largest norm of the gradients.
        ema_decay: Of the average of the weights that becomes the result.
        precision: ``no``, ``bf16`` or ``fp16``.
        tensorboard: Whether to log into a folder of `out`.
        seed: Of everything random.
        checkpoint_s: Seconds of work that a kill may cost: the time between checkpoints.
        dataset: timm's name of the data set; idx files are found by looking.
        download: Whether the data set may be fetched.
        pretrained: Whether to start with timm's weights.
        weights: File of weights to start with; of speech also a folder: see
            `supernets.hubert.checkpoints.load_checkpoint`; of VAR see
            `supernets.var.checkpoints.load_var`.
        new_head: Whether weights of other classes get a new head.
        image_size: Side of the images; the model's own if absent.
        resolutions: Smaller sides that networks may work on; ``"96,128"`` will do.
        importance: What channels, heads and blocks are sorted by.
        calibration: Images of ``train_calib``.
        teacher: ``timm:NAME`` of a network that the largest architecture learns from, too; of
            speech a file or folder: see `supernets.hubert.open_teacher`.
        teacher_weights: File of its weights; timm's if absent.
        workers: Processes that make batches.
        crop_scale: `TimmAugmentation.scale`; ``"0.35,1"`` will do. What follows is of that, too.
        hflip: Share of images that are mirrored left to right.
        color_jitter: Of brightness, contrast and saturation.
        auto_augment: timm's name of a policy, none if empty.
        random_erasing: Share of images that lose a rectangle.
        mixup: α of the weights with which pairs of images are averaged; 0 for none.
        cutmix: α of the areas that pairs of images swap; 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    supernet: str = "mobilenet-fmnist"
    data: Path
    out: Path
    epochs: int | None = Field(default=None, ge=0)
    batch_size: int | None = Field(default=None, ge=2)
    rule: str | None = None
    front: Path | None = None
    optimizer: str | None = None
    schedule: str = "cosine"
    learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float | None = Field(default=None, ge=0)
    layer_decay: float | None = Field(default=None, gt=0, lt=1)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    teaching: float = Field(default=1.0, ge=0, le=1)
    accumulation: int = Field(default=1, ge=1)
    clip_norm: float | None = Field(default=None, gt=0)
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    precision: str = "no"
    tensorboard: bool = False
    seed: int = Field(default=0, ge=0)
    checkpoint_s: float = Field(default=120.0, ge=0)
    dataset: str | None = None
    download: bool = False
    pretrained: bool = False
    weights: Path | None = None
    new_head: bool = False
    image_size: int | None = Field(default=None, ge=1)
    resolutions: tuple[int, ...] = ()
    importance: str | None = None
    calibration: int | None = Field(default=None, ge=2)
    teacher: str | None = None
    teacher_weights: Path | None = None
    workers: int | None = Field(default=None, ge=0)
    crop_scale: tuple[float, float] = AUGMENTATION.scale
    hflip: float = Field(default=AUGMENTATION.hflip, ge=0, le=1)
    color_jitter: float = Field(default=AUGMENTATION.color_jitter, ge=0)
    auto_augment: str = AUGMENTATION.auto_augment
    random_erasing: float = Field(default=AUGMENTATION.re_prob, ge=0, le=1)
    mixup: float = Field(default=AUGMENTATION.mixup, ge=0)
    cutmix: float = Field(default=AUGMENTATION.cutmix, ge=0)

    @field_validator("resolutions", "crop_scale", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value or ()

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainRequest":
        if self.rule is not None and self.rule not in RULES:
            raise ValueError(f"--rule {self.rule!r} is none of {', '.join(RULES)}")
        if (self.rule == "pareto") != (self.front is not None):
            raise ValueError("--rule pareto draws around the front of a finished search, and no "
                             "other rule does: give it with --front RUN_DIR, or neither")
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"--crop-scale {','.join(map(str, self.crop_scale))} is not two "
                             "shares of an image's area above 0, the smaller first; timm's are "
                             "0.08,1")
        if self.importance not in (None, *IMPORTANCE):
            raise ValueError(f"--importance {self.importance!r} is none of "
                             f"{', '.join(IMPORTANCE)}")
        self._check_family()
        if self.teacher_weights is not None and self.teacher is None:
            raise ValueError("--teacher-weights are of no --teacher; give its timm:NAME")
        return self

    def _check_family(self) -> None:
        if self.is_speech:
            self._refuse(OF_IMAGES, "is for supernets of images")
            self._refuse(OF_VAR, _GENERATION)
            self.check_stages(self.supernet, self.teacher, self.epochs)
            return
        self._refuse(OF_SPEECH, "is for supernets of speech (--supernet hubert-tiny)")
        if self.is_var:
            self._refuse(OF_CLASSIFIERS, "is for other kinds of supernets")
            self.check_phases(epochs=self.epochs, weights=self.weights, teaching=self.teaching)
            return
        self._refuse(OF_VAR, _GENERATION)
        if not self.is_timm:
            self._refuse(OF_TIMM, "is for supernets of timm models (--supernet timm:NAME)")
            if self.epochs == 0:
                raise ValueError("--epochs 0: only a supernet of a timm model has weights without "
                                 "training; give 1 or more")

    def _refuse(self, names: Sequence[str], why: str) -> None:
        fields = type(self).model_fields
        other = [name for name in names if getattr(self, name) != fields[name].default]
        if other:
            raise ValueError(f"--{other[0].replace('_', '-')} {why}, not for {self.supernet}")

    @property
    def is_speech(self) -> bool:
        """Whether it learns from a teacher of speech."""
        return is_speech(self.supernet)

    @property
    def is_var(self) -> bool:
        """Whether it learns to generate images."""
        return is_var(self.supernet)

    @property
    def is_timm(self) -> bool:
        """Whether the supernet is made of a timm model."""
        return self.supernet.startswith(TIMM)

    @property
    def augmentation(self) -> TimmAugmentation:
        """What is random about an image of a timm supernet's training."""
        return replace(AUGMENTATION, scale=self.crop_scale, hflip=self.hflip,
                       color_jitter=self.color_jitter, auto_augment=self.auto_augment,
                       re_prob=self.random_erasing, mixup=self.mixup, cutmix=self.cutmix)

    @property
    def checkpoint(self) -> Path:
        """The file of the checkpoints, where there are several stages that of the last one."""
        if self.is_speech:
            return self.stages[0 if self.epochs == 0 else 1]
        return self.out / ("transformer.pt" if self.is_var else "checkpoint.pt")

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """All files of checkpoints that there may be and that know the options."""
        return self.stages if self.is_speech else (self.checkpoint,)

    @property
    def prepared(self) -> dict[str, Path]:
        """Stage → its file, of the stages before, which know their own part of the options."""
        names = ("classifier", "vqvae", "tokens") if self.is_var else ()
        return {name: self.out / f"{name}.pt" for name in names}

    @property
    def stages(self) -> tuple[Path, Path]:
        """The files of the checkpoints of both stages of speech."""
        return self.out / "stage1.pt", self.out / "stage2.pt"

    @property
    def targets_folder(self) -> Path:
        """The folder of what the teacher says of speech."""
        return self.out / "targets"

    @property
    def log_folder(self) -> Path:
        """The folder of the log for TensorBoard."""
        return self.out / "tensorboard"

    @property
    def log(self) -> Path | None:
        """The same, if there is to be one."""
        return self.log_folder if self.tensorboard else None


def make_request(values: dict[str, Any]) -> TrainRequest:
    """Returns the request of these values.

    Raises:
        InputError: An unknown key, a value out of range or values that contradict each other; one
            line.
    """
    return validated(TrainRequest, values)
