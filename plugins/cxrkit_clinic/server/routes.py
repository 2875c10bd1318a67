"""The addresses of the server."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
import uuid
import zipfile
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, cast

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from cxrkit import CxrkitError, __version__
from cxrkit.data.images import FILM_SUFFIXES
from cxrkit.errors import StorageError, printable
from cxrkit_clinic.server.dataset import ConflictError, State
from cxrkit_clinic.server.guard import Guard, error_body, refused
from cxrkit_clinic.server.masks import mask_of
from cxrkit_clinic.server.pool import FullError
from cxrkit_clinic.server.service import Service, busy
from cxrkit_clinic.server.work import Answer, Task

_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_CONTENT = {".png": "image/png", ".dcm": "application/dicom"}
_FILM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["film"],
                    "properties": {"film": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"description": "the token is missing or wrong"},
    413: {"description": "the film is too large"},
    415: {"description": "there is no film in the request"},
    422: {"description": "the film can't be used: `failures` says why, and what to do"},
    429: {"description": "too many films wait; send it again after `Retry-After` seconds"},
}
router = APIRouter()
films = APIRouter(prefix="/v1/films", tags=["the folder that is served"])


class Change(BaseModel):
    """A mask that was corrected."""

    runs: Annotated[
        list[int],
        Field(max_length=5_000_000, description="lengths of alternating runs row by row, the first outside"),
    ]
    height: Annotated[int, Field(ge=1, le=20_000)]
    width: Annotated[int, Field(ge=1, le=20_000)]
    state: State
    base: Annotated[int, Field(ge=0, description="the revision that was corrected; 0 where there was none")]
    who: Annotated[str, Field(max_length=60)] = ""


class Presence(BaseModel):
    """A page that has a film open."""

    session: Annotated[str, Field(min_length=8, max_length=64)]
    who: Annotated[str, Field(max_length=60)] = ""


def make_app(service: Service) -> FastAPI:
    """The application, with what guards it."""
    app = FastAPI(
        title="cxrkit",
        version=__version__,
        description="Segmentation of chest radiographs. For research, not for diagnosis.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(router)
    if service.folder is not None:
        app.include_router(films)
    app.add_middleware(cast(Any, Guard), limits=service.limits, metrics=service.metrics)
    app.add_exception_handler(HTTPException, _explain)
    app.add_exception_handler(RequestValidationError, _explain_request)
    app.add_exception_handler(CxrkitError, _explain_own)
    app.add_exception_handler(OSError, _explain_disk)
    return app


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


async def _explain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(error_body(error.detail), error.status_code, error.headers)


async def _explain_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    what = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}."
    return JSONResponse({"what": what[:500], "remedy": "See /docs."}, 422)


async def _explain_own(request: Request, error: Exception) -> Response:
    assert isinstance(error, CxrkitError)
    return JSONResponse(
        {"what": printable(error.what), "remedy": error.remedy}, 507 if isinstance(error, StorageError) else 422
    )


async def _explain_disk(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    what = f"The server couldn't keep the film while it works on it: {error.strerror or error}."
    return JSONResponse({"what": what, "remedy": "Free some space where it has its temporary files."}, 507)


@cache
def _pages() -> dict[str, tuple[bytes, str]]:
    """The files of the page, by name: nothing else is ever read for an address."""
    folder = files("cxrkit_clinic.server") / "page"
    return {
        file.name: (file.read_bytes(), f"{_KINDS[suffix]}; charset=utf-8")
        for file in folder.iterdir()
        if (suffix := PurePosixPath(file.name).suffix) in _KINDS
    }


def _page(name: str) -> Response:
    if name not in _pages():
        raise refused(404, "There is no such page.")
    content, kind = _pages()[name]
    return Response(content, headers={"Content-Type": kind, "Cache-Control": "no-cache"})


@router.get("/", include_in_schema=False)
def page() -> Response:
    """The page."""
    return _page("index.html")


@router.get("/docs", include_in_schema=False)
def docs() -> Response:
    """A page that lists the addresses."""
    return _page("docs.html")


@router.get("/static/{name}", include_in_schema=False)
def static(name: str) -> Response:
    """A file of the page."""
    return _page(name)


@router.get("/healthz", tags=["the server"])
def health() -> dict[str, str]:
    """Whether the server answers."""
    return {"status": "ok"}


@router.get("/metrics", tags=["the server"], response_class=Response)
def metrics(request: Request) -> Response:
    """What is counted, as Prometheus reads it."""
    return Response(_service(request).metrics.text(), media_type="text/plain; version=0.0.4")


@router.get("/v1/info", tags=["the server"])
def info(request: Request) -> dict[str, Any]:
    """What serves: version, weights, structures and their colours, limits."""
    return _service(request).about


async def _arrived(request: Request, leaving: ExitStack) -> tuple[Path, str]:
    """The file of a film that is uploaded, which is removed when `leaving` ends, and the film's name.

    Raises:
        HTTPException: there is no film, or several.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise refused(415, "The request has no film.", "Send it as a multipart field: curl -F film=@film.png URL.")
    async with request.form(max_files=1, max_fields=10) as form:
        film = form.get("film")
        if not isinstance(film, UploadFile):
            raise refused(415, "The request has no file in a field 'film'.", "curl -F film=@film.png URL")
        name = PurePosixPath(re.sub(r"[\\/]+", "/", film.filename or "")).name
        suffix = PurePosixPath(name).suffix.lower()
        file = _service(request).workplace / f"{uuid.uuid4().hex}{suffix if suffix in FILM_SUFFIXES else ''}"
        leaving.callback(file.unlink, missing_ok=True)
        await _copied(film, file)
        return file, printable(name)[:200] or "film"


