"""The ablation: settings by updates, plans, bits, returns, and a whole small bench."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from relive.bench import ablation
from relive.bench.ablation_chain import NO_INDEX, ChainStep, Frequencies
from relive.bench.ablation_plan import RunPlan, digest, plan_runs, read_config
from relive.bench.ablation_revisit import find_returns, find_windows
from relive.bench.ablation_table import common_rate, difference, measure_noise, summarise, verdict
from relive.config import QuantizerConfig
from relive.cubes.store import SessionStore
from relive.errors import InputError, ReliveError
from relive.model.sizes import SIZES
from relive.train import checkpoint
from relive.train.run import train
from relive.train.settings import read_settings
from small_model import SMALL
from test_codec import SCHEMA, record

PHASES = """
[[{0}phase]]
name = "a"
updates = 2
batch = 2
crop = [48, 48]
chain = 2
span = 1
quantize = false
[[{0}phase]]
name = "b"
updates = 1
batch = 2
crop = [48, 48]
chain = 3
span = 2
"""
RUN = """
data = "{folder}"
valid = "{folder}"
out = "{out}"
model = "small-test"
tensorboard = false
workers = 0
state_names = ["health", "@turn"]
[mechanisms]
state_stages = [3]
"""
BENCH = (
    """
[train]
model = "small-test"
tensorboard = false
workers = 0
state_names = ["health", "@turn"]
{extra}
"""
    + PHASES.format("train.")
    + """
