"""The verbs of `relive`, in the order of `relive --help`."""

import typer

from relive import __version__
from relive.cli import (
    cataloguing,
    checks,
    coding,
    exporting,
    files,
    finding,
    growing,
    measuring,
    playing,
    recording,
    restoring,
    searching,
    showing,
    streaming,
    training,
    viewing,
)
from relive.cli.ablation import ablation
from relive.cli.doctor import doctor
from relive.cli.report import report
from relive.cli.speed import speed

app = typer.Typer(
    name="relive",
    help="A learned replay system for game sessions: record, compress, seek, watch.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
bench = typer.Typer(help="Measure against other codecs: JSON and plots.", rich_markup_mode=None)

app.command()(showing.demo)
app.command()(recording.record)
app.command("import")(recording.import_)
app.command()(files.info)
app.command()(training.train)
app.command()(growing.grow)
app.command()(report)
app.command()(coding.encode)
app.command()(coding.decode)
app.command()(exporting.export)
app.command()(restoring.restore)
app.command()(restoring.interpolate)
app.command()(viewing.view)
app.command()(finding.regions)
app.command()(playing.play)
app.command()(streaming.stream)
app.command()(searching.search)
app.add_typer(cataloguing.catalog, name="catalog")
app.command()(measuring.compare)
app.add_typer(bench, name="bench")
app.command()(checks.verify)
app.command()(checks.repair)
app.command()(doctor)

bench.command()(measuring.rd)
bench.command()(measuring.chain)
bench.command()(measuring.state)
bench.command()(speed)
bench.command()(ablation)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"relive {__version__}")
        raise typer.Exit


@app.callback()
def relive(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """A learned replay system for game sessions: record, compress, seek, watch."""
