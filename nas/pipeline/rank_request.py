"""What `nas rank` is asked to do."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from nas.core.errors import InputError
from nas.core.types import Weights

VALIDATION = "validation"  # with inherited weights, as the truth
MIN_NETWORKS = 3  # below, an order says nothing


class RankRequest(BaseModel):
    """One ranking.

    Attributes:
        supernet: Whose networks are drawn, where no `models` are given.
        models: Plain models to rank instead, ``timm:NAME`` each.
        proxies: Names or ``module:attribute``.
        n: Networks drawn from the supernet's space.
        against: ``"validation"`` with inherited weights, a file of labels (higher is better) by
            digest or model, or None: nothing to compare with.
        weights: In which the networks of a supernet are scored.
        batch: Inputs that each score is computed on.
        seed: Of the networks drawn, initialisation and resampling.
        out: Folder of scores and picture; a ranking that was stopped there goes on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    supernet: str = "mobilenet-fmnist"
    models: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ("gradsign", "naswot", "synflow")
    n: int = Field(default=200, ge=MIN_NETWORKS)
    against: str | None = None
    weights: Weights = "fresh"
    batch: int = Field(default=32, ge=1)
    seed: int = Field(default=0, ge=0)
    out: Path = Path("rank")

    @field_validator("proxies", "models")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("a name comes twice")
        return names


def require_proxies(request: RankRequest) -> None:
    """Passes if there is something to rank by.

    Raises:
        InputError: There is nothing.
    """
    if not request.proxies:
        raise InputError("--proxy: name at least one of `nas list proxies`")
