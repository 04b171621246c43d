"""The speed benchmark: its counting, its arithmetic, its file."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from relive.bench import speed, speed_networks
from relive.bench.speed import bench_speed, plan_jobs
from relive.bench.speed_device import Setting, choose_device, choose_dtypes, race
from relive.bench.speed_fit import crossing, describe_crossing, exponent
from relive.bench.speed_flops import _product_by_convolution, count_flops, measure_peak
from relive.bench.speed_latency import measure_codec, measure_latency
from relive.bench.speed_memory import peak_bytes
from relive.bench.speed_networks import Networks, size_config
from relive.bench.speed_plan import Plan
from relive.bench.speed_throughput import describe_networks
from relive.bench.speed_training import measure_training
from relive.bench.speed_videomae import (
    make_videomae,
    measure_videomae,
    resize_videomae,
    sinusoid_table,
    videomae_flops,
)
from relive.config import ModelConfig
from relive.errors import InputError
from relive.model.sizes import SIZES
from small_model import SMALL, WHOLE_SMALL

CPU = Setting("cpu", "float32", 1)
SMALL_VIDEOMAE = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
PLAN = Plan(repeats=1, side=32, batch=1, train_batch=1, steps=2)


@pytest.fixture
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the small model in the place of every size."""
    monkeypatch.setattr(speed_networks, "SIZES", dict.fromkeys(SIZES, SMALL))


def test_flops_of_attention_and_convolution_follow_the_formulas() -> None:
    q = torch.randn(2, 3, 10, 4)
    x, conv = torch.randn(1, 5, 8, 8), torch.nn.Conv2d(5, 7, 3, padding=1)
    attention = torch.nn.functional.scaled_dot_product_attention
    with torch.inference_mode():
        assert count_flops(lambda: attention(q, q, q)) == 2 * 2 * (2 * 3 * 10 * 10 * 4)
        assert count_flops(lambda: conv(x)) == 2 * 8 * 8 * 7 * 5 * 9


def test_flops_of_the_decoder_follow_a_count_by_hand() -> None:
    networks = Networks(SMALL, CPU)
    step = networks.step(1, 64, 96)
    cubes, d, c4, c8, c16, latent, tokens = 4 * 6, 16, 8, 8, 16, 8, 3
    groups, s = 1 * 2, 16  # windows of 4x4 cubes, padded
    window = d * 3 * d * cubes + 2 * groups * s * s * d + d * d * cubes
    cross = 2 * d * d * cubes + 2 * tokens * 16 * d + 2 * cubes * tokens * d
    mlp = 2 * d * 4 * d * cubes
    head = d * 4 * c8 * cubes + 9 * (2 * c8 * c8 + 2 * c8 * c8) * 4 * cubes
    head += c8 * 4 * c4 * 4 * cubes + 9 * (2 * c4 * c4 + 2 * c4 * c4 + 2 * c4 * 48) * 16 * cubes
    into = latent * d * cubes + c16 * d * cubes + latent * 1536 * cubes
    expected = 2 * (2 * (window + cross + mlp) + head + into)
    with torch.inference_mode():
        context = networks.context(step)
        latents = networks.model.prediction(*context)
        counted = count_flops(lambda: networks.decode(step, context, latents))
    assert counted == expected


@pytest.mark.parametrize("config", [SMALL, WHOLE_SMALL])
def test_flops_are_the_same_with_gradient_and_without(config: ModelConfig) -> None:
    networks = Networks(config, CPU)
    step = networks.step(1, 32, 32)
    with_gradient = count_flops(lambda: networks.latents(step))
    with torch.inference_mode():
        assert count_flops(lambda: networks.latents(step)) == with_gradient > 0


def test_masked_encoder_needs_fewer_operations() -> None:
    networks = Networks(SMALL, CPU)
    step = networks.step(2, 64, 64)
    with torch.inference_mode():
        context, layout = networks.context(step), networks.layout(step, 0.75)
        dense = count_flops(lambda: networks.encode(step, context))
        assert count_flops(lambda: networks.encode(step, context, layout)) < dense / 2


def test_videomae_flops_follow_the_formula_at_any_shape() -> None:
    tokens, d, inner, layers = 2 * 3 * 8, 24, 48, 2
    block = 2 * tokens * (4 * d * d + 2 * d * inner) + 4 * tokens * tokens * d
    expected = layers * block + 2 * tokens * (2 * 16 * 16 * 3) * d
    assert videomae_flops(32, 48, **SMALL_VIDEOMAE) == expected


