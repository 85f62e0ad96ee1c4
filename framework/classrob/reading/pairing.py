"""Two measurements of the same samples side by side, paired by the samples' ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from classrob.table import Table

#: Budgets that are this close are the same.
SAME = 1e-9


class Paired(NamedTuple):
    """Samples that both have: label [n], and by budget right [n, b] and distance [n, b], inf where it stands."""

    classes: tuple[str, ...]
    label: np.ndarray[Any, Any]
    budgets: tuple[float | None, ...]
    right: np.ndarray[Any, Any]
    distance: np.ndarray[Any, Any]


def same_samples(one: Table, other: Table, where: str, notes: list[str]) -> tuple[Paired, Paired]:
    """The samples and budgets that both have, in the same order; what only one has is noted, led by `where`."""
    a, b = _wide(one), _wide(other)
    budgets = [(i, j) for i, x in enumerate(a[1]) for j, y in enumerate(b[1]) if _same(x, y)]
    if len(budgets) < max(len(a[1]), len(b[1])):
        notes.append(f"{where}: {len(budgets)} budgets are in both, of {len(a[1])} and {len(b[1])}")
    both = [sample for sample in a[0] if sample in b[0]]
    for mine, theirs, which in ((a, b, "first"), (b, a, "second")):
        missing = [sample for sample in mine[0] if sample not in theirs[0]]
        if missing:
            some = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
            notes.append(f"{where}: {len(missing)} samples are only in the {which}: {some}")
    rows = np.array([(a[0][s], b[0][s]) for s in both], dtype=np.int64).reshape(-1, 2)
    places = [np.array([pair[side] for pair in budgets], dtype=np.int64) for side in (0, 1)]
    names = [np.array([*one.classes], dtype=object), np.array([*other.classes], dtype=object)]
    alike = names[0][a[2].label[rows[:, 0]]] == names[1][b[2].label[rows[:, 1]]]
    if not alike.all():
        notes.append(f"{where}: {int((~alike).sum())} samples have another class in each and are left out")
        rows = rows[alike]

    def cut(wide: Paired, side: int) -> Paired:
        at = np.ix_(rows[:, side], places[side])
        kept = tuple(wide.budgets[i] for i in places[side])
        return wide._replace(
            label=wide.label[rows[:, side]], budgets=kept, right=wide.right[at], distance=wide.distance[at]
        )

    return cut(a[2], 0), cut(b[2], 1)


def _same(x: float | None, y: float | None) -> bool:
    return x is y if x is None or y is None else abs(x - y) <= SAME


def _wide(table: Table) -> tuple[dict[str, int], tuple[float | None, ...], Paired]:
    """The places of samples, the budgets, and the table with a row a sample and a column a budget."""
    place = {sample: i for i, sample in enumerate(dict.fromkeys(table["sample"]))}
    at = np.fromiter((place[sample] for sample in table["sample"]), np.int64, len(table))
    budget = table["budget"]
    known = np.unique(budget[~np.isnan(budget)])
    column = np.zeros(len(table), np.int64) if not len(known) else np.searchsorted(known, budget)
    shape = (len(place), max(1, len(known)))
    right, distance = np.ones(shape, bool), np.full(shape, np.inf)
    label = np.zeros(len(place), np.int64)
    label[at] = table["label"]
    broken = table["predicted"] != table["label"]
    right[at, column] = ~broken
    measured = np.where(np.isnan(table["distance"]), budget, table["distance"])
    distance[at[broken], column[broken]] = measured[broken]
    budgets = tuple(known.tolist()) or (None,)
    return place, budgets, Paired(table.classes, label, budgets, right, distance)


def groups(a: Paired) -> Iterator[tuple[str | None, np.ndarray[Any, Any]]]:
    """All samples, then each class that has any: its name and which they are."""
    if len(a.label):
        yield None, np.ones(len(a.label), bool)
    for index in np.unique(a.label):
        yield a.classes[index], a.label == index
