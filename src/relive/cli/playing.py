"""`relive play`: watch replays on a web page."""

from pathlib import Path
from typing import Annotated

import typer

from relive.cli.coding import Model
from relive.cli.console import Console, Quiet, Verbose


def play(
    files: Annotated[list[Path], typer.Argument(help="Replays (.relive), or folders of them.")],
    original: Annotated[
        Path | None, typer.Option(help="Session that the one replay was made from (.mcap).")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 0,
    token: Annotated[
        str | None,
        typer.Option(envvar="RELIVE_TOKEN", help="Shared secret; made where others can reach it."),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the browser, too.")] = False,
    cache_mb: Annotated[
        int, typer.Option(min=16, max=65536, help="Most memory of decoded pictures.")
    ] = 256,
    model: Model = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Serve the player on this machine and print its address; Ctrl-C ends it."""
    from relive.player.catalogue import Catalogue
    from relive.player.serve import Listen, serve

    console = Console(False, quiet, verbose)
    catalogue = Catalogue(files, model, original)
    listen = Listen(host, port, token, cache_mb << 20)

    def ready(url: str) -> None:
        console.result({}, url)
        console.note("Ctrl-C ends the player")

    serve(catalogue, listen, ready, open_browser)
