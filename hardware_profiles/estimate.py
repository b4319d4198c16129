"""Shipped estimates: what a board's latency follows from until somebody has measured that board.

An estimate is one JSON file of the folder ``devices``: a few coefficients over additive features
(see `hardware_profiles.features`), the published measurements that they were fitted to, and how
far off the same fit was on networks that it had not seen.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from hardware_profiles.profile import Device, Quality, Runtime
from nas.core.errors import ProfileError
from nas.core.registry import unknown_name

REINSTALL = "the installation is damaged; install nas-service again"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(_Frozen):
    """Where measurements were published, and under what conditions they were taken.

    Attributes:
        project: The project that published them.
        path: Of the page inside its repository.
        commit: Of the repository.
        licence: SPDX identifier.
        runtime: What ran the networks, as the source names it.
        software: Version of the board's software; None where the source does not say.
        io_included: Whether copies to and from the device are part of the time.
    """

    project: str
    path: str
    commit: str
    licence: str
    runtime: str
    software: str | None
    io_included: bool


class EstimateRow(_Frozen):
    """One published measurement.

    Attributes:
        model: As the source names it.
        family: Architectures of one family are left out together.
        input_px: Side of the square input image, 3 channels, batch 1.
        latency_ms: As published.
        source: Key of `DeviceEstimate.sources`.
        use: ``fit`` determines the coefficients and is scored; ``shared`` was taken under another
            condition and only informs what all boards share; ``aside`` is not used at all.
        features: Of `hardware_profiles.features`, over the whole network.
    """

    model: str
    family: str
    input_px: int
    latency_ms: float
    source: str
    use: Literal["fit", "shared", "aside"]
    features: dict[str, float]


class Term(_Frozen):
    """A coefficient that several features share.

    Attributes:
        features: Their sum is what the coefficient multiplies.
        ms: Milliseconds per unit of that sum.
        fitted: Smallest and largest sum over the board's rows of use ``fit``.
    """

    features: tuple[str, ...]
    ms: float
    fitted: tuple[float, float]


class DeviceEstimate(_Frozen):
    """The estimate of one board.

    Attributes:
        schema_version: Of this form.
        id: Names the board in files and options.
        name: For people.
        aliases: Other names.
        device: What is known of the board.
        runtime: What ran the networks.
        terms: Name → coefficient; a latency is the sum over the terms.
        shrinkage: Of the fit; see `hardware_profiles.estimate_fit`.
        rows: All measurements of this board.
        sources: Where they were published.
        input_px: Smallest and largest input side of the rows of use ``fit``.
        macs: The same of their multiply-adds.
        held_out: Leaving one model out on every board at once, form and strength of the fit
            chosen anew without it.
        held_out_family: The same, leaving out a whole family of models.
        macs_only: One factor on the multiply-adds alone, one model left out.
        lower_ratio: Measured / predicted, lower bound; see `hardware_profiles.estimate_fit`.
        upper_ratio: Upper bound.
        coverage: Share of held-out models at or below the upper bound.
        coverage_family: The same, each family judged by a bound from the other families.
        licence: Of this file; its rows are under the licences of their sources.
    """

    schema_version: Literal[1] = 1
    id: str
    name: str
    aliases: tuple[str, ...] = ()
    device: Device
    runtime: Runtime
    terms: dict[str, Term]
    shrinkage: float
    rows: tuple[EstimateRow, ...]
    sources: dict[str, Source]
    input_px: tuple[int, int]
    macs: tuple[float, float]
    held_out: Quality
    held_out_family: Quality
    macs_only: Quality
    lower_ratio: float
    upper_ratio: float
    coverage: float
    coverage_family: float
    licence: str

    @property
    def coefficients(self) -> Mapping[str, float]:
        """Feature → ms a unit."""
        return {feature: term.ms for term in self.terms.values() for feature in term.features}


@cache
def shipped_estimates() -> Mapping[str, DeviceEstimate]:
    """Returns every shipped estimate by id, sorted.

    Raises:
        ProfileError: A file is damaged.
    """
    folder = files("hardware_profiles") / "devices"
    found = [_read(path.name, path.read_bytes()) for path in folder.iterdir()
             if path.name.endswith(".json")]
    return {estimate.id: estimate for estimate in sorted(found, key=lambda one: one.id)}


def find_estimate(name: str) -> DeviceEstimate:
    """Returns the shipped estimate of a board, by its id or an alias.

    Raises:
        ProfileError: There is none of that name.
    """
    known = shipped_estimates()
    for estimate in known.values():
        if name in (estimate.id, *estimate.aliases):
            return estimate
    raise ProfileError(f"no estimate is shipped for it: {unknown_name('device', name, [*known])}")


def _read(name: str, content: bytes) -> DeviceEstimate:
    try:
        return DeviceEstimate.model_validate(json.loads(content))
    except (ValueError, ValidationError) as error:
        line = " ".join(str(error).split())
        raise ProfileError(f"estimate {name} is damaged ({line}); {REINSTALL}") from None
