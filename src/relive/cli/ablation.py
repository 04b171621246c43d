"""`relive bench ablation`: what each mechanism of the model is worth."""

from pathlib import Path
from typing import Annotated, Any

import typer

from relive.cli.console import Console, Json, Quiet, Verbose
from relive.errors import InputError


def ablation(
    train: Annotated[Path, typer.Argument(help="Folder of training sessions.")],
    valid: Annotated[Path, typer.Argument(help="Folder of held-out sessions.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder or .json of the results.")
    ] = Path("results"),
    config: Annotated[Path, typer.Option(help="Schedule and variants (TOML).")] = Path(
        "configs/ablation.toml"
    ),
    variants: Annotated[str | None, typer.Option(help="Some of them: a,b; all without it.")] = None,
    seeds: Annotated[str, typer.Option(help="Of weights and data order.")] = "0,1",
    jobs: Annotated[int, typer.Option(min=1, help="Processes side by side.")] = 1,
    rate: Annotated[
        float | None, typer.Option(help="Bits per pixel of the comparison; else the config's.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train short, one mechanism changed at a time, and compare at equal bits; resumable."""
    from relive.bench.ablation import bench_ablation

    console = Console(as_json, quiet, verbose)
    with console.progress("bench ablation") as progress:

        def report(done: int, total: int) -> None:
            if progress is None:
                console.note(f"{done} of {total} runs")
            else:
                progress(done, total)

        values = bench_ablation(
            (train, valid),
            out,
            config=config,
            variants=None if variants is None else [v for v in variants.split(",") if v],
            seeds=_seeds(seeds),
            jobs=jobs,
            rate_bpp=rate,
            progress=report,
        )
    lines = [_line(name, row) for name, row in values["summary"]["variants"].items()]
    console.result(values, "\n".join([*lines, f"wrote {out}"]))


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--seeds {text}: write whole numbers with commas: 0,1") from None


def _line(name: str, row: dict[str, Any]) -> str:
    """Say in one line how a variant fares against the baseline."""
    if row["db"]["mean"] is None:
        return f"{name}: not comparable"
    return (
        f"{name}: {row['db']['mean']:+.2f} dB ({row['db']['low']:+.2f} to "
        f"{row['db']['high']:+.2f}), MSE {row['mse_percent']['mean']:+.1f} %: {row['verdict']}"
    )
