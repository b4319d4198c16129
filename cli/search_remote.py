"""`nas search --server`: the same search, on a server that others share."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.service.client import Client

ANSWER_S = 60.0  # a job is checked for up to 20 s before it is queued


def search_there(url: str, token_file: Path | None, *, resume: Path | None, file: Path | None,
                 given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follows a search on a server to its end and downloads its run folder.

    Args:
        url: Of the server.
        token_file: File of the user's token; None: it is in the environment, or not needed.
        resume: Id of a search that is there already; None: submit one.
        file: TOML file of options that are not given.
        given: Options on the command line.

    Returns:
        What ``--json`` prints.
    """
    from cli.render import progress, say
    from nas.service.client import Client

    with Client(url, token_file=token_file, timeout_s=ANSWER_S,
                say=lambda line: say(f"nas: {line}")) as client:
        job_id, out = (_submitted(client, file, given) if resume is None
                       else _taken_up(client, str(resume), file, given))
        say(f"nas: job {job_id} at {client.url}; Ctrl-C stops watching, the job goes on")
        with progress() as watch:
            return client.result(job_id, watch=watch, out=out).payload


def _submitted(client: "Client", file: Path | None, given: Mapping[str, Any]) -> tuple[str, Path]:
    from nas.pipeline.config import make_config, read_config
    from nas.service.client_download import new_folder

    config = make_config({**(read_config(file) if file else {}), **given})
    out = new_folder(config)  # before the work is done, not after it
    return client.submit(config).id, out


def _taken_up(client: "Client", job_id: str, file: Path | None,
              given: Mapping[str, Any]) -> tuple[str, Path]:
    from nas.core.errors import InputError
    from nas.pipeline.config import make_config
    from nas.service.client_download import new_folder

    other = ["config"] if file else [name for name in given if name != "out"]
    if other:
        raise InputError(f"--resume takes everything from the job; drop "
                         f"--{other[0].replace('_', '-')}")
    job = client.job(job_id)
    # The folder's name comes from these; the rest may be what only the server understands.
    named: dict[str, Any] = {"out": given.get("out")}
    named |= {name: job.config[name] for name in ("supernet", "device") if name in job.config}
    out = new_folder(make_config(named))
    if job.state in ("failed", "cancelled"):
        client.resume(job_id)
    return job_id, out
