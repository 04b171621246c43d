"""`relive compare` and `relive bench …`: what a replay costs, how good it is, beside its peers."""

from pathlib import Path
from typing import Annotated, Any

import typer

from relive.cli import completing
from relive.cli.console import Console, Json, Quiet, Verbose, human_bytes, table
from relive.errors import DamagedError, InputError

Sessions = Annotated[
    list[Path],
    typer.Argument(
        help="Sessions (.mcap), or folders of them.", autocompletion=completing.SESSIONS
    ),
]
Results = Annotated[Path, typer.Option("--out", "-o", help="Folder or .json of the results.")]
Model = Annotated[
    Path | None,
    typer.Option(help="Weights; without it the bundled model.", autocompletion=completing.MODELS),
]
Frames = Annotated[int | None, typer.Option(min=2, help="Frames of each session; all without it.")]
Interval = Annotated[int, typer.Option(min=2, help="Frames from keyframe to keyframe; even.")]


def compare(
    session: Annotated[
        Path, typer.Argument(help="The session (.mcap).", autocompletion=completing.SESSIONS)
    ],
    replay: Annotated[
        Path, typer.Argument(help="A replay of it (.relive).", autocompletion=completing.REPLAYS)
    ],
    model: Model = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compare a replay with its session: quality and rate."""
    from relive.bench.compare import compare as compare_files

    console = Console(as_json, quiet, verbose)
    with console.progress("compare") as progress:
        values = compare_files(session, replay, model, progress).to_dict()
    text = table(
        {
            "frames": values["frames"],
            "PSNR": f"{_figure(values['psnr_db'])} dB, luma {_figure(values['psnr_y_db'])} dB",
            "SSIM": _figure(values["ssim"], 4),
            "MS-SSIM": _figure(values["ms_ssim"], 4),
            "FLIP": _figure(values["flip"], 4),
            "size": human_bytes(values["bytes"]),
            "rate": f"{values['bits_per_pixel']:.4f} bits per pixel, "
            f"{values['bits_per_second'] / 1e3:.0f} kbit/s",
            "ratio": f"{values['compression_ratio']:.0f} times smaller than raw",
            "decoding": f"{values['decode_fps']:.1f} frames/s",
            "worst frames": ", ".join(map(str, values["worst_frames"])),
        }
    )
    console.result(values, text)
    if values["damaged"]:
        raise DamagedError(f"{replay}: damaged; only what is whole was compared")


def rd(
    sessions: Sessions,
    out: Results = Path("results"),
    qualities: Annotated[str, typer.Option(help="Our settings.")] = "1,2,3,4,5,6,7,8,9,10",
    peers: Annotated[str | None, typer.Option(help="Codecs beside us: x264,x265,…")] = None,
    model: Model = None,
    frames: Frames = None,
    keyframe_interval: Interval = 32,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="SSIM, MS-SSIM, FLIP and VMAF at every point; slow.")
    ] = False,
    tier: Annotated[
        str | None, typer.Option(help="Instead of curves: archive, stream or archive,stream.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw rate-distortion curves beside x264, x265 and SVT-AV1, or measure a tier."""
    from relive.bench.peers import DEFAULT_PEERS
    from relive.bench.rd import bench_rd
    from relive.bench.tiers import bench_tiers

    console = Console(as_json, quiet, verbose)
    names = DEFAULT_PEERS if peers is None else [p for p in peers.split(",") if p]
    if tier is not None:
        if metrics:
            raise InputError("--metrics belongs to curves; leave out --tier")
        with console.progress(f"bench rd, {tier}") as progress:
            values = bench_tiers(
                _find_sessions(sessions),
                out,
                tiers=tier.split(","),
                peers=names,
                model=model,
                frames=frames,
                keyframe_interval=keyframe_interval,
                progress=progress,
            )
        lines = [line for row in values["sessions"] for line in _tier_lines(row)]
        console.result(values, "\n".join([*lines, f"wrote {out}"]))
        return
    with console.progress("bench rd") as progress:
        values = bench_rd(
            _find_sessions(sessions),
            out,
            qualities=_whole_numbers(qualities),
            peers=names,
            model=model,
            frames=frames,
            keyframe_interval=keyframe_interval,
            metrics=metrics,
            progress=progress,
        )
    lines = [line for item in values["splits"].items() for line in _rd_lines(item)]
    console.result(values, "\n".join([*lines, f"wrote {out}"]))


def chain(
    sessions: Sessions,
    out: Results = Path("results"),
    model: Model = None,
    frames: Frames = 300,
    keyframe_interval: Interval = 32,
    depths: Annotated[
        str, typer.Option(help="Of every cube; `auto`: as the encoder chooses.")
    ] = "2,4,6,auto",
    against: Annotated[
        int | None,
        typer.Option(help="Keyframe interval to compare a long chain with, step by step."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Follow the quality from keyframe to keyframe, with every cube forced to a depth."""
    from relive.bench.chain import bench_chain

    console = Console(as_json, quiet, verbose)
    with console.progress("bench chain") as progress:
        values = bench_chain(
            _find_sessions(sessions),
            out,
            depths=_depths(depths),
            model=model,
            frames=frames,
            keyframe_interval=keyframe_interval,
            against=against,
            progress=progress,
        )
    lines = [*map(_chain_line, values["splits"]), *map(_decay_line, values["runs"])]
    console.result(values, "\n".join([*filter(None, lines), f"wrote {out}"]))


def state(
    sessions: Sessions,
    out: Results = Path("results"),
    model: Model = None,
    frames: Frames = 300,
    keyframe_interval: Interval = 32,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show what the state is worth: true, shuffled in time, and none at all."""
    from relive.bench.state import bench_state

    console = Console(as_json, quiet, verbose)
    with console.progress("bench state") as progress:
        values = bench_state(
            _find_sessions(sessions),
            out,
            model=model,
            frames=frames,
            keyframe_interval=keyframe_interval,
            progress=progress,
        )
    lines = [*map(_state_line, values["splits"]), *map(_state_rate_line, values["bd_rates"])]
    console.result(values, "\n".join([*lines, f"wrote {out}"]))


def _find_sessions(paths: list[Path]) -> list[Path]:
    found = [f for p in paths for f in (sorted(p.rglob("*.mcap")) if p.is_dir() else [p])]
    if not found:
        raise InputError(f"{', '.join(map(str, paths))}: no sessions (*.mcap) in it")
    return found


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--qualities {text}: write whole numbers with commas: 1,2,3") from None


def _depths(text: str) -> list[int | None]:
    try:
        return [None if part == "auto" else int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--depths {text}: write whole numbers or auto: 2,4,auto") from None


def _rd_lines(item: tuple[str, dict[str, Any]]) -> list[str]:
    """Say how a split fares against every peer, a line for each metric."""
    split, row = item
    ours = ", ".join(
        f"{_figure(value['mean'])} dB at {rate}"
        for rate, value in row["ours"]["psnr_db_at"].items()
    )
    peers = ", ".join(
        f"{name} {_figure(peer['bd_rate_percent']['mean'], 0)} %"
        for name, peer in row["peers"].items()
    )
    first = f"{split}: {row['sessions']} sessions, {ours} bits per pixel; BD-rate against {peers}"
    return [first, *(_metric_line(split, *item) for item in (row["metrics"] or {}).items())]


def _metric_line(split: str, name: str, row: dict[str, Any]) -> str:
    ours = ", ".join(
        f"{_figure(value['mean'], 4)} at {rate}" for rate, value in row["ours"]["at"].items()
    )
    peers = ", ".join(
        f"{peer} {_figure(value['bd_rate_percent']['mean'], 0)} %"
        for peer, value in row["peers"].items()
    )
    return f"{split}, {name}: {ours} bits per pixel; BD-rate against {peers}"


def _tier_lines(session: dict[str, Any]) -> list[str]:
    """Say how a session fares in every tier: the archive by ratios, the stream by PSNR."""
    lines = []
    for tier, row in session["tiers"].items():
        peers = ", ".join(
            f"{name} {_tier_figure(tier, peer)}" for name, peer in row["peers"].items()
        )
        ours = row["ours"]
        missed = "" if ours["reached"] else ", target missed"
        lines.append(
            f"{session['session']}, {tier}: {ours['psnr_db']:.2f} dB, "
            f"{ours['bits_per_second'] / 1e3:.0f} kbit/s, {ours['ratio']:.1f} times smaller than "
            f"raw{missed}; {peers or 'no peers'}"
        )
    return lines


def _tier_figure(tier: str, peer: dict[str, Any]) -> str:
    if not peer["reached"]:
        return f"not reached ({peer['psnr_db']:.2f} dB, {peer['ratio']:.1f} times)"
    return f"{peer['ratio']:.1f} times" if tier == "archive" else f"{peer['psnr_db']:.2f} dB"


def _chain_line(row: dict[str, Any]) -> str:
    depth = "chosen by the encoder" if row["depth"] is None else str(row["depth"])
    return (
        f"{row['split']}, depth {depth}: {row['bits_per_pixel']:.4f} bits per pixel, "
        f"temporal gain {_figure(row['temporal_gain_db'])} dB"
    )


def _decay_line(row: dict[str, Any]) -> str:
    """Say what the chain of a session loses, where that was measured."""
    if "decay" not in row:
        return ""
    depth = "chosen by the encoder" if row["depth"] is None else str(row["depth"])
    return (
        f"{row['session']}, depth {depth}: after step {row['decay']['keyframe_interval'] // 2} "
        f"{row['decay']['late_loss_db']:.2f} dB below the same frames with keyframes every "
        f"{row['decay']['keyframe_interval']}"
    )


def _state_line(row: dict[str, Any]) -> str:
    return (
        f"{row['split']}, quality {row['quality']}, states {row['states']}: "
        f"{row['psnr_db']:.2f} dB at {row['bits_per_pixel']:.4f} bits per pixel "
        f"({row['psnr_change_db']:+.2f} dB)"
    )


def _state_rate_line(row: dict[str, Any]) -> str:
    rate = _figure(row["bd_rate_percent"], 1)
    return f"{row['split']}, {row['session']}, states {row['states']}: BD-rate {rate} %"


def _figure(value: float | None, digits: int = 2) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"
