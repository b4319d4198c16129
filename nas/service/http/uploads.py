"""Files that jobs need and the server does not have: read piece by piece, checked, kept."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

from anyio import from_thread, to_thread
from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from nas.core.files import partial_file, sync_folder, write_chunks
from nas.service.http.answers import json_answer
from nas.service.http.auth import Guarded, KnownCaller
from nas.service.http.errors import HttpError, documented
from nas.service.http.models import Upload
from nas.service.http.state import UPLOADS_AT_ONCE, Service, TheService
from nas.service.http.stored_uploads import new_id, write_card
from nas.service.http.upload_check import UploadKind, check_upload

PATH = "/api/v1/uploads"

_SILENCE_S = 60.0
_BODY = {"requestBody": {"required": True, "content": {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}


def upload_router(max_bytes: int) -> APIRouter:
    """Returns the route of uploads of at most so many bytes."""
    router = APIRouter(tags=["uploads"], route_class=Guarded)
    router.add_api_route(
        PATH, _upload, methods=["POST"], status_code=201, response_model=Upload,
        summary="Upload a file", openapi_extra=_BODY, max_body_size=max_bytes,
        responses=documented(400, 401, 403, 408, 413, 422, 429, 503, 507))
    return router


async def _upload(
    request: Request, service: TheService, caller: KnownCaller,
    kind: Annotated[UploadKind, Query(description="result: what the agent has measured; "
                                      "bundle: what `nas profile export` has written.")],
) -> Response:
    """Takes a file as it is, as the body, and gives the id by which a job names it.

    It is checked as `nas profile import` checks it.
    """
    if service.uploads_now >= UPLOADS_AT_ONCE:
        raise HttpError(429, "busy", f"{UPLOADS_AT_ONCE} files are being uploaded; try again",
                        {"Retry-After": "10"})
    service.uploads_now += 1
    try:
        return json_answer(await _kept(request, service, caller.user, kind), status=201)
    finally:
        service.uploads_now -= 1


async def _kept(request: Request, service: Service, user: str, kind: UploadKind
                ) -> dict[str, object]:
    upload_id, hashed, size = new_id(), hashlib.sha256(), 0
    path = service.folder.upload(upload_id)
    temporary = partial_file(path)

    def counted() -> Iterator[bytes]:
        nonlocal size
        pieces = request.stream().__aiter__()
        while piece := from_thread.run(_next_piece, pieces):
            hashed.update(piece)
            size += len(piece)
            yield piece

    try:
        await to_thread.run_sync(write_chunks, temporary, counted(),
                                 limiter=service.upload_threads)
        await to_thread.run_sync(partial(check_upload, temporary, kind,
                                         max_bytes=service.settings.max_upload_bytes))
        await to_thread.run_sync(partial(_keep, temporary, path))
        try:
            await to_thread.run_sync(partial(
                write_card, service.folder, upload_id, kind=kind, user=user, size=size,
                sha256=hashed.hexdigest()))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except ClientDisconnect:
        raise HttpError(400, "bad_request", "the file has not come whole; upload it again"
                        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return {"id": upload_id, "bytes": size, "sha256": hashed.hexdigest()}


async def _next_piece(pieces: AsyncIterator[bytes]) -> bytes:
    try:
        async with asyncio.timeout(_SILENCE_S):
            return await anext(pieces, b"")
    except TimeoutError:
        raise HttpError(408, "too_slow", f"nothing came for {_SILENCE_S:.0f} s; upload it again"
                        ) from None


def _keep(temporary: Path, path: Path) -> None:
    temporary.replace(path)
    sync_folder(path.parent)
