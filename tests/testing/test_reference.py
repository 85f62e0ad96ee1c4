"""docs/reference/conformance.md lists every check with its promise, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from classrob.testing.check import Check, everything

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "conformance.md"

ROW = re.compile(r"^\| `(\S+/\S+)` \| (.+) \|$", re.MULTILINE)


def test_the_page_lists_every_check_with_its_promise() -> None:
    listed = ROW.findall(PAGE.read_text("utf-8"))
    assert listed == [(check.id, check.promise) for check in everything()]


@pytest.mark.parametrize("check", list(everything()), ids=lambda check: check.id)
def test_every_check_says_in_a_sentence_what_is_promised(check: Check) -> None:
    assert check.promise[0].isupper()
    assert check.promise.endswith(".")