def test_videomae_takes_any_size_and_keeps_its_positions() -> None:
    model = make_videomae("cpu", image_size=32, **SMALL_VIDEOMAE)
    table = model.embeddings.position_embeddings
    torch.testing.assert_close(sinusoid_table(*table.shape[1:]), table)
    resize_videomae(model, 32, 48)
    clip = torch.rand(1, 16, 3, 32, 48)
    assert model(clip).last_hidden_state.shape == (1, 2 * 3 * 8, 24)
    assert model.config._attn_implementation == "sdpa"


def test_exponent_is_the_slope_in_log_log() -> None:
    pixels = [100.0, 400.0, 900.0]
    assert exponent(pixels, [3 * p**1.5 for p in pixels]) == pytest.approx(1.5)
    with pytest.raises(ValueError):
        exponent([100.0], [1.0])


def test_crossing_lies_between_the_sizes_where_ours_becomes_cheaper() -> None:
    pixels = [1.0, 10.0, 100.0]
    ours, other = [5 * p for p in pixels], [p**2 for p in pixels]
    assert crossing(pixels, ours, other) == pytest.approx(5)
    found = describe_crossing(pixels, ours, other)
    assert found["square_side_px"] == pytest.approx(math.sqrt(5))
    assert describe_crossing(pixels, other, [2 * p**2 for p in pixels])["pixels"] is None


def test_peak_memory_counts_what_is_alive_at_once() -> None:
    x = torch.randn(1000)

    def chain() -> torch.Tensor:
        y = x * 2
        y = y + 1  # two alive
        return y * y  # two alive: the first is gone

    assert peak_bytes(CPU, chain) == 2 * 4000
    assert peak_bytes(CPU, lambda: x.view(10, 100)) == 0
    assert peak_bytes(CPU, lambda: x.add_(1)) == 0


def test_peak_memory_counts_what_the_backward_pass_needs() -> None:
    layers = torch.nn.Sequential(*(torch.nn.Sigmoid() for _ in range(5)))
    x = torch.randn(1000, requires_grad=True)
    x.grad = torch.zeros_like(x)
    with torch.no_grad():
        forward = peak_bytes(CPU, lambda: layers(x))
    kept = peak_bytes(CPU, lambda: layers(x).sum().backward())
    assert forward == 2 * 4000
    assert 5 * 4000 < kept < 8 * 4000


