"""Drive the player's page with Chromium: seeks, frames dropped, memory, two viewers.

    python tools/measure_player.py replay.relive --seeks 100 --minutes 1 -o results/player.json
    python tools/measure_player.py replay.relive --seeks 0 --minutes 10 --key ten_minutes

Needs `pip install 'relive[play,dev]'` and a Chromium. `first` is the time from a seek to the first
picture (a preview, marked as such), `exact` that to the exact frame of all tiers. With `--key` the
result joins what the file holds already, under that key.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

from relive.bench.provenance import machine, versions
from relive.player.catalogue import summarise

SEED = 5
PATIENCE_S = 60.0
SETTLE_MS = 400
COLD_SEEKS = 10


@contextmanager
def player(replay: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `relive play` and yield its process and address."""
    command = [sys.executable, "-m", "relive", "play", str(replay), "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, (process.stdout or sys.stdin).readline().strip()
        finally:
            process.terminate()


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def wait(page: Page, condition: str, patience_s: float = PATIENCE_S) -> bool:
    """Poll a condition of the page from outside; whether it came true."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if page.evaluate(f"Boolean({condition})"):
            return True
        page.wait_for_timeout(10)
    return False


def open_page(browser: Any, url: str) -> Page:
    """Open the player and wait for its first exact picture."""
    page: Page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(url)
    if not wait(page, "window.relivePlayer?.stats.exactMs != null"):
        sys.exit("measure_player: the page shows no picture")
    return page


def heap_mb(page: Page) -> float:
    """What the scripts of a page hold; pictures lie outside, bounded by the page's buffer."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    metrics = session.send("Performance.getMetrics")["metrics"]
    session.detach()
    return round(next(m["value"] for m in metrics if m["name"] == "JSHeapUsedSize") / 1e6, 1)


def spread(values: list[float]) -> dict[str, float]:
    """Median and tail of milliseconds; empty without any."""
    if not values:
        return {}
    return {f"p{q}_ms": round(float(np.percentile(values, q)), 1) for q in (50, 95, 99)}


def seeks(page: Page, count: int, seed: int) -> dict[str, Any]:
    """Seek to random places, each after the exact picture of the one before."""
    length = page.evaluate("relivePlayer.film.duration")
    first, exact = [], []
    chance = random.Random(seed)
    for _ in range(count):
        page.evaluate(f"relivePlayer.seek({chance.uniform(0, length)})")
        if wait(page, "relivePlayer.stats.exactMs != null"):
            stats = page.evaluate("relivePlayer.stats")
            first.append(stats["firstMs"])
            exact.append(stats["exactMs"])
        page.wait_for_timeout(SETTLE_MS)
    return {"seeks": count, "answered": len(exact), "first": spread(first), "exact": spread(exact)}


def at_minute(page: Page, server_mb: float) -> dict[str, Any]:
    """Memory and counts at one moment of playing."""
    return {
        "server_mb": round(server_mb),
        "page_heap_mb": heap_mb(page),
        "page_pictures": page.evaluate("relivePlayer.buffer.count"),
        "counts": page.evaluate("relivePlayer.playback.counts"),
        "load": os.getloadavg()[0],
    }


def play(pages: list[Page], pid: int, seconds: float) -> dict[str, Any]:
    """Play on all pages at once, over and over, at the rate of the session."""
    for page in pages:
        page.evaluate(
            "relivePlayer.playback.counts = { shown: 0, dropped: 0, skipped: 0 };"
            "relivePlayer.playback.setLoop(0, relivePlayer.film.duration - 0.1);"
            "relivePlayer.seek(0); relivePlayer.playback.play()"
        )
    memory, levels, minutes = [], [], []
    begin = time.monotonic()
    while (past := time.monotonic() - begin) < seconds:
        pages[0].wait_for_timeout(500)
        memory.append(memory_mb(pid))
        levels.append(pages[0].evaluate("relivePlayer.playback.level"))
        if past >= 60 * (1 + len(minutes)):
            minutes.append(at_minute(pages[0], memory[-1]))
    minutes.append(at_minute(pages[0], memory[-1]))
    counts = [page.evaluate("relivePlayer.playback.counts") for page in pages]
    costs = pages[0].evaluate("relivePlayer.playback.costs")
    for page in pages:
        page.evaluate("relivePlayer.playback.pause()")
    names = ("all tiers", "first tier", "keyframes")
    shares = {name: round(levels.count(i) / len(levels), 3) for i, name in enumerate(names)}
    return {
        "seconds": seconds,
        "viewers": counts,
        "share_of_time": shares,
        "seconds_a_frame": costs and costs["seconds_a_frame"],
        "server_memory_mb": {
            "start": round(memory[0]),
            "end": round(memory[-1]),
            "most": round(max(memory)),
        },
        "each_minute": minutes,
        "level_changes": sum(one != other for one, other in pairwise(levels)),
    }


def main() -> None:
    """Measure and write one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("replay", type=Path)
    parser.add_argument("--seeks", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=1.0, help="of playing")
    parser.add_argument("-o", "--out", type=Path, default=Path("results/player.json"))
    parser.add_argument("--key", help="of the result beside others in the file")
    args = parser.parse_args()
    chromium = shutil.which("chromium") or sys.exit("measure_player: no chromium")
    with player(args.replay) as (process, url), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = open_page(browser, url)
        cold = seeks(page, COLD_SEEKS, SEED + 1)
        wait(page, "relivePlayer.thumbs.pictures.size >= relivePlayer.film.gops.length")
        result: dict[str, Any] = {
            "command": f"python tools/measure_player.py {' '.join(sys.argv[1:])}",
            "machine": machine(),
            "versions": versions(),
            "load": os.getloadavg()[0],
            "replay": {k: v for k, v in summarise(args.replay).items() if k != "status"},
            "seeks_before_thumbnails": cold,
        }
        result["seeks"] = seeks(page, args.seeks, SEED)
        print(json.dumps(result["seeks"]), file=sys.stderr)
        result["playing"] = play([page], process.pid, 60 * args.minutes)
        other = open_page(browser, url)
        result["two_viewers"] = play([page, other], process.pid, 30)
        result["load_end"] = os.getloadavg()[0]
        browser.close()
    if args.key:
        result = {**json.loads(args.out.read_text(encoding="utf-8")), args.key: result}
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
