"""What changed between two measurements of the same samples, class by class, with significance.

Samples are paired by their id. Accuracies are compared by McNemar's mid-P test and Tango's interval, the
smallest distances of sweeps by a test of random signs; all p values of a table are adjusted together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from classrob.errors import UsageError, nearest
from classrob.reading.pairing import Paired, groups, same_samples
from classrob.reading.results import Results, Stored
from classrob.statistics.intervals import ALPHA
from classrob.statistics.significance import holm, mcnemar, mean_difference, paired, permutation


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


class _Untested(NamedTuple):
    """A change whose p value is still to be found: by counts where there are no differences, else by these.

    `differences` float64 [n] lie between −`bound` and `bound`.
    """

    change: Change
    differences: np.ndarray[Any, Any] | None = None
    bound: float = 0.0

    def tested(self, draws: int) -> Change:
        """The change with its p value, and the interval that belongs to it."""
        if self.differences is None:
            return replace(self.change, p=mcnemar(self.change.lost, self.change.gained))
        low, high = mean_difference(self.differences, self.bound)
        return replace(self.change, low=low, high=high, p=permutation(self.differences, draws=draws))


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
    notes: list[str] = []
    changes = _compared(_pairs(runs, against, notes), notes)
    if not changes:
        raise UsageError(f"nothing can be compared: {'; '.join(notes) or 'no condition is in both'}")
    return Comparison(changes, tuple(dict.fromkeys(notes)))


def between_models(results: Results) -> tuple[Change, ...]:
    """From a run's first model to each other one, as `compare` with this run alone; none where it has one model."""
    if len(_models(results)) < 2:
        return ()
    notes: list[str] = []
    return _compared(_pairs([("", results)], None, notes), notes)


def _compared(pairs: Iterator[tuple[Side, Side]], notes: list[str]) -> tuple[Change, ...]:
    """All changes with their p values, adjusted together."""
    found: list[_Untested] = []
    for one, other in pairs:
        found += _changes(one, other, notes)
    draws = max(9_999, 40 * len(found))  # so that a p value can be small enough for so many tests
    tested = [one.tested(draws) for one in found]
    adjusted = holm([c.p for c in tested])
    done = (replace(c, adjusted=p, changed=p <= ALPHA) for c, p in zip(tested, adjusted, strict=True))
    return tuple(done)


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


def _changes(one: Side, other: Side, notes: list[str]) -> Iterator[_Untested]:
    def measured(side: Side) -> dict[tuple[str, str, str | None], Stored]:
        own = [c for c in side.results.conditions if c.model == side.model]
        return {(c.dataset, c.threat, c.attack): c for c in own}

    ours, theirs = measured(one), measured(other)
    if one.results is not other.results:
        mine, their = ([" · ".join(filter(None, key)) for key in found] for found in (ours, theirs))
        _only(mine, their, "condition", one.run, other.run, notes)
    for key, before in ours.items():
        if key in theirs:
            after = theirs[key]
            where = " · ".join(filter(None, key))
            if before.parts["dataset"] != after.parts["dataset"]:
                notes.append(f"{where}: the data sets differ in their fields; samples are paired by id")
            a, b = same_samples(one.results.table(before), other.results.table(after), where, notes)
            named = {"baseline": one.run, "baseline_model": one.model, "run": other.run, "model": other.model}
            named |= {"dataset": before.dataset, "threat": before.threat, "attack": before.attack}
            yield from _accuracies(named, a, b)
            yield from _distances(named, a, b)


def _accuracies(named: Mapping[str, Any], a: Paired, b: Paired) -> Iterator[_Untested]:
    counted: list[dict[str, Any]] = []
    every = list(groups(a))
    for column, budget in enumerate(a.budgets):
        before, after = a.right[:, column], b.right[:, column]
        lost, gained = before & ~after, ~before & after
        for label, mine in every:
            hits, worse, better, n = (int(one[mine].sum()) for one in (before, lost, gained, mine))
            shares = {
                "before": hits / n,
                "after": (hits - worse + better) / n,
                "difference": (better - worse) / n,
            }
            counted.append(
                {"budget": budget, "label": label, **shares, "n": n, "lost": worse, "gained": better}
            )
    lost, gained, n = (np.array([one[key] for one in counted]) for key in ("lost", "gained", "n"))
    for one, low, high in zip(counted, *paired(gained, lost, n), strict=True):
        yield _Untested(Change(**named, **one, metric="accuracy", low=float(low), high=float(high), p=1.0))


def _distances(named: Mapping[str, Any], a: Paired, b: Paired) -> Iterator[_Untested]:
    """Of sweeps over several budgets: the mean smallest distance within the largest."""
    largest = a.budgets[-1] if a.budgets else None
    if largest is None or len(a.budgets) < 2:
        return
    before, after = (np.minimum(one.distance.min(1), largest) for one in (a, b))
    for label, mine in groups(a):
        d = after[mine] - before[mine]
        change = Change(
            **named,
            budget=None,
            metric="mean-distance",
            label=label,
            before=float(before[mine].mean()),
            after=float(after[mine].mean()),
            difference=float(d.mean()),
            low=-largest,
            high=largest,
            n=len(d),
            lost=int((d < 0).sum()),
            gained=int((d > 0).sum()),
            p=1.0,
        )
        yield _Untested(change, d, largest)
