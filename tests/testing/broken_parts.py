"""Parts that break one promise of every part each, and one that keeps all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ConfigDict, Field, field_serializer

from classrob import Metric, Score, Table

from .broken import Breaks


class Honest(Metric):
    """A metric with a field, which scores nothing."""

    share: float = Field(default=0.25, description="of something")

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        yield from ()


class Thawed(Honest):
    """A metric whose field can be assigned."""

    model_config = ConfigDict(frozen=False)


class Rounds(Honest):
    """A metric whose field loses digits on its way to JSON."""

    @field_serializer("share")
    def rounded(self, value: float) -> float:
        return round(value, 1)


class Restless(Honest):
    """A metric whose identity changes every time."""

    def ingredients(self) -> dict[str, str]:
        return {"object": str(id(self))}


class TakesAnything(Honest):
    """A metric that ignores what it does not know."""

    model_config = ConfigDict(extra="ignore")


class Undocumented(Honest):
    __doc__ = None


class Terse(Honest):
    """Shares."""


class BareField(Honest):
    """A metric with a field that nobody explains."""

    other: Any = None


BROKEN = {
    "is_frozen": [Breaks("metric", Thawed)],
    "survives_json": [Breaks("metric", Rounds), Breaks("metric", Restless)],
    "refuses_unknown_fields": [Breaks("metric", TakesAnything)],
    "has_a_docstring": [Breaks("metric", Undocumented), Breaks("metric", Terse)],
    "describes_its_fields": [Breaks("metric", BareField)],
}
