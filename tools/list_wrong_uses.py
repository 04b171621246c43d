"""Write docs/errors.md: what Relive answers to wrong uses, run one by one.

    python tools/list_wrong_uses.py

The list is tests/wrong_uses.py; the same list is a test, and so is that this page is fresh.
"""

import contextlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from relive.cli import run  # noqa: E402
from wrong_uses import WRONG_USES, WrongUse, prepare  # noqa: E402

PAGE = ROOT / "docs" / "errors.md"
HEAD = """# What Relive says when something is wrong

Made by `python tools/list_wrong_uses.py`, which runs every line; {tested} such uses are tested.
An error is one line on stderr: what, where, what to do. Nothing is half-written; inputs and
existing outputs stay as they were. Exit codes: 1 failed, 2 wrong usage or bad input, 3 damaged
input but the whole part was written, 4 the model is missing or another one, 130 interrupted.

| wrong | command | answer | code |
|---|---|---|---|
"""


def page(folder: Path) -> str:
    """The page, by running its lines in a folder that was prepared."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        rows = [_row(wrong) for wrong in WRONG_USES if wrong.listed]
    finally:
        os.chdir(before)
    return HEAD.format(tested=len(WRONG_USES)) + "\n".join(rows) + "\n"


def _row(wrong: WrongUse) -> str:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = run(wrong.args)
    command = wrong.command.replace(" --model m.safetensors", "")
    text = re.sub("[0-9a-f]{16}", "…", said.getvalue())  # ids of models made for this
    answer = text.strip().removeprefix("relive: ").replace("|", "\\|")
    return f"| {wrong.what} | `relive {command}` | {answer} | {code} |"


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as name:
        PAGE.write_text(page(prepare(Path(name))), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
