"""The entries of a study made into parts with the names that rows call them by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from classrob.catalog import Catalog
from classrob.errors import StudyError

#: Keys of an entry that are the host's own and no field of the part.
OWN = {
    "threat": ("attack", "certifier"),
    "probe": ("against", "budgets"),
    "detector": ("against", "ood", "reference", "outliers", "budgets"),
}

P = TypeVar("P")


@dataclass(frozen=True)
class Named(Generic[P]):
    """A part as the study calls it."""

    name: str
    part: P


def named(
    entries: Sequence[Mapping[str, Any]], kind: str, catalog: Catalog, base: Path
) -> Iterable[Named[Any]]:
    """The parts of a study's entries of a kind, in their order.

    Raises:
        StudyError: two have one name, or one cannot be made.
    """
    taken: dict[str, int] = {}
    for index, entry in enumerate(entries):
        name = name_of(entry, f"[[{kind}]] {index + 1}")
        if name in taken:
            raise StudyError(
                f"[[{kind}]] {index + 1} and {taken[name]} are both called '{name}': give one a `name` of its own"
            )
        taken[name] = index + 1
        yield Named(name, make(entry, kind, catalog, base, f"[[{kind}]] {index + 1}"))


def name_of(entry: Mapping[str, Any], where: str) -> str:
    """What rows call an entry's part: its `name`, or else what it uses."""
    name = entry.get("name", entry["use"])
    if not isinstance(name, str) or not name or any(not c.isprintable() for c in name):
        raise StudyError(f"{where}: `name` must be printable text, not {name!r}")
    return name


def make(entry: Mapping[str, Any], kind: str, catalog: Catalog, base: Path, where: str) -> Any:
    """The part of an entry, from the fields that are its own."""
    taken = {"use", "name", *OWN.get(kind, ())}
    fields = {key: value for key, value in entry.items() if key not in taken}
    return catalog.make(kind, entry["use"], fields, base, where)


def table_of(entry: Any, where: str) -> Mapping[str, Any]:
    """An entry inside another one: a table, or a name that stands for one."""
    table = {"use": entry} if isinstance(entry, str) else entry
    if not isinstance(table, dict) or not isinstance(table.get("use"), str):
        raise StudyError(f"{where} must be a name, or a table with `use` and fields, not {entry!r}")
    return table