[evaluate]
steps = 3
depths = [1, 2, 3]
count_sessions = 1
count_steps = 3
revisit_variants = ["full", "copy"]
revisit_steps = 20
revisit_depths = [1, 3]
[variant.full]
about = "everything"
[variant.copy]
about = "the last picture"
mechanisms = {{ warp = "copy" }}
"""
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "small-test", SMALL)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    for name in ("train", "valid"):
        (tmp_path / name).mkdir()
        record(tmp_path / name / f"{name}.mcap", frames=40, size=(48, 64))
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_run_by_updates_is_the_same_twice(folder: Path) -> None:
    tensors = []
    for name in ("one", "two"):
        text = RUN.format(folder=folder / "train", out=folder / name)
        run = train(read_settings(write(folder / "run.toml", text + PHASES.format(""))))
        tensors.append(load_file(checkpoint.numbered(run)[-1]))
        kept = json.loads((run / "checkpoint.json").read_text())
        assert kept["progress"]["update"] == 3
        assert kept["config"]["mechanisms"]["state_stages"] == [3]
    assert all(torch.equal(value, tensors[1][key]) for key, value in tensors[0].items())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[mechanisms]\ncolour = 1", "no such mechanism: colour"),
        ("[mechanisms]\nstate = 1", "state = 1"),
        ("[mechanisms]\nwarp = 'far'", "warp = 'far'"),
        ("[mechanisms]\nstate_stages = ['x']", "state_stages"),
        ("[[phase]]\nname='c'\nminutes=1\nbatch=1\ncrop=[16,16]\nchain=1\nspan=1", "every phase"),
        (
            "[[phase]]\nname='c'\nbatch=1\ncrop=[16,16]\nchain=1\nspan=1",
            "either minutes or updates",
        ),
    ],
)
def test_wrong_switches_are_named(tmp_path: Path, text: str, names: str) -> None:
    head = RUN.format(folder=tmp_path, out=tmp_path).split("[mechanisms]")[0]
    path = write(
        tmp_path / "run.toml",
        head
        + text.split("[[")[0]
        + PHASES.format("")
        + ("[[" + text.split("[[")[1] if "[[" in text else "").replace("[[phase", "[[phase"),
    )
    with pytest.raises(InputError, match=names) as error:
        read_settings(path)
    assert "\n" not in str(error.value)


def test_an_unknown_size_is_refused(folder: Path) -> None:
    text = RUN.format(folder=folder / "train", out=folder / "x").replace("small-test", "huge")
    with pytest.raises(InputError, match="no model size 'huge'; there are tiny"):
        train(write(folder / "run.toml", text + PHASES.format("")))


def test_bits_are_the_entropy_of_what_was_counted() -> None:
    counted = Frequencies(QuantizerConfig(2, 4, 8))
    codes = torch.zeros(2, 6, 2, dtype=torch.long)
    still = torch.zeros(2, 6, dtype=torch.long)
    key = ChainStep(0, torch.zeros(2), codes, torch.full_like(still, NO_INDEX))
    delta = ChainStep(1, torch.zeros(2), codes, still)
    levels = torch.tensor([1, 2])
    counted.count([key, delta, delta], levels)
    assert counted.codes[1].tolist() == [[25, 1, 1, 1], [13, 1, 1, 1]]
    assert counted.motion.sum() == 33 * 32 + 24
    code_bits, motion_bits = counted.bits([key, delta], levels)
    assert motion_bits[0].tolist() == [0, 0]
    assert motion_bits[1, 0] == pytest.approx(6 * -math.log2(13 / 44))
    assert code_bits[1, 0] == pytest.approx(6 * -math.log2(25 / 28))
    assert code_bits[1, 1] == pytest.approx(6 * (-math.log2(25 / 28) - math.log2(13 / 16)))


def walk(away: int) -> SessionStore:
    """Stand for 20 frames, turn by 5 degrees a frame, look away for `away`, turn back, stand."""
    turn = np.arange(5, 50, 5)
    yaw = np.concatenate([np.zeros(20), turn, np.full(away, 50), turn[::-1], np.zeros(20)])
    count = len(yaw)
    states = np.zeros((count, SCHEMA.width), np.float32)
    states[:, 3] = yaw
    times = np.arange(count, dtype=np.int64) * 28_571_428
    frames = np.zeros((count, 16, 16, 3), np.uint8)
    return SessionStore("walk", frames, states, times, SCHEMA)


def test_returns_after_a_second_and_no_sooner() -> None:
    found = find_returns(walk(40), 128)
    assert [(r.seen, r.back) for r in found] == [(25, 69)]
    assert find_returns(walk(10), 128) == []
    assert find_returns(walk(40), 41) == []
    (window,) = find_windows([walk(40), walk(10)], 64, 4, 3)
    assert (window.start, window.steps, window.returns) == (22, 28, (24,))


def points(*pairs: tuple[float, float]) -> list[dict[str, Any]]:
    return [
        {"depth": i, "bpp": bpp, "mse": mse, "motion_bpp": 0.0}
        for i, (bpp, mse) in enumerate(pairs)
    ]


def result(variant: str, seed: int, factor: float, **more: Any) -> dict[str, Any]:
    sessions = [{"session": "s", "points": points((0.02, 0.02 * factor), (0.1, 0.01 * factor))}]
    return {
        "plan": {"variant": variant, "seed": seed},
        "training": {"cpu_seconds_per_update": 0.4, "source": "x"},
        "parameters": 10,
        "encode_step_seconds": 0.1,
        "sessions": sessions,
        **more,
    }


def test_a_variant_is_compared_with_its_own_seed() -> None:
    rows = [
        result("full", 0, 1.0),
        result("full", 1, 2.0),
        result("x", 0, 1.2),
        result("x", 1, 2.4),
    ]
    summary = summarise(rows, 0.05, {"full": "", "x": ""})
    assert summary["rate_bpp"] == 0.05
    assert summary["variants"]["x"]["mse_percent"]["mean"] == pytest.approx(20)
    assert summary["variants"]["x"]["db"]["low"] == pytest.approx(-10 * math.log10(1.2))
    assert summary["variants"]["x"]["verdict"] == "worse"
    assert summary["variants"]["x"]["mean_db"]["high"] == pytest.approx(-10 * math.log10(1.2))
    assert summary["variants"]["full"]["psnr_db"]["seeds"] == 2


def test_a_depth_that_makes_it_worse_still_counts() -> None:
    rising, falling = [(0.01, 20.0), (0.04, 22.0)], [(0.01, 20.0), (0.04, 18.0)]
    assert common_rate([rising, falling], 0.02) == 0.02
    assert difference(falling, rising, 0.02)["db"] == pytest.approx(-2)
    assert difference(falling, rising, 0.02)["mean_db"] == pytest.approx(-2)


def test_nothing_is_said_outside_what_was_measured() -> None:
    low, high = [(0.01, 20.0), (0.02, 22.0)], [(0.03, 23.0), (0.04, 24.0)]
    assert common_rate([low, high], 0.05) is None
    assert common_rate([low], 0.05) == pytest.approx(0.02, rel=0.01)
    assert difference(low, high, 0.05)["db"] is None


def test_a_verdict_needs_more_than_the_noise() -> None:
    noise = measure_noise([[0.1, -0.1], [0.3, 0.1], [None, 0.4]])
    assert noise.deviation_db == pytest.approx(math.sqrt(0.02))
    assert noise.degrees == 2
    assert noise.margin(2) == pytest.approx(4.303 * math.sqrt(0.02 / 2), rel=1e-3)
    assert verdict([0.1, -0.1], noise) == "within the noise"
    assert verdict([0.1, None], noise) == "not enough seeds"
    assert verdict([0.5, 0.7], noise) == "better"
    assert verdict([-0.5, -0.7], noise) == "worse"
    assert verdict([0.5, 0.7], measure_noise([[0.5]])) == "not enough seeds"


def test_plans_differ_only_in_what_the_variant_says(folder: Path) -> None:
    config = read_config(write(folder / "bench.toml", BENCH.format(extra="")))
    folders = folder / "train", folder / "valid"
    full, copy = plan_runs(config, ["full", "copy"], [3], folders, folder / "runs")
    assert copy.settings.mechanisms == {"warp": "copy"}
    same = replace(copy, settings=copy.settings.model_copy(update={"mechanisms": {}}))
    assert same.settings.model_dump(exclude={"out"}) == full.settings.model_dump(exclude={"out"})
    copy.write()
    assert RunPlan.read(copy.folder) == copy
    assert copy.folder.name == "copy-3"
    assert copy.folder.parent.name == digest(config, folder / "train")


def test_the_bench_runs_keeps_and_reports(folder: Path) -> None:
    config = write(folder / "bench.toml", BENCH.format(extra=""))
    folders, out = (folder / "train", folder / "valid"), folder / "out" / "ablation.json"
    seen: list[tuple[int, int]] = []
    first = ablation.bench_ablation(
        folders,
        out,
        config=config,
        seeds=(0,),
        root=folder / "runs",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 2), (2, 2)]
    assert json.loads(out.read_text())["summary"]["variants"]["copy"]["about"] == "the last picture"
    assert "| `copy` | the last picture |" in out.with_suffix(".md").read_text()
    assert out.with_suffix(".png").stat().st_size > 1000
    run = first["runs"][0]
    rates = [p["bpp"] for p in run["sessions"][0]["points"]]
    assert rates == sorted(rates)
    assert set(run["states"]) == {"none", "shuffled"}
    assert run["revisits"]["moments"] == 0
    kept = next((folder / "runs").rglob("copy-0/trained.json"))
    before = kept.stat().st_mtime_ns
    again = ablation.bench_ablation(folders, out, config=config, seeds=(0,), root=folder / "runs")
    assert again["runs"] == first["runs"]
    assert kept.stat().st_mtime_ns == before


def test_a_broken_run_is_named_and_the_rest_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(folder / "bench.toml", BENCH.format(extra=""))
    real = ablation.run_plan

    def fail(plan: RunPlan) -> Any:
        if plan.variant == "full":
            raise MemoryError("none left")
        return real(plan)

    monkeypatch.setattr(ablation, "run_plan", fail)
    with pytest.raises(ReliveError, match="1 of 2 runs failed, first full, seed 0: MemoryError"):
        ablation.bench_ablation(
            (folder / "train", folder / "valid"),
            folder / "out",
            config=config,
            seeds=(0,),
            root=folder / "runs",
        )
    assert "none left" in (folder / "out" / "ablation.md").read_text()


def test_a_process_that_fails_leaves_its_last_word(folder: Path) -> None:
    text = BENCH.format(extra="").replace("small-test", "no-such-size")
    with pytest.raises(ReliveError, match="process left with 2: error: no model size"):
        ablation.bench_ablation(
            (folder / "train", folder / "valid"),
            folder / "out",
            config=write(folder / "bench.toml", text),
            variants=["full"],
            seeds=(0,),
            jobs=2,
            root=folder / "runs",
        )


def test_wrong_configurations_are_refused(folder: Path) -> None:
    config = write(folder / "bench.toml", BENCH.format(extra=""))
    folders = folder / "train", folder / "valid"
    with pytest.raises(InputError, match="no variant 'x'; there are full, copy"):
        ablation.bench_ablation(folders, folder, config=config, variants=["x"])
    with pytest.raises(InputError, match="no sessions"):
        ablation.bench_ablation((folder / "none", folder), folder, config=config)
    config.write_text(BENCH.format(extra="colour = 1"))
    with pytest.raises(InputError, match="variant full: colour"):
        ablation.bench_ablation(folders, folder, config=config, root=folder / "runs")
