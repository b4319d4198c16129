"""What a search is asked to do: a frozen value, written to ``config.toml`` and read back."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tomli_w
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from hardware_profiles.profile import Precision
from nas.core.errors import InputError
from nas.core.problem import Constraint, Objective
from nas.pipeline.consistency import contradiction
from nas.pipeline.metrics import BOUND_UNITS, BOUNDS, METRICS
from nas.pipeline.texts import Scalar, bounds, options
from nas.pipeline.texts import seconds as time_text

Model = TypeVar("Model", bound=BaseModel)

# What may differ when a search goes on: where its trials run cannot change them.
EXECUTION = ("executor", "workers", "gpus_per_trial", "ray_address", "attempts")
# What a ledger knows by the digest of what was read: see `nas.pipeline.search.inputs`.
DATA = ("data", "pattern", "field", "search_speakers", "test_speakers", "resample")
_SINGULAR = {"searcher_options": "searcher_option"}  # on the command line, one a time
_SHOWN = 200  # characters of a wrong value

SEEDS = 5  # of each searcher that is compared, where nothing is said

# What is different by default where networks are trained.
TRAINED = {"searcher": "optuna-tpe", "executor": "tune"}


class SearchConfig(BaseModel):
    """One search.

    Attributes:
        supernet: A registered name, ``module:factory``, or a folder that `nas train` made.
        device: Whose latency counts; ``host`` is this machine.
        objectives: Names of metrics, all minimised: see `METRICS`.
        max_latency_ms: Largest latency allowed; an estimate is held to it at its upper end.
        max_rtf: Largest real-time factor, of speech: latency over the clip's own length.
        max_params: Largest number of parameters.
        max_macs: Largest number of multiply-adds.
        max_memory: Largest live set of activations, in bytes at batch 1.
        max_kv_mb: Most megabytes (10^6 bytes) of key-value caches, of supernets that make images.
        proxy: Zero-cost proxies whose early exits candidates must pass, cheapest first.
        surrogate: Whether candidates must also pass the exit of a learnt predictor.
        evaluation: Whether networks are validated with the supernet's weights, or each is trained
            first; in the latter case other defaults hold: see `TRAINED`.
        train_epochs: Passes over the training images, of each network.
        train_from: Whether a training starts with the supernet's weights or with new ones.
        train_lr: Peak learning rate; None: as `nas.pipeline.trained` has it.
        data: Of a supernet of images, the folder whose training images (as for `nas train`)
            networks are trained on; None: the supernet's own training images, or ``train_calib``.
            Of one of speech, a folder of labelled clips that a probe of each network is validated
            on; None: windows of its own, on which the distillation loss is.
        pattern: What the names of these clips say: see `supernets.tasks.audio_names.fields_of`.
        field: What the probe is to tell: what is said, or who says it.
        search_speakers: Whose clips are validated on; the last by name of the others if absent.
        test_speakers: Whose clips are tested on; the last by name if absent.
        resample: Whether clips of other sample rates are resampled instead of refused.
        searcher: A registered name or ``module:attribute``.
        searcher_options: Keyword → value, for the searcher.
        budget: Full validations.
        ask: Trials that the searcher is asked for at once, whatever runs them.
        cascade: Whether each network is first validated on a part of the images, and only the
            best of a batch on all of them: see `nas.evaluation.halving`.
        patience: Full validations without a gain after which the search stops; None: never.
        time_limit: Seconds after which no new batch begins, of this process; None: none.
        stop_at: Metric → bound; the search stops at the first network that meets all.
        require_measured: Whether an estimate of the device's latencies will not do.
        executor: A registered name or ``module:attribute``.
        workers: Trials that run at once; None: what the executor finds fit.
        gpus_per_trial: Share of a GPU that each trial takes.
        ray_address: Of the Ray cluster to run on; None: this machine.
        attempts: How often a trial is started whose worker dies; then it has failed.
        threads: ONNX Runtime threads at which latency is measured.
        precision: In which latency counts; None: fp32 on this machine, elsewhere whatever there is.
        batch: Of each inference whose latency counts; None: 1 on this machine, elsewhere as above.
        seconds: Of a clip of speech whose costs count; None: what the supernet validates on.
        quality: Of a supernet that makes images, what ``error`` is, of
            `supernets.tasks.measures.MEASURES`; None: the first of them.
        samples: Images that ``fid`` generates of each network.
        seed: Of everything random.
        storage: Optuna storage URL of the ledger; a journal file in the run folder if absent.
        study: Name of the study in that storage; the run folder's name if absent.
        join: Whether to share the work of a study with the other processes that join it.
        compare: Searchers to run side by side instead of one search: ≥ 2, or none.
        seeds: Of each of them: `seed`, `seed` + 1, …
        out: The run folder, which must not exist; made under ``runs/`` if absent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    supernet: str = "mobilenet-fmnist"
    device: str = "host"
    objectives: tuple[str, ...] = ("error", "latency_ms")
    max_latency_ms: float | None = Field(default=None, gt=0)
    max_rtf: float | None = Field(default=None, gt=0)
    max_params: int | None = Field(default=None, gt=0)
    max_macs: int | None = Field(default=None, gt=0)
    max_memory: int | None = Field(default=None, gt=0)
    max_kv_mb: float | None = Field(default=None, gt=0)
    proxy: tuple[str, ...] = ()
    surrogate: bool = False
    evaluation: Literal["inherited", "trained"] = "inherited"
    train_epochs: int = Field(default=4, ge=1)
    train_from: Literal["inherited", "scratch"] = "inherited"
    train_lr: float | None = Field(default=None, gt=0)
    data: Path | None = None
    pattern: str | None = None
    field: Literal["label", "speaker"] = "label"
    search_speakers: tuple[str, ...] = ()
    test_speakers: tuple[str, ...] = ()
    resample: bool = False
    searcher: str = "linas"
    searcher_options: Annotated[dict[str, Scalar], BeforeValidator(options)] = {}
    budget: int = Field(default=64, ge=1)
    ask: int = Field(default=4, ge=1)
    cascade: bool = False
    patience: int | None = Field(default=None, ge=1)
    time_limit: Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(time_text)] = None
    stop_at: Annotated[dict[str, float], BeforeValidator(bounds)] = {}
    require_measured: bool = False
    executor: str = "serial"
    workers: int | None = Field(default=None, ge=1)
    gpus_per_trial: float = Field(default=0.0, ge=0)
    ray_address: str | None = None
    attempts: int = Field(default=3, ge=1)
    threads: int = Field(default=1, ge=1)
    precision: Precision | None = None
    batch: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    quality: Literal["cross-entropy", "fid"] | None = None
    samples: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    storage: str | None = None
    study: str | None = None
    join: bool = False
    compare: tuple[str, ...] = ()
    seeds: int | None = Field(default=None, ge=1)
    out: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_trained(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("evaluation") == "trained":
            return {**TRAINED, **values}
        return values

    @field_validator("supernet", "device", "searcher", "executor", "storage", "out", "data")
    @classmethod
    def _plain_text(cls, value: str | Path | None) -> str | Path | None:
        if "\0" in str(value):
            raise ValueError("a NUL is no part of a name")
        return value

    @field_validator("objectives")
    @classmethod
    def _known_objectives(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in METRICS]
        if unknown:
            raise ValueError(f"unknown objective {unknown[0]!r}; known: {', '.join(METRICS)}")
        if not names or len(set(names)) < len(names):
            raise ValueError("objectives must be one or more different names")
        return names

    @model_validator(mode="after")
    def _fits_together(self) -> "SearchConfig":
        wrong = contradiction(self)
        if wrong:
            raise ValueError(wrong)
        return self

    def objective_values(self) -> tuple[Objective, ...]:
        """Returns the objectives with their units."""
        return tuple(Objective(name, METRICS[name]) for name in self.objectives)

    def constraints(self) -> tuple[Constraint, ...]:
        """Returns the bounds that were given."""
        given = ((option, metric, getattr(self, option)) for option, metric in BOUNDS.items())
        return tuple(Constraint(metric, float(bound) * BOUND_UNITS.get(option, 1.0),
                                f"--{option.replace('_', '-')} {bound:g}")
                     for option, metric, bound in given if bound is not None)

    def identity(self) -> dict[str, Any]:
        """Returns what a ledger must agree on to belong to this search."""
        return self.model_dump(mode="json", exclude_none=True, exclude={
            "out", "storage", "study", "join", "require_measured", "patience", "time_limit",
            "stop_at", "compare", "seeds", *DATA, *EXECUTION})


def make_config(values: dict[str, Any]) -> SearchConfig:
    """Returns the configuration of these values; absent ones take their defaults.

    Raises:
        InputError: An unknown key or a value out of range; one line.
    """
    return validated(SearchConfig, values)


def validated(model: type[Model], values: dict[str, Any]) -> Model:
    """Returns a configuration object.

    Raises:
        InputError: The first thing that is wrong, by its option.
    """
    try:
        return model(**values)
    except ValidationError as error:
        raise InputError(first_wrong(error.errors()).message) from None


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with the values of a configuration.

    Attributes:
        message: The line that users are told.
        field: Whose value it is; None: values that contradict each other.
    """

    message: str
    field: str | None


def first_wrong(errors: Sequence[Mapping[str, Any]]) -> Wrong:
    """Returns the first thing that is wrong.

    Args:
        errors: As pydantic gives them; each location begins with the name of a value.
    """
    first = errors[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    if not first["loc"]:  # options that contradict each other: the message names them
        return Wrong(message, None)
    name = str(first["loc"][0])
    option = f"--{_SINGULAR.get(name, name)}".replace("_", "-")
    value = repr(first["input"])
    if len(value) > _SHOWN:
        value = f"{value[:_SHOWN]}…"
    return Wrong(f"{option}: {message} (got {value})", name)


def read_config(path: Path) -> dict[str, Any]:
    """Returns the values of a TOML file.

    Raises:
        InputError: The file is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable TOML: {error}") from None


def config_text(config: SearchConfig) -> str:
    """Returns the resolved configuration as TOML."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
