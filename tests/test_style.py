"""The code's style, by the tools that define it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "."], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_pyright() -> None:
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if not re.search(r"\d errors?,", done.stdout):
        pytest.skip(f"pyright could not be installed here: {(done.stderr or done.stdout)[-200:]}")
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("source", ["framework/classrob", "plugins"])
def test_modules_stay_small(source: str) -> None:
    """About a hundred lines; a module that one can no longer hold in the head is split."""
    long = {str(p): n for p in (ROOT / source).rglob("*.py") if (n := len(p.read_text().splitlines())) > 300}
    assert long == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path)
        for source in ("framework", "plugins")
        for path in (ROOT / source).rglob("*.py")
        if not re.match(r'"""\S', path.read_text())
    ]
    assert silent == []
