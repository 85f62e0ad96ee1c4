"""How a part that breaks one promise on purpose is described."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from classrob.catalog import Catalog
from classrob.parts import Part
from classrob.testing.subject import Subject


@dataclass(frozen=True)
class Breaks:
    """A part that breaks one promise; `also` are the promises that cannot be kept beside it."""

    kind: str
    part: type[Part]
    also: frozenset[str] = frozenset()
    fields: dict[str, Any] = field(default_factory=dict)

    def subject(self, catalog: Catalog) -> Subject:
        return Subject.of(self.kind, f"broken/{self.part.__name__}", self.part, catalog, fields=self.fields)


def also(*names: str) -> frozenset[str]:
    return frozenset(names)
