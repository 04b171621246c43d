"""Who may listen to a stream: this machine, or whoever knows the token."""

from __future__ import annotations

import hmac
from ipaddress import ip_address

from relive.errors import InputError

LOOPBACK = "127.0.0.1"
MIN_TOKEN = 16
AUTHORIZATION = "Authorization"


def check_host(host: str, token: str | None) -> None:
    """Refuse an address that others reach, unless they need a token.

    Raises:
        InputError: It is not of this machine and there is no token, or the token is weak.
    """
    if token is not None and (len(token) < MIN_TOKEN or not token.isascii() or " " in token):
        raise InputError(f"the token needs at least {MIN_TOKEN} ASCII characters without spaces")
    if token is None and not _is_loopback(host):
        raise InputError(f"{host} can be reached from outside; give a token, or use {LOOPBACK}")


def credentials(token: str) -> str:
    """The value of the header by which a receiver shows the token."""
    return f"Bearer {token}"


def is_allowed(given: str | None, token: str | None) -> bool:
    """Compare a header, in a time that says nothing, with the token that is wanted."""
    if token is None:
        return True
    return hmac.compare_digest((given or "").encode(), credentials(token).encode())


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