async def _copied(film: UploadFile, file: Path) -> None:
    """Copy a film; when interrupted, end only after the thread that copies, which could make the file later."""
    copying = asyncio.ensure_future(asyncio.to_thread(_copy, film, file))
    try:
        await asyncio.shield(copying)
    except asyncio.CancelledError:
        while not copying.done():
            with suppress(asyncio.CancelledError, OSError):
                await asyncio.shield(copying)
        raise


def _copy(film: UploadFile, file: Path) -> None:
    with file.open("xb") as target:
        shutil.copyfileobj(film.file, target)


async def _answer(request: Request, **wanted: Any) -> Answer:
    """The answer to a task about an uploaded film, which takes a place among those that wait when it has arrived."""
    service = _service(request)
    if service.pool.is_full:
        raise busy()
    with ExitStack() as leaving:
        try:
            async with service.uploads.place():
                path, name = await _arrived(request, leaving)
        except TimeoutError:
            raise refused(408, "The film hadn't arrived when another needed its place.", "Send it again.") from None
        except FullError:
            raise busy() from None
        try:
            with service.pool.place() as begin:
                answer = await begin(Task(path, name, **wanted))
        except FullError:
            raise busy() from None
    if not answer.body.get("bits"):
        service.metrics.segmented(failed=answer.failed)
    return answer


def _picture(answer: Answer, status: int) -> Response:
    """A picture: the length of a header, 4 bytes; the header, JSON; the pixels row by row, little-endian."""
    if answer.failed:
        return JSONResponse(answer.body, status)
    header = json.dumps(answer.body).encode()
    header += b" " * (-len(header) % 4)
    return Response(len(header).to_bytes(4, "little") + header + answer.content, media_type="application/octet-stream")


@router.post("/v1/picture", tags=["a film"], openapi_extra=_FILM, responses=_REFUSALS, response_class=Response)
async def picture(request: Request) -> Response:
    """A film's pixels, as the page shows them.

    Four bytes with the length of a header, little-endian; the header as JSON: `width`, `height`, `bits` (8 or 16),
    `window`, `spacing`, `aspect` (height of a pixel over its width); then the pixels, row by row, little-endian.
    """
    return _picture(await _answer(request, picture=True), 422)


