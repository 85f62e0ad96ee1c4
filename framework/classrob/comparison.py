"""What changed between two measurements of the same samples, class by class, with significance.

Samples are paired by their id. Accuracies are compared by McNemar's mid-P test and Tango's interval, the
smallest distances of sweeps by a test of random signs; all p values of a table are adjusted together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from classrob.errors import UsageError, nearest
from classrob.intervals import ALPHA
from classrob.results import Results, Stored
from classrob.significance import holm, mcnemar, mean_difference, paired, permutation
from classrob.table import Table

#: Budgets that are this close are the same.
SAME = 1e-9


@dataclass(frozen=True)
class Change:
    """One number before and after.

    Attributes:
        baseline, baseline_model: the run and the model compared with; `run`, `model` those compared.
        metric: `accuracy`, or `mean-distance`: the mean of the samples' smallest distances, each at most the
            largest budget of both sweeps, which is the area below the curve of accuracy over the budget.
        label: a class; None for all classes together.
        before, after, difference: after − before, of the samples in both; `low` and `high` its 95 % interval.
        n: how many samples are in both. lost, gained: how many got worse, and better.
        p: of no change; adjusted: after Holm, over the whole table. changed: is `adjusted` at most 5 %?
    """

    baseline: str
    baseline_model: str
    run: str
    model: str
    dataset: str
    threat: str
    budget: float | None
    attack: str | None
    metric: str
    label: str | None
    before: float
    after: float
    difference: float
    low: float
    high: float
    n: int
    lost: int
    gained: int
    p: float
    adjusted: float = 1.0
    changed: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The change as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """All changes, and what could not be compared, in lines for people."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]


class Side(NamedTuple):
    """A model in a run."""

    run: str
    results: Results
    model: str


def compare(runs: Sequence[tuple[str, Results]], against: str | None = None) -> Comparison:
    """Compare runs, each with the first, model by model; the models of a single run, each with one of them.

    Args:
        runs: names and runs.
        against: with a single run, the model that the others are compared with; None: the first.

    Raises:
        UsageError: there is nothing to compare.
    """
    found: list[Change] = []
    notes: list[str] = []
    for one, other in _pairs(runs, against, notes):
        found += _changes(one, other, notes)
    if not found:
        raise UsageError(f"nothing can be compared: {'; '.join(notes) or 'no condition is in both'}")
    draws = max(9_999, 40 * len(found))  # so that a p value can be small enough for so many tests
    tested = [c if not isinstance(c, _Distances) else c.tested(draws) for c in found]
    adjusted = holm([c.p for c in tested])
    done = (replace(c, adjusted=p, changed=p <= ALPHA) for c, p in zip(tested, adjusted, strict=True))
    return Comparison(tuple(done), tuple(dict.fromkeys(notes)))


def _models(results: Results) -> list[str]:
    return list(dict.fromkeys(c.model for c in results.conditions))


def _pairs(
    runs: Sequence[tuple[str, Results]], against: str | None, notes: list[str]
) -> Iterator[tuple[Side, Side]]:
    (name, first), *others = runs
    models = _models(first)
    if not others:
        if against is not None and against not in models:
            raise UsageError(f"run '{name}' has no model '{against}'{nearest(against, models)}")
        if len(models) < 2:
            raise UsageError(f"run '{name}' has one model alone: name another run to compare it with")
        base = against or models[0]
        for model in models:
            if model != base:
                yield Side(name, first, base), Side(name, first, model)
        return
    if against is not None:
        raise UsageError(
            "--against chooses among the models of a single run; runs are compared with the first"
        )
    for other, results in others:
        theirs = _models(results)
        if len(models) == len(theirs) == 1:  # whatever they are called
            yield Side(name, first, models[0]), Side(other, results, theirs[0])
            continue
        for model in models:
            if model in theirs:
                yield Side(name, first, model), Side(other, results, model)
        _only(models, theirs, "model", name, other, notes)


def _only(
    ours: Sequence[Any], theirs: Sequence[Any], what: str, name: str, other: str, notes: list[str]
) -> None:
    for mine, their, run in ((ours, theirs, name), (theirs, ours, other)):
        missing = [str(one) for one in mine if one not in their]
        if missing:
            notes.append(f"only in {run}: {what} {', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}")


