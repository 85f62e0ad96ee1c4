"""What a check can say: nothing where the promise is kept, else `Broken`; `Skipped` where it is not due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


class Broken(AssertionError):
    """A promise is broken; the text is one line that says how."""


class Skipped(Exception):
    """The check does not apply to this part; the text is one line that says why."""


def ensure(kept: bool, otherwise: str) -> None:
    """Raise `Broken` unless the promise is kept."""
    if not kept:
        raise Broken(otherwise)


@dataclass(frozen=True)
class Result:
    """What came of one check of one part."""

    check: str
    part: str
    result: Literal["ok", "FAILED", "skipped"]
    reason: str = ""

    @property
    def case(self) -> str:
        """`attack/respects_the_budget[sign/sign]`."""
        return f"{self.check}[{self.part}]"