def test_a_race_runs_the_cases_in_turn() -> None:
    order: list[str] = []
    times = race(CPU, {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2)
    assert order == list("ababab")
    assert {name: len(t.spans) for name, t in times.items()} == {"a": 2, "b": 2}


def test_a_race_ends_at_its_limit_after_a_whole_round() -> None:
    times = race(CPU, {"a": lambda: None, "b": lambda: None}, repeats=9, limit_s=0.0)
    assert [len(t.spans) for t in times.values()] == [1, 1]


def test_peak_is_the_best_size() -> None:
    values = measure_peak(CPU, sides=(32, 64), repeats=2)
    ways = values["flops_per_s_by_side"]
    assert set(ways) == {"matmul", "convolution_1x1"}
    assert values["flops_per_s"] == max(rate for way in ways.values() for rate in way.values()) > 0


def test_product_by_convolution_is_the_product() -> None:
    a, b = torch.randn(2, 12, 12)
    torch.testing.assert_close(_product_by_convolution(a, b), a @ b)


def test_parameters_are_split_into_encoder_side_and_decoder() -> None:
    values = describe_networks(SMALL, CPU, 32)
    counts, flops = values["parameters"], values["flops_per_frame"]
    assert counts["encoder_side"] + counts["decoder"] == counts["total"]
    assert sum(counts["parts"].values()) == counts["total"]
    parts = ("warp", "state_context_prediction", "encoder", "decoder", "remember")
    assert flops["total"] == sum(flops[name] for name in parts)


def test_training_is_measured_by_encoder_and_decoder_mask() -> None:
    values = measure_training(CPU, PLAN, "tiny", WHOLE_SMALL)
    assert set(values["encoder_mask"]) == {"0.9", "0.95"}
    for kinds in values["encoder_mask"].values():
        assert set(kinds) == {"decoder", "step", "checkpointed_step"}
        for rows in kinds.values():
            assert list(rows) == ["0.0", "0.25", "0.5", "0.75"]
            assert rows["0.75"]["peak_bytes"] < rows["0.0"]["peak_bytes"]


def test_training_runs_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relive.bench.speed_training.TRAINING_RATIOS", (0.9,))
    values = measure_training(replace(CPU, dtype="bfloat16"), PLAN, "tiny", SMALL)
    assert values["encoder_mask"]["0.9"]["step"]["0.5"]["runs"] == 1


def test_latency_of_networks_has_p50_and_p99() -> None:
    values = measure_latency(CPU, PLAN, "tiny", WHOLE_SMALL)
    for side in ("encode", "decode"):
        assert values[side]["steps"] == 2
        assert 0 < values[side]["p50_ms"] <= values[side]["p99_ms"]


def test_videomae_is_compared_size_by_size() -> None:
    plan = replace(PLAN, video_sizes=((48, 32), (32, 32)))
    values = measure_videomae(CPU, plan, "tiny", SMALL, **SMALL_VIDEOMAE)
    assert [row["pixels"] for row in values["sizes"]] == [32 * 32, 48 * 32]
    row = values["sizes"][0]
    assert row["times_faster"] == pytest.approx(row["videomae_s"] / row["encoder_side_s"])
    assert row["flops_ratio"] == row["videomae_flops"] / row["encoder_side_flops"]
    assert set(values["exponent"]) == set(values["crossing"]) == {"time", "encoder_time", "flops"}


@pytest.mark.usefixtures("small_sizes")
def test_benchmark_writes_parts_and_summary_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: dict[str, Any] = {"device": "cpu", "sizes": ["tiny"], "plan": PLAN}
    bench_speed(tmp_path, parts=["networks"], **wanted)
    first = _parts(tmp_path)
    assert set(first) == {"networks/tiny"}
    measured: list[str] = []
    real = speed._measure
    monkeypatch.setattr(speed, "_measure", lambda job: measured.append(job.key) or real(job))
    both = {**wanted, "parts": ["networks", "throughput"]}
    result = bench_speed(tmp_path, **both)
    assert measured == ["throughput/tiny"]
    assert _parts(tmp_path)["networks/tiny"] == first["networks/tiny"]
    (summary,) = result["summary"].values()
    assert set(summary["throughput"]["tiny"]["encoder"]) == {"0.0", "0.75", "0.9", "0.95"}
    assert (tmp_path / "speed-masking.png").exists()
    bench_speed(tmp_path, force=True, **{**wanted, "parts": ["networks"]})
    bench_speed(tmp_path, **{**both, "plan": replace(PLAN, repeats=2)})
    assert measured == ["throughput/tiny", "networks/tiny", "throughput/tiny"]
    for key in ("date", "machine", "versions", "specification", "summary"):
        assert key in json.loads((tmp_path / "speed.json").read_text())


def _parts(folder: Path) -> dict[str, Any]:
    (run,) = json.loads((folder / "speed.json").read_text())["runs"].values()
    parts: dict[str, Any] = run["parts"]
    return parts


def test_settings_have_runs_of_their_own() -> None:
    settings = [CPU, replace(CPU, dtype="bfloat16")]
    jobs = plan_jobs(settings, PLAN, ["tiny", "base"], ["codec", "networks", "peak"])
    assert [job.key for job in jobs] == ["peak"] * 2 + ["networks/tiny", "networks/base"] * 2 + [
        "codec"
    ]


def test_sizes_are_those_of_the_model() -> None:
    assert tuple(SIZES) == speed.SIZE_NAMES
    assert size_config("tiny").state_inputs == speed_networks.STATE_INPUTS


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"device": "tpu"}, "--device tpu"),
        ({"dtypes": "int8"}, "--dtype int8"),
        ({"sizes": ["huge"]}, "--sizes huge"),
        ({"parts": ["luck"]}, "--parts luck"),
        ({"threads": 0}, "--threads"),
    ],
)
def test_wrong_usage_is_refused_in_one_line(
    tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        bench_speed(tmp_path, **{"device": "cpu", **wrong})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_is_not_there_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(InputError, match="--device cuda") as caught:
        choose_device("cuda")
    assert "\n" not in str(caught.value)


def test_number_formats_are_a_list() -> None:
    assert choose_dtypes("float32, bfloat16") == ("float32", "bfloat16")


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"kind": "bench_rd"}')
    with pytest.raises(InputError, match=r"other\.json"):
        bench_speed(path, device="cpu", parts=["peak"])
    assert json.loads(path.read_text()) == {"kind": "bench_rd"}


def test_plan_refuses_amounts_that_measure_nothing() -> None:
    with pytest.raises(InputError, match="--repeats"):
        Plan(repeats=0)
    with pytest.raises(InputError, match="30x32"):
        Networks(SMALL, CPU).step(1, 32, 30)


def test_codec_is_timed_with_entropy_coding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relive.bench.speed_latency.GOP_FRAMES", 4)
    values = measure_codec(replace(PLAN, steps=4))
    assert values["encode"]["steps"] == values["decode"]["steps"] == 4
    assert values["entropy_encode"]["p50_ms"] < values["encode"]["p50_ms"]
