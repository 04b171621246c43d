"""Who may ask: this machine's own page, or whoever knows the token; and what a page may do."""

from __future__ import annotations

import hmac
import secrets
import socket
import time
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relive.errors import InputError

COOKIE = "relive_token"
MIN_TOKEN = 16
MAX_URL = 2048
RATE, BURST = 200, 400  # requests a second, and at once
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def choose_token(host: str, token: str | None) -> str | None:
    """The token that is asked for: the one given, one made for an open address, or none.

    Raises:
        InputError: The token is weak.
    """
    if token is not None:
        if len(token) < MIN_TOKEN or not token.isalnum() or not token.isascii():
            raise InputError(f"the token needs at least {MIN_TOKEN} ASCII letters and digits")
        return token
    return None if is_loopback(host) else secrets.token_hex(16)


class Guard:
    """Checks every request before it is answered, and closes every answer with its headers.

    Plain ASGI, so that streams are cancelled when whoever asked has gone.

    Args:
        app: that answers.
        host: that the server listens at.
        token: that must be shown; None on loopback.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None = None) -> None:
        self._app, self.host, self.token = app, host, token
        self._allowance, self._last = float(BURST), time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with one line."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            request = Request(scope)
            response = self._refuse(request) or self._challenge(request)
            await (response or self._app)(scope, receive, _with_headers(send))

    def _challenge(self, request: Request) -> Response | None:
        """Ask for the token; None where it was shown."""
        if self.token is None or self._is_token(request.cookies.get(COOKIE, "")):
            return None
        if self._is_token(request.query_params.get("token", "")):
            return self._with_cookie(request)
        return refusal(401, "the token is missing or wrong; open the address that relive printed")

    def _too_many(self) -> bool:
        now = time.monotonic()
        self._allowance = min(BURST, self._allowance + (now - self._last) * RATE)
        self._last = now
        if self._allowance < 1:
            return True
        self._allowance -= 1
        return False

    def _refuse(self, request: Request) -> Response | None:
        if self._too_many():
            return refusal(429, f"more than {RATE} requests a second")
        if request.method not in ("GET", "HEAD"):
            return refusal(405, "only GET is answered")
        if len(str(request.url)) > MAX_URL:
            return refusal(414, f"an address has at most {MAX_URL} characters")
        if not self._is_ours(request.headers.get("host", "")):
            return refusal(403, "this host name is not served")
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            return refusal(403, "requests of other pages are not answered")
        foreign = request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if foreign and request.headers.get("sec-fetch-mode") != "navigate":
            return refusal(403, "requests of other pages are not answered")
        return None

    def _is_ours(self, netloc: str) -> bool:
        """Names that somebody else's name server cannot point at us."""
        try:
            name = urlsplit(f"//{netloc}").hostname or ""
        except ValueError:
            return False
        if self.host and is_loopback(self.host):
            return is_loopback(name)
        if name in (self.host, "localhost", socket.gethostname().lower()):
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self.token or "").encode())

    def _with_cookie(self, request: Request) -> Response:
        """Keep the token out of the address from here on."""
        clean = request.url.remove_query_params("token")
        target = clean.path + (f"?{clean.query}" if clean.query else "")
        response = RedirectResponse("/" + target.lstrip("/"), 303)
        response.set_cookie(COOKIE, self.token or "", httponly=True, samesite="strict", path="/")
        return response


def _with_headers(send: Send) -> Send:
    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return closing


def refusal(status: int, line: str) -> JSONResponse:
    """An error as every client gets it."""
    return JSONResponse({"error": " ".join(line.split())}, status)
