"""What can be submitted: a kind of job and its configuration. Imports no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from nas.core.errors import InputError
from nas.pipeline.config import SearchConfig, Wrong, first_wrong
from nas.pipeline.extras import Extras
from nas.pipeline.prune.request import PruneRequest
from nas.pipeline.rank_request import RankRequest

# Of jobs and uploads: what cannot lead out of a folder.
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ExportRequest(BaseModel):
    """One export: a validated network of a search as a bundle of its own.

    Attributes:
        job: Id of the search.
        digest: Of one of its networks; None: the winner, to whose bundle files are to be added.
        precision: ``int8`` adds a quantised file beside the fp32 one.
        calibration: Images that int8 is calibrated with; the supernet's own if absent.
        features: Whether to add the network as a backbone: one output for each stage.
        out_indices: Stages of `features`, as timm counts them; all if absent.
        example: ``wav`` adds a script that runs a speech encoder on a WAV file.
    """

    model_config = _FROZEN

    job: Id
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")] | None = None
    precision: Literal["fp32", "int8"] = "fp32"
    calibration: Path | None = None
    features: bool = False
    out_indices: tuple[int, ...] | None = None
    example: Literal["wav"] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "ExportRequest":
        try:
            self.extras()
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    def extras(self) -> Extras:
        """Returns the files to add.

        Raises:
            InputError: Images or stages for a file that is not asked for.
        """
        return Extras(int8=self.precision == "int8", calibration=self.calibration,
                      features=self.features, indices=self.out_indices, example=self.example)


class ImportRequest(BaseModel):
    """One import of what the agent has measured on a board.

    Attributes:
        result: Id of the upload of the agent's file.
        bundle: Id of the upload of the bundle that was measured; needed where this server did not
            export it.
        supernet: Needed where it is called or lies elsewhere than at export.
    """

    model_config = _FROZEN

    result: Id
    bundle: Id | None = None
    supernet: str | None = None


class SearchJob(BaseModel):
    """A search; with `SearchConfig.compare`, a comparison of searchers."""

    model_config = _FROZEN
    kind: Literal["search"]
    config: SearchConfig


class RankJob(BaseModel):
    """A ranking of networks by zero-cost proxies."""

    model_config = _FROZEN
    kind: Literal["rank"]
    config: RankRequest


class PruneJob(BaseModel):
    """The pruning of a network, or a comparison of methods."""

    model_config = _FROZEN
    kind: Literal["prune"]
    config: PruneRequest


class ExportJob(BaseModel):
    """The export of a network."""

    model_config = _FROZEN
    kind: Literal["export"]
    config: ExportRequest


class ImportJob(BaseModel):
    """The import of a profile."""

    model_config = _FROZEN
    kind: Literal["import"]
    config: ImportRequest


JobRequest = Annotated[SearchJob | RankJob | PruneJob | ExportJob | ImportJob,
                       Field(discriminator="kind")]
KINDS = ("search", "rank", "prune", "export", "import")

_ADAPTER: TypeAdapter[JobRequest] = TypeAdapter(JobRequest)


def read_request(kind: str, config: Mapping[str, Any]) -> JobRequest:
    """Returns the request of a kind and a configuration as JSON values.

    Raises:
        InputError: The first thing that is wrong, in the command line's words.
    """
    try:
        return _ADAPTER.validate_python({"kind": kind, "config": dict(config)})
    except ValidationError as error:
        raise InputError(wrong_request(error.errors()).message) from None


def config_values(request: JobRequest) -> dict[str, Any]:
    """Returns the configuration as JSON values, of which `read_request` makes it again.

    Where the result goes is not among them: that is the server's business.
    """
    return request.config.model_dump(mode="json", exclude={"out"})


def wrong_request(errors: Sequence[Mapping[str, Any]]) -> Wrong:
    """Returns the first thing that is wrong with a request, in the command line's words.

    Args:
        errors: As pydantic or FastAPI gives them for a `JobRequest`.
    """
    first = errors[0]
    place = [part for part in first["loc"] if part != "body"]
    if place[:1] and place[0] in KINDS:
        place = place[1:]
    if (place[:1] == ["config"] and first["type"] != "missing") or place[1:]:
        return first_wrong([{**first, "loc": tuple(place[1:])}])
    message = str(first["msg"]).removeprefix("Value error, ")
    name = str(place[0]) if place else None
    return Wrong(f"{name}: {message}" if name else message, name)


def title(request: JobRequest) -> str:
    """Returns what a job is about in a few words, such as ``"mobilenet-fmnist on host"``."""
    match request:
        case SearchJob(config=config):
            return f"{config.supernet} on {config.device}"
        case RankJob(config=config):
            return ", ".join(config.models) or f"{config.n} networks of {config.supernet}"
        case PruneJob(config=config):
            return f"{config.model} to {config.amount.text} {config.metric}"
        case ExportJob(config=config):
            return f"{config.digest or 'winner'} of {config.job}"
        case ImportJob(config=config):
            return f"result {config.result}"


def uploads(request: JobRequest) -> list[str]:
    """Returns the ids of the uploads that a request refers to."""
    if isinstance(request, ImportJob):
        named = (request.config.result, request.config.bundle)
        return [upload for upload in named if upload is not None]
    return []


def jobs(request: JobRequest) -> list[str]:
    """Returns the ids of the jobs that a request refers to."""
    return [request.config.job] if isinstance(request, ExportJob) else []
