"""What `nas prune` is asked to do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from nas.core.errors import UnknownNameError
from nas.pipeline.config import validated
from nas.pipeline.design import TIMM
from nas.pipeline.devices import HOST
from nas.pipeline.prune.amount import Amount, amount
from nas.pipeline.prune.methods import METHODS, method_entry
from nas.pipeline.usual import CROP_SCALE, HFLIP, PRETRAINED, SCRATCH

if TYPE_CHECKING:
    from nas.pipeline.train_request import TrainRequest
    from supernets.training.recipe import Recipe

# Option → the metric that it bounds.
BUDGETS = {"macs": "macs", "params": "params", "max_latency_ms": "latency_ms"}
ALL = "all"
WARM_UP = 0.1  # of all epochs

# What may be written: a number, or a text such as ``"60%"``.
Budget = Annotated[Amount | None, BeforeValidator(amount), WithJsonSchema(
    {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}, {"type": "null"}]},
    mode="validation")]


class PruneRequest(BaseModel):
    """What to prune, and to what. Exactly one of the three budgets is given.

    Attributes:
        model: ``timm:NAME``.
        data: Folder of the images: see `supernets.tasks.opening.open_images`.
        out: Folder of the work; what has been done there already is not done again.
        macs: Most multiply-adds: a number, or ``"60%"`` of the unpruned network's.
        params: Most parameters, likewise.
        max_latency_ms: Largest latency, likewise.
        device: Whose latency counts; ``host`` is this machine.
        threads: ONNX Runtime threads at which latency is measured.
        method: One of `METHODS`, or ``module:attribute``.
        compare: Methods to compare, or ``all``; None: only `method` prunes.
        keep_depth: Whether all blocks stay.
        keep_width: Whether all widths stay.
        exclude: Shell patterns of the paths of layers that stay as they are.
        multiple: Of what widths are; None: 8, and 1 for CIFAR ResNets.
        epochs: Passes over the images, of each training.
        search_epochs: Passes of a search that trains; None: as `epochs`.
        weights: File of the unpruned network's weights; None: it is trained here.
        pretrained: Whether it starts with timm's weights instead.
        fresh: Whether pruned networks are trained from new weights, or inherit.
        kd: Whether they learn from the unpruned network, too.
        batch_size: Images of a step.
        optimizer: ``sgd`` or ``adamw``.
        learning_rate: Peak; None: as usual for the optimizer, and for weights that are inherited.
        dataset: timm's name of the data set; None: folders or idx files, whatever there is.
        download: Whether the data set may be fetched.
        image_size: Side of the images; the model's own if absent.
        hflip: Share of training images that are mirrored.
        crop_scale: Shares of an image's area that random crops have; ``"0.35,1"`` will do.
        workers: Processes that make batches; None: as usual.
        seed: Of everything random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str
    data: Path
    out: Path = Path("prune")
    macs: Budget = None
    params: Budget = None
    max_latency_ms: Budget = None
    device: str = HOST
    threads: int = Field(default=1, ge=1)
    method: str = "tas"
    compare: tuple[str, ...] = ()
    keep_depth: bool = False
    keep_width: bool = False
    exclude: tuple[str, ...] = ()
    multiple: int | None = Field(default=None, ge=1)
    epochs: int = Field(default=30, ge=1)
    search_epochs: int | None = Field(default=None, ge=1)
    weights: Path | None = None
    pretrained: bool = False
    fresh: bool = False
    kd: bool = True
    batch_size: int = Field(default=64, ge=2)
    optimizer: str = SCRATCH.optimizer
    learning_rate: float | None = Field(default=None, gt=0)
    dataset: str | None = None
    download: bool = False
    image_size: int | None = Field(default=None, ge=1)
    hflip: float = Field(default=HFLIP, ge=0, le=1)
    crop_scale: tuple[float, float] = CROP_SCALE
    workers: int | None = Field(default=None, ge=0)
    seed: int = Field(default=0, ge=0)

    @field_validator("compare", "crop_scale", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("model")
    @classmethod
    def _is_timm(cls, value: str) -> str:
        if not value.startswith(TIMM):
            raise ValueError("models of timm can be pruned: give timm:NAME")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "PruneRequest":
        given = [option for option in BUDGETS if getattr(self, option) is not None]
        if len(given) != 1:
            raise ValueError("give one budget: --macs, --params or --max-latency-ms"
                             + (f", not {len(given)} of them" if given else ""))
        if self.keep_depth and self.keep_width:
            raise ValueError("--keep-depth and --keep-width leave nothing to prune; give one")
        if self.weights is not None and self.pretrained:
            raise ValueError(f"--weights {self.weights} and --pretrained are two sources of "
                             "weights; give one of them")
        if self.device != HOST and self.max_latency_ms is None:
            raise ValueError(f"--device {self.device} is for --max-latency-ms; the other budgets "
                             "are the same on every device: drop it")
        for name in {self.method, *self.methods}:
            try:
                method_entry(name)
            except UnknownNameError as error:
                raise ValueError(str(error)) from None
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"--crop-scale {','.join(map(str, self.crop_scale))} is not two "
                             "shares of an image's area above 0, the smaller first")
        return self

    @property
    def name(self) -> str:
        """The model's name in timm."""
        return self.model.removeprefix(TIMM)

    @property
    def metric(self) -> str:
        """What the budget bounds."""
        return BUDGETS[self._budget]

    @property
    def amount(self) -> Amount:
        """The budget."""
        found: Amount = getattr(self, self._budget)
        return found

    @property
    def methods(self) -> tuple[str, ...]:
        """Those that are compared, or the one that prunes."""
        if self.compare == (ALL,):
            return tuple(entry.name for entry in METHODS.entries)
        return tuple(dict.fromkeys(self.compare)) or (self.method,)

    @property
    def _budget(self) -> str:
        return next(option for option in BUDGETS if getattr(self, option) is not None)

    def images(self) -> "TrainRequest":
        """Returns what a training of a timm model is told of its images."""
        from nas.pipeline.train_request import TrainRequest  # brings torch

        return TrainRequest(supernet=self.model, data=self.data, out=self.out, seed=self.seed,
                            dataset=self.dataset, download=self.download, hflip=self.hflip,
                            image_size=self.image_size, crop_scale=self.crop_scale)

    def recipe(self, *, inherited: bool) -> "Recipe":
        """Returns how networks are trained.

        Args:
            inherited: Whether they start with good weights.

        Raises:
            InputError: An optimizer that is not known.
        """
        from supernets.training.recipe import Recipe  # brings torch

        usual = PRETRAINED if inherited else SCRATCH
        values: dict[str, Any] = {
            "learning_rate": self.learning_rate or usual.learning_rates.get(self.optimizer),
            "weight_decay": usual.weight_decays.get(self.optimizer)}
        # An optimizer that is not known has no usual values, and is refused by its name.
        known = {name: value for name, value in values.items() if value is not None}
        return Recipe(epochs=self.epochs, optimizer=self.optimizer, label_smoothing=0.0,
                      warmup_epochs=WARM_UP * self.epochs, **known)


def make_prune_request(values: dict[str, Any]) -> PruneRequest:
    """Returns the request of these values.

    Raises:
        InputError: An unknown key, a value out of range or values that contradict each other; one
            line.
    """
    return validated(PruneRequest, values)
