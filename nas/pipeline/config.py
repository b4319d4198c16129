"""What a search is asked to do: a frozen value, written to ``config.toml`` and read back."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hardware_profiles.profile import Precision
from nas.core.errors import InputError
from nas.core.problem import Constraint, Objective

Model = TypeVar("Model", bound=BaseModel)

# Every metric that a search can trade, with its unit.
METRICS = {"error": "%", "latency_ms": "ms", "params": "1", "macs": "MAC", "activation_bytes": "B",
           "energy_mj": "mJ"}

# Option of the command line → metric that it bounds.
BOUNDS = {"max_latency_ms": "latency_ms", "max_params": "params", "max_macs": "macs",
          "max_memory": "activation_bytes"}


class SearchConfig(BaseModel):
    """One search.

    Attributes:
        supernet: A registered name, ``module:factory``, or a folder that `nas train` made.
        device: Whose latency counts; ``host`` is this machine.
        objectives: Names of metrics, all minimised: see `METRICS`.
        max_latency_ms: Largest latency allowed; an estimate is held to it at its upper end.
        max_params: Largest number of parameters.
        max_macs: Largest number of multiply-adds.
        max_memory: Largest live set of activations, in bytes at batch 1.
        proxy: Zero-cost proxies whose early exits candidates must pass, cheapest first.
        surrogate: Whether candidates must also pass the exit of a learnt predictor.
        searcher: A registered name or ``module:attribute``.
        budget: Full validations.
        require_measured: Whether an estimate of the device's latencies will not do.
        executor: A registered name or ``module:attribute``.
        threads: ONNX Runtime threads at which latency is measured.
        precision: In which latency counts; None: fp32 on this machine, elsewhere whatever there is.
        batch: Of each inference whose latency counts; None: 1 on this machine, elsewhere as above.
        seed: Of everything random.
        storage: Optuna storage URL of the ledger; a journal file in the run folder if absent.
        out: The run folder, which must not exist; made under ``runs/`` if absent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    supernet: str = "mobilenet-fmnist"
    device: str = "host"
    objectives: tuple[str, ...] = ("error", "latency_ms")
    max_latency_ms: float | None = Field(default=None, gt=0)
    max_params: int | None = Field(default=None, gt=0)
    max_macs: int | None = Field(default=None, gt=0)
    max_memory: int | None = Field(default=None, gt=0)
    proxy: tuple[str, ...] = ()
    surrogate: bool = False
    searcher: str = "evolution"
    budget: int = Field(default=64, ge=1)
    require_measured: bool = False
    executor: str = "serial"
    threads: int = Field(default=1, ge=1)
    precision: Precision | None = None
    batch: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    storage: str | None = None
    out: Path | None = None

    @field_validator("supernet", "device", "searcher", "executor", "storage", "out")
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

    def objective_values(self) -> tuple[Objective, ...]:
        """Returns the objectives with their units."""
        return tuple(Objective(name, METRICS[name]) for name in self.objectives)

    def constraints(self) -> tuple[Constraint, ...]:
        """Returns the bounds that were given."""
        given = ((option, metric, getattr(self, option)) for option, metric in BOUNDS.items())
        return tuple(Constraint(metric, float(bound), f"--{option.replace('_', '-')} {bound:g}")
                     for option, metric, bound in given if bound is not None)

    def identity(self) -> dict[str, Any]:
        """Returns what a ledger must agree on to belong to this search."""
        return self.model_dump(mode="json", exclude_none=True,
                               exclude={"out", "storage", "require_measured"})


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
        first = error.errors()[0]
        option = f"--{first['loc'][0]}".replace("_", "-") if first["loc"] else "configuration"
        message = str(first["msg"]).removeprefix("Value error, ")
        raise InputError(f"{option}: {message} (got {first['input']!r})") from None


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
