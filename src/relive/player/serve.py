"""Listen, say where, and serve until Ctrl-C."""

from __future__ import annotations

import logging
import socket
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn

from relive.errors import InputError
from relive.player.app import CACHE_BYTES, create_app
from relive.player.catalogue import Catalogue
from relive.player.security import choose_token

SHUTDOWN_S = 2


@dataclass(frozen=True)
class Listen:
    """Where to listen.

    Attributes:
        host: loopback, unless others shall watch, too.
        port: 0 takes any that is free.
        token: that others must show; for an address that is not loopback one is made.
        cache_bytes: the most that decoded pictures may take.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    cache_bytes: int = CACHE_BYTES


def serve(
    catalogue: Catalogue,
    listen: Listen,
    on_ready: Callable[[str], None],
    open_browser: bool = False,
) -> None:
    """Serve the player until it is interrupted.

    Args:
        catalogue: the files that may be watched.
        listen: where.
        on_ready: told the address, with the token if there is one.
        open_browser: open the address, too.

    Raises:
        InputError: The address cannot be used.
    """
    token = choose_token(listen.host, listen.token)
    app = create_app(catalogue, host=listen.host, token=token, cache_bytes=listen.cache_bytes)
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    with _bound(listen.host, listen.port) as listening:
        url = address(listening, token)
        on_ready(url)
        if open_browser:
            webbrowser.open(url)
        uvicorn.Server(config).run([listening])


def address(listening: socket.socket, token: str | None) -> str:
    """The address of the page."""
    host, port = listening.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):  # noqa: S104  compared, not bound
        name = socket.gethostname()
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, proto)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen()  # whoever comes before the server runs waits for it
    except OSError as error:
        raise InputError(f"cannot listen at {host}:{port}: {error.strerror or error}") from error
    return listening
