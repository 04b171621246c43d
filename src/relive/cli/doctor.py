"""`relive doctor`: what is installed here, what is missing, and how fast it is."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from relive.cli import doctor_checks as checks
from relive.cli.console import Console, Json, Quiet, Verbose, human_bytes, table
from relive.errors import ReliveError


def doctor(
    speed: Annotated[
        bool, typer.Option("--speed/--no-speed", help="Encode and decode a short clip.")
    ] = True,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what is installed, what is missing, and how fast this machine is."""
    console = Console(as_json, quiet, verbose)
    values = checks.look_around()
    problems: list[str] = values["problems"]
    if not any(version is None for version in values["packages"].values()):
        _compute(console, values, speed and not problems)
    console.result(values, "\n".join([table(_rows(values)), *(f"BROKEN: {p}" for p in problems)]))
    if problems:
        more = f" (and {len(problems) - 1} more, see above)" if len(problems) > 1 else ""
        raise ReliveError(f"{problems[0]}{more}")


def _compute(console: Console, values: dict[str, Any], speed: bool) -> None:
    """Load torch and the kernels, and measure; what fails is one more problem."""
    try:
        from relive.codec.self_test import describe_torch, measure_speed

        values["device"] |= describe_torch()
        values["kernels"] = checks.kernel_cache()
        if speed:
            if not values["kernels"]["files"]:
                console.note("compiling kernels, once on this machine: one to three minutes")
            values["speed"] = asdict(measure_speed())
            values["kernels"] = checks.kernel_cache()
    except Exception as error:  # whatever is wrong with an installation
        values["problems"].append(f"the codec does not run: {type(error).__name__}: {error}")


def _rows(values: Mapping[str, Any]) -> dict[str, object]:
    """Lay the report out for people."""
    device, disk, model = values["device"], values["disk"], values["model"]
    kernels, speed = values["kernels"], values["speed"]
    missing = [name for name, version in values["packages"].items() if version is None]
    rows: dict[str, object] = {
        "relive": f"{values['relive']}, Python {values['python']}, {values['platform']}",
        "packages": f"missing: {', '.join(missing)}" if missing else "all there",
    }
    for name, extra in values["extras"].items():
        rows[f"  {name}"] = (
            f"{', '.join(extra['missing'])} missing, so no {extra['verbs']}; "
            f"pip install 'relive[{name}]'"
            if extra["missing"]
            else f"for {extra['verbs']}"
        )
    rows["processor"] = f"{device['cores']} cores of {device['processor']}"
    rows["features"] = ", ".join(device["features"]) or "unknown"
    if "torch" in device:
        cuda = device["cuda"] or "none"
        rows["torch"] = (
            f"{device['torch']}, {device['vector_units']}, {device['workers']} workers, GPU: {cuda}"
        )
    if kernels:
        rows["kernels"] = (
            f"{kernels['files']} files, {human_bytes(kernels['bytes'])} in {kernels['folder']}"
            if kernels["files"]
            else f"none compiled yet in {kernels['folder']}"
        )
    rows["model"] = f"{model['name']} {model['model_id'] or 'missing'}"
    rows["ffmpeg"] = values["tools"]["ffmpeg"] or "none, so no comparison with other codecs"
    rows["chromium"] = values["tools"]["chromium"] or "none; only tests need it"
    rows["free disk"] = f"{human_bytes(disk['free_bytes'])} in {disk['folder']}"
    if speed:
        rows["speed"] = (
            f"{speed['encode_fps']:.1f} frames/s encoding, {speed['decode_fps']:.1f} decoding "
            f"({speed['frames']} synthetic frames of {speed['width']}x{speed['height']})"
        )
    return rows