@router.post("/v1/segment", tags=["a film"], openapi_extra=_FILM, responses=_REFUSALS)
async def segment(
    request: Request,
    write: Annotated[
        list[str] | None,
        Query(description="a writer whose files are wanted, `masks` or `dicom-seg` say; may be repeated"),
    ] = None,
    file: Annotated[str | None, Query(description="the name of the one file that is wanted")] = None,
    runs: Annotated[bool, Query(description="whether `masks` is wanted: the lengths of each mask's runs")] = False,
) -> Response:
    """Segment a film.

    The answer is what `cxrkit predict --json` prints. With `write` it is a ZIP file of that, `predictions.json`, and
    the files of these writers; with `file`, too, that file alone. Nothing of the film is kept.
    """
    for name in write or ():
        _service(request).registry.get("writer", name)
    answer = await _answer(request, writers=tuple(write or ()), runs=runs)
    if answer.failed or not write:
        return JSONResponse(answer.body, 422 if answer.failed else 200)
    if file is None:
        return Response(await asyncio.to_thread(_zipped, answer), media_type="application/zip")
    if file not in answer.files:
        declined = " ".join(answer.body["films"][0]["declined"])
        there = f"There are: {', '.join(answer.files)}." if answer.files else declined
        raise refused(404, f"There is no file {file!r} among the results.", there)
    kind = _CONTENT.get(PurePosixPath(file).suffix, "application/octet-stream")
    return Response(answer.files[file], media_type=kind)


def _zipped(answer: Answer) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("predictions.json", json.dumps(answer.body, indent=1))
        for name, content in answer.files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@films.get("")
async def list_films(request: Request) -> dict[str, Any]:
    """The films of the folder, and the states of their masks where they are corrected."""
    service = _service(request)
    return {"films": await asyncio.to_thread(_listing, service)}


def _listing(service: Service) -> list[dict[str, Any]]:
    found = [] if service.folder is None else service.folder.films()
    return [{"id": film.id, "name": film.name, "masks": _states(service, film.id)} for film in found]


def _states(service: Service, id: str) -> dict[str, Any]:
    if service.drawings is None:
        return {}
    return {name: asdict(state) for name, state in service.drawings.states(service.film(id)).items()}


@films.get("/{id}/picture", response_class=Response)
async def film_picture(request: Request, id: str) -> Response:
    """The pixels of a film, as those of `POST /v1/picture`; JSON whose `failures` say why it can't be used."""
    service = _service(request)
    film = service.film(id)
    return _picture(await service.do(Task(film.path, film.name, picture=True)), 200)


@films.get("/{id}/masks")
async def film_masks(request: Request, id: str) -> Response:
    """The masks of a film: those that were drawn, and otherwise the network's; and what is measured on them."""
    return await _measured(request, id, propose=_service(request).propose, runs=True)


@films.get("/{id}/measures")
async def film_measures(request: Request, id: str) -> Response:
    """What is measured on the masks that were saved."""
    return await _measured(request, id, propose=False, runs=False)


async def _measured(request: Request, id: str, *, propose: bool, runs: bool) -> Response:
    service = _service(request)
    # Before the masks: one that is saved in between must not come with the revision of its successor.
    states = json.dumps(_states(service, id))
    found = await service.measured(service.film(id), propose=propose, runs=runs)
    return Response(f'{found[:-1]}, "states": {states}}}', media_type="application/json")


@films.post("/{id}/presence")
async def presence(request: Request, id: str, page: Presence) -> dict[str, list[str]]:
    """Say that a page has a film open, and get who else has."""
    service = _service(request)
    return {"others": service.meet(service.film(id), page.session, printable(page.who))}


@films.put("/{id}/masks/{structure}", responses={409: {"description": "somebody else saved it in between"}})
async def save_mask(request: Request, id: str, structure: str, change: Change) -> Response:
    """Save a mask that was corrected."""
    service = _service(request)
    film = service.film(id)
    if service.drawings is None or structure not in service.structures:
        raise refused(404, "No such mask is corrected here.", "Start cxrkit annotate with this structure.")
    known = await service.shape(film)
    if known != (change.height, change.width):
        raise refused(422, f"The mask is {change.width} × {change.height} pixels; the film isn't.", "Load it again.")
    try:
        state = await asyncio.to_thread(_save, service, film, structure, change)
    except ConflictError as conflict:
        what = f"{conflict.current.who or 'Somebody'} saved this mask in between."
        body = {"what": what, "remedy": "Keep yours, or take theirs.", "current": asdict(conflict.current)}
        return JSONResponse(body, 409)
    return JSONResponse(asdict(state))


def _save(service: Service, film: Any, structure: str, change: Change) -> Any:
    assert service.drawings is not None
    mask = mask_of(change.runs, (change.height, change.width))
    return service.drawings.save(
        film, structure, mask, change.state, base=change.base, who=printable(change.who).strip()
    )