def _changes(one: Side, other: Side, notes: list[str]) -> Iterator[Change]:
    def mine(side: Side) -> dict[tuple[str, str, str | None], Stored]:
        own = [c for c in side.results.conditions if c.model == side.model]
        return {(c.dataset, c.threat, c.attack): c for c in own}

    ours, theirs = mine(one), mine(other)
    if one.results is not other.results:
        titles = [[" · ".join(filter(None, key)) for key in conditions] for conditions in (ours, theirs)]
        _only(*titles, "condition", one.run, other.run, notes)
    for key, before in ours.items():
        if key in theirs:
            after = theirs[key]
            where = " · ".join(filter(None, key))
            if before.parts["dataset"] != after.parts["dataset"]:
                notes.append(f"{where}: the data sets differ in their fields; samples are paired by id")
            a, b = _same_samples(one.results.table(before), other.results.table(after), where, notes)
            named = (one.run, one.model, other.run, other.model, *key[:2])
            yield from _accuracies(named, key[2], a, b)
            yield from _distances(named, key[2], a, b)


class _Paired(NamedTuple):
    """Samples that both have: label [n], and by budget right [n, b] and distance [n, b], inf where it stands."""

    classes: tuple[str, ...]
    label: np.ndarray[Any, Any]
    budgets: tuple[float | None, ...]
    right: np.ndarray[Any, Any]
    distance: np.ndarray[Any, Any]


def _same_samples(one: Table, other: Table, where: str, notes: list[str]) -> tuple[_Paired, _Paired]:
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

    def cut(wide: _Paired, side: int) -> _Paired:
        at = np.ix_(rows[:, side], places[side])
        kept = tuple(wide.budgets[i] for i in places[side])
        return wide._replace(
            label=wide.label[rows[:, side]], budgets=kept, right=wide.right[at], distance=wide.distance[at]
        )

    return cut(a[2], 0), cut(b[2], 1)


def _same(x: float | None, y: float | None) -> bool:
    return x is y if x is None or y is None else abs(x - y) <= SAME


def _wide(table: Table) -> tuple[dict[str, int], tuple[float | None, ...], _Paired]:
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
    return place, budgets, _Paired(table.classes, label, budgets, right, distance)


def _groups(a: _Paired) -> Iterator[tuple[str | None, np.ndarray[Any, Any]]]:
    """All samples, then each class that has any: its name and which they are."""
    if len(a.label):
        yield None, np.ones(len(a.label), bool)
    for index in np.unique(a.label):
        yield a.classes[index], a.label == index


def _accuracies(named: tuple[Any, ...], attack: str | None, a: _Paired, b: _Paired) -> Iterator[Change]:
    counted: list[tuple[Any, ...]] = []
    groups = list(_groups(a))
    for column, budget in enumerate(a.budgets):
        lost, gained = a.right[:, column] & ~b.right[:, column], ~a.right[:, column] & b.right[:, column]
        for label, mine in groups:
            counts = (one[mine].sum() for one in (a.right[:, column], lost, gained, mine))
            counted.append((budget, label, *map(int, counts)))
    if not counted:
        return
    *_, lost, gained, n = (np.array(column) for column in zip(*counted, strict=True))
    ends = zip(*paired(gained, lost, n), strict=True)
    for (budget, label, right, worse, better, count), (low, high) in zip(counted, ends, strict=True):
        before, after = right / count, (right - worse + better) / count
        yield Change(
            *named, budget, attack, "accuracy", label, before, after, (better - worse) / count, float(low),
            float(high), count, worse, better, mcnemar(worse, better),
        )  # fmt: skip


@dataclass(frozen=True)
class _Distances(Change):
    """A change of a mean distance that is still to be tested."""

    differences: np.ndarray[Any, Any] | None = None
    bound: float = math.inf

    def tested(self, draws: int) -> Change:
        """The change with its interval and p value."""
        assert self.differences is not None
        low, high = mean_difference(self.differences, self.bound)
        own = {name: getattr(self, name) for name in Change.__dataclass_fields__}
        own |= {"low": low, "high": high, "p": permutation(self.differences, draws=draws)}
        return Change(**own)


def _distances(named: tuple[Any, ...], attack: str | None, a: _Paired, b: _Paired) -> Iterator[_Distances]:
    """Of sweeps over several budgets: the mean smallest distance within the largest."""
    largest = a.budgets[-1] if a.budgets else None
    if largest is None or len(a.budgets) < 2:
        return
    before, after = (np.minimum(one.distance.min(1), largest) for one in (a, b))
    for label, mine in _groups(a):
        d = after[mine] - before[mine]
        means = float(before[mine].mean()), float(after[mine].mean())
        yield _Distances(
            *named, None, attack, "mean-distance", label, *means, float(d.mean()), 0.0, 0.0, len(d),
            int((d < 0).sum()), int((d > 0).sum()), 1.0, differences=d, bound=largest,
        )  # fmt: skip
