"""`relive stream`: send a session live, or receive one."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from relive.cli import completing
from relive.cli.coding import Model
from relive.cli.console import (
    Console,
    Force,
    Json,
    Quiet,
    Verbose,
    human_bytes,
    mcap_output,
    table,
)
from relive.errors import InputError

SCHEMES = ("ws://", "wss://")


def stream(
    source: Annotated[
        str,
        typer.Argument(
            help="A session to send (.mcap), or the ws://HOST:PORT to receive.",
            autocompletion=completing.SESSIONS,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Receiving: the session to write.", callback=mcap_output),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Sending: address to listen at.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Sending: 0 takes any.", show_default="8765"),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(min=1, max=10, help="Sending: 1 smallest … 10 best.", show_default="5"),
    ] = None,
    keyframe_interval: Annotated[
        int | None,
        typer.Option(min=2, help="Sending: frames until a loss is healed.", show_default="32"),
    ] = None,
    pace: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Sending: speed of time; 0 as fast as possible.", show_default="1"
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="RELIVE_TOKEN", help="Shared secret; needed beyond this machine."),
    ] = None,
    model: Model = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Stream a session live over a WebSocket, or receive such a stream."""
    console = Console(as_json, quiet, verbose)
    sending = {
        "--host": host,
        "--port": port,
        "--quality": quality,
        "--keyframe-interval": keyframe_interval,
        "--pace": pace,
    }
    given = {name: value for name, value in sending.items() if value is not None}
    if source.startswith(SCHEMES):
        if given:
            raise InputError(f"{next(iter(given))} goes with a session to send, not with {source}")
        _receive(console, source, out, token, model, force)
        return
    if out is not None:
        raise InputError(f"--out goes with a ws:// address, not with {source}")
    settings = {name.strip("-").replace("-", "_"): value for name, value in given.items()}
    _send(console, Path(source), token, model, settings)


def _send(
    console: Console,
    source: Path,
    token: str | None,
    model: Path | None,
    settings: Mapping[str, Any],
) -> None:
    from relive.stream import send

    def ready(url: str) -> None:
        console.note(f"waiting for receivers at {url}")

    with console.progress("stream") as progress:
        report = send(
            source,
            token=token,
            model=model,
            on_ready=ready,
            progress=progress,
            **settings,
        )
    text = table(
        {
            "frames": report.frames,
            "size": f"{human_bytes(report.bytes)} in {report.packets} packets",
            "speed": f"{report.frames / report.seconds:.1f} frames/s",
            "late": f"{report.late_s:.2f} s at the end",
            "receivers": report.receivers,
            "dropped": f"{report.dropped} packets",
        }
    )
    console.result(asdict(report), text)


def _receive(
    console: Console,
    url: str,
    out: Path | None,
    token: str | None,
    model: Path | None,
    force: bool,
) -> None:
    from relive.stream import receive

    _check_port(url)
    report = receive(url, out=out, token=token, model=model, force=force)
    text = table(
        {
            **({} if out is None else {"wrote": out}),
            "frames": report.frames,
            "concealed": report.concealed,
            "degraded": report.degraded,
            "missing": report.missing,
            "size": f"{human_bytes(report.bytes)} in {report.packets} packets",
            "time": f"{report.seconds:.1f} s",
        }
    )
    console.result(asdict(report), text)


def _check_port(url: str) -> None:
    """Refuse an address before anything is loaded for it."""
    try:
        urlsplit(url).port  # noqa: B018  read for its check
    except ValueError as error:
        raise InputError(f"{url}: {error}") from None
