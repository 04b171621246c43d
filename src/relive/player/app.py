"""The web application: routes, page, errors as one line, and the guard around all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from relive.errors import ReliveError
from relive.player.catalogue import Catalogue, UnknownFileError
from relive.player.frames import FrameService
from relive.player.routes import Api, BusyError, TooMuchError
from relive.player.security import Guard, refusal

CACHE_BYTES = 256 << 20
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_STATUS = {UnknownFileError: 404, TooMuchError: 413, BusyError: 429}


def create_app(
    catalogue: Catalogue,
    *,
    host: str = "127.0.0.1",
    token: str | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> FastAPI:
    """Build the server.

    Args:
        catalogue: the files that may be watched.
        host: that it listens at.
        token: that must be shown; None on loopback.
        cache_bytes: the most that decoded GOPs may take.
    """
    service = FrameService(cache_bytes)
    api = Api(catalogue, service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        catalogue.start_reading()
        warming = asyncio.create_task(api.warm())
        yield
        warming.cancel()
        service.close()

    app = FastAPI(
        title="relive", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    app.state.service = service
    app.include_router(api.routes())
    _add_page(app)
    _add_errors(app, catalogue)
    app.add_middleware(Guard, host=host, token=token)
    return app


def _add_page(app: FastAPI) -> None:
    """Serve the files of the page from memory: a name that is not among them does not exist."""
    folder = files("relive.player") / "page"
    page = {item.name: item.read_bytes() for item in folder.iterdir() if item.is_file()}

    async def index() -> Response:
        return Response(page["index.html"], media_type=_TYPES[".html"])

    async def part(name: str) -> Response:
        if name not in page:
            return refusal(404, "no such page")
        return Response(page[name], media_type=_TYPES["." + name.rpartition(".")[2]])

    app.add_api_route("/", index, methods=["GET"], response_model=None)
    app.add_api_route("/page/{name}", part, methods=["GET"], response_model=None)


def _add_errors(app: FastAPI, catalogue: Catalogue) -> None:
    async def ours(_: Request, error: Exception) -> Response:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 0)
        if not status:
            exit_code = error.exit_code if isinstance(error, ReliveError) else 1
            status = {2: 400, 3: 422, 4: 409}.get(exit_code, 500)
        return refusal(status, catalogue.without_paths(str(error)))

    async def invalid(_: Request, error: Exception) -> Response:
        first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
        where = ".".join(str(part) for part in first.get("loc", ()))
        return refusal(422, f"{where}: {first.get('msg', 'wrong')}")

    async def http(_: Request, error: Exception) -> Response:
        return refusal(getattr(error, "status_code", 500), str(getattr(error, "detail", "failed")))

    async def internal(_: Request, error: Exception) -> Response:
        return refusal(500, f"internal error, {type(error).__name__}")

    app.add_exception_handler(ReliveError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, internal)
