"""The figures that were asked for, drawn from all parts: ours beside the specification's."""

from __future__ import annotations

from typing import Any

from relive.bench.speed_plan import SPECIFICATION

Values = dict[str, Any]


def summarise(runs: Values) -> Values:
    """Summarise every run; what was not measured is not there."""
    return {name: _summarise_run(run["parts"]) for name, run in runs.items()}


def _summarise_run(parts: Values) -> Values:
    peak = parts["peak"]["flops_per_s"] if "peak" in parts else None
    found: Values = {} if peak is None else {"peak_gflops_per_s": peak / 1e9}
    for key, part in parts.items():
        kind, _, size = key.partition("/")
        if kind == "networks":
            found.setdefault("sizes", {})[size] = _networks(part)
        elif kind == "throughput":
            found.setdefault("throughput", {})[size] = _throughput(part, peak)
        elif kind == "training":
            found.setdefault("training", {})[size] = _training(part)
        elif kind == "latency":
            found.setdefault("latency_ms", {})[size] = _latency(part)
        elif kind == "codec":
            found["codec_ms"] = _latency(part)
        elif kind == "videomae":
            found["videomae"] = _videomae(part)
    return found


def _networks(part: Values) -> Values:
    flops, parameters = part["flops_per_frame"], part["parameters"]
    row = {
        "encoder_side_parameters": parameters["encoder_side"],
        "encoder_parameters": parameters["parts"]["encoder"],
        "decoder_parameters": parameters["decoder"],
        "encoder_gflops_per_frame": flops["encoder"] / 1e9,
        "encoder_side_gflops_per_frame": flops["encoder_side"] / 1e9,
        "decoder_gflops_per_frame": flops["decoder"] / 1e9,
        "total_gflops_per_frame": flops["total"] / 1e9,
    }
    wanted = part["specification"]
    if wanted:
        encoder, decoder = wanted["parameters"]
        row["to_specification"] = {
            "encoder_side_parameters": parameters["encoder_side"] / encoder - 1,
            "encoder_parameters": parameters["parts"]["encoder"] / encoder - 1,
            "decoder_parameters": parameters["decoder"] / decoder - 1,
            "encoder_side_flops": flops["encoder_side"] / wanted["flops_per_frame"] - 1,
            "total_flops": flops["total"] / wanted["flops_per_frame"] - 1,
        }
    return row


def _throughput(part: Values, peak: float | None) -> Values:
    row: Values = {}
    for side in ("encoder", "decoder"):
        row[side] = {
            ratio: {
                "frames_per_s": value["frames_per_s"],
                "times_faster": value["times_faster"],
                "times_faster_best": value["times_faster_best"],
                **_share(value, peak),
            }
            for ratio, value in part[side].items()
        }
    wanted = part["specification"]
    if wanted:
        row["specification_frames_per_s"] = wanted["frames_per_s"]
    return row


def _share(value: Values, peak: float | None) -> Values:
    """Share of the matrix-product peak, where both are known."""
    if peak is None or "flops_per_s" not in value:
        return {}
    return {"share_of_peak": value["flops_per_s"] / peak}


def _training(part: Values) -> Values:
    return {
        ratio: {
            what: {
                masked: {
                    name: row[name]
                    for name in ("times_faster", "times_faster_best", "memory_saved")
                }
                for masked, row in rows.items()
                if masked != "0.0"
            }
            for what, rows in kinds.items()
        }
        for ratio, kinds in part["encoder_mask"].items()
    }


def _latency(part: Values) -> Values:
    rows = {
        name: [row["p50_ms"], row["p99_ms"]]
        for name, row in part.items()
        if isinstance(row, dict) and "p50_ms" in row
    }
    return {"p50_p99": rows, "specification": SPECIFICATION["latency_ms"]}


def _videomae(part: Values) -> Values:
    sizes = {
        f"{row['width']}x{row['height']}": {
            "times_faster": row["times_faster"],
            "encoder_times_faster": row["encoder_times_faster"],
            "flops_ratio": row["flops_ratio"],
        }
        for row in part["sizes"]
    }
    found: Values = {"sizes": sizes, "specification": part["specification"]}
    return found | {name: part[name] for name in ("exponent", "crossing") if name in part}
