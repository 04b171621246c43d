"""`relive report`: the page of a run, from real logs of all ages."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from relive.cli.run import run
from relive.cubes.corpus import Corpus, Skipped
from relive.errors import InputError
from relive.train.monitor import Monitor, PictureRow
from relive.train.report import write_report
from relive.train.report_data import read_log, series


def write_log(out: Path, *lines: dict[str, Any]) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    (out / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out


def training(update: int, **more: Any) -> dict[str, Any]:
    return {
        "update": update,
        "minutes": update / 10,
        "phase": "autoencoder" if update <= 60 else "chain <8>",
        "loss": 1.0 / update,
        "psnr_keyframe_db": 20.0,
        "psnr_delta_db": 22.0 + update / 100,
        "multiview": 0.0,
        "spatial": 0.5,
        "skipped": 0,
    } | more


@pytest.fixture
def whole_run(tmp_path: Path) -> Path:
    """A run with lines of every kind, pictures, settings and a manifest."""
    out = tmp_path / "whole"
    picture = np.zeros((16, 16, 3), np.uint8)
    with Monitor(out, tensorboard=False) as monitor:
        for update in range(20, 620, 20):
            weights = {"spatial": 0.3, "rate": 40.0}
            monitor.line(training(update, weights=weights, learning_rate=1e-3, skipped=1))
        for update in (300, 600):
            monitor.line(
                {"update": update, "minutes": update / 10, "valid": {"depth 3": [25.0] * 16}}
            )
            rd = [{"depth": q, "bits_per_pixel": q / 100, "psnr_db": 20.0 + q} for q in (2, 5)]
            monitor.line({"update": update, "minutes": update / 10, "rd": rd, "split": "valid"})
        monitor.line({"update": 600, "event": "checkpoint", "detail": ""})
        monitor.line({"update": 600, "event": "non-finite", "detail": "gradient <nan>"})
        for update in range(100, 700, 100):
            monitor.pictures(update, [PictureRow("map01", picture, picture, None, None, 30.0)])
    settings = {"seed": 7, "phase": [{"name": "autoencoder", "crop": [128, 128], "masking": None}]}
    (out / "settings.json").write_text(json.dumps(settings))
    corpus = Corpus([], [Skipped("bad.mcap", "truncated <here>")]).to_manifest()
    manifest = {"train": corpus | {"sessions": ["map01", "map02"], "games": {"doom": 2}}}
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def test_page_shows_everything_and_needs_nothing_else(whole_run: Path) -> None:
    page, log = write_report(whole_run)
    text = page.read_text(encoding="utf-8")
    assert page == whole_run / "report.html"
    assert (log.updates, log.minutes, log.skipped) == (600, 60.0, 30)
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert {"Quality in training", "Validation", "Quality for the bytes", "Pictures"} <= set(titles)
    assert {"Loss", "Weights of the losses", "Events", "Sessions", "Settings"} <= set(titles)
    assert text.count("data:image/png;base64,") == 4
    assert [f"Update {n}</fig" in text for n in (100, 200, 600)] == [True, False, True]
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "chain &lt;8&gt;" in text
    assert "gradient &lt;nan&gt;" in text
    assert "2 sessions used, 1 skipped; 0 frames, doom 2." in text
    assert "truncated &lt;here&gt;" in text
    assert "Always 0: multiview" in text
    assert not re.search(r"\$\{?(title|subtitle|cards|sections)", text)


def test_colors_of_plots_follow_the_page(whole_run: Path) -> None:
    page, _ = write_report(whole_run)
    plots = "".join(re.findall(r"<svg.*?</svg>", page.read_text(encoding="utf-8"), re.DOTALL))
    assert "var(--a)" in plots
    assert "#d4380d" not in plots


def test_log_of_an_older_version_is_read(tmp_path: Path) -> None:
    out = write_log(
        tmp_path / "old",
        training(20),
        {"minutes": 2.5, "valid": {"depth 3": [20.0] * 16, "depth 6": [21.0] * 16}},
        training(40),
    )
    page, log = write_report(out)
    assert (len(log.training), len(log.valid), log.updates) == (2, 1, 40)
    assert "21.00 dB" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "line",
    [
        {"update": 1, "event": "phase", "detail": "autoencoder"},
        {"update": 20, "minutes": None, "phase": "a", "loss": None, "psnr_delta_db": None},
        {"minutes": 0.1, "valid": {}},
        {"minutes": 0.1, "valid": {"depth 3": [20.0]}},
        {"update": 3, "minutes": 0.1, "rd": []},
        training(20),
    ],
)
def test_one_line_makes_a_page(tmp_path: Path, line: dict[str, Any]) -> None:
    page, _ = write_report(write_log(tmp_path / "one", line))
    assert page.read_text(encoding="utf-8").endswith("</html>\n")


def test_half_lines_are_passed_over(tmp_path: Path) -> None:
    out = write_log(tmp_path, training(20))
    with (out / "log.jsonl").open("ab") as log:
        log.write(b'[1]\n\xff\xfe\n{"update": 40, "minu')
    assert [line["update"] for line in read_log(out).training] == [20]


def test_of_updates_made_twice_the_later_lines_count(tmp_path: Path) -> None:
    stale = {"minutes": 6.0, "valid": {"depth 3": [20.0]}}
    again = training(40, loss=9.0, minutes=4.5)
    out = write_log(tmp_path, training(20), training(40), training(60), stale, again)
    log = read_log(out)
    minutes, losses = series(log.training, "loss")
    assert (minutes.tolist(), losses[-1]) == ([2.0, 4.5], 9.0)
    assert log.valid == ()


def test_phases_are_told_apart(whole_run: Path) -> None:
    first, second = read_log(whole_run).phases
    assert (first.name, first.end_minutes) == ("autoencoder", 6.0)
    assert (second.name, second.begin_minutes) == ("chain <8>", 8.0)


def test_long_logs_make_light_pages(tmp_path: Path) -> None:
    out = write_log(tmp_path, *(training(update) for update in range(20, 60_000, 20)))
    page, _ = write_report(out)
    assert page.stat().st_size < 500_000


def test_no_log_is_bad_input(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"log\.jsonl"):
            write_report(folder)
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(InputError, match="no line"):
        write_report(tmp_path)


def test_verb_prints_one_object(whole_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(whole_run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    page = str(whole_run / "report.html")
    assert found == {"report": page, "updates": 600, "minutes": 60.0}
    assert run(["report", str(whole_run)]) == 0  # its own page is made anew


def test_verb_refuses_in_one_line(
    whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "taken.html"
    taken.write_text("mine")
    for args in (
        [str(tmp_path / "nowhere")],
        [str(whole_run / "log.jsonl")],
        [str(whole_run), "--out", str(taken)],
        [str(whole_run), "--out", str(tmp_path)],
    ):
        assert run(["report", *args]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert taken.read_text() == "mine"
    assert run(["report", str(whole_run), "--out", str(taken), "--force"]) == 0
    assert taken.read_text(encoding="utf-8").startswith("<!doctype html>")
