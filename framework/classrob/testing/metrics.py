"""What a metric promises: to be a function of the rows it declares to read, with honest bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from classrob.catalog import Catalog
from classrob.errors import ClassrobError
from classrob.parts import Metric, Threat
from classrob.reading.score import SUSPICION
from classrob.table import Observed, Score, Table
from classrob.testing.probes import recorded
from classrob.testing.subject import Subject
from classrob.testing.verdict import Broken, Skipped, ensure

CLASSES = ("a", "b", "c", "d")
BUDGETS = (0.1, 0.3)

#: What every table holds, whatever a metric declares; and what those of whole models hold besides.
ALWAYS = frozenset({"label", "budget"})
WHOLE = frozenset({"threat", "attack"})


def is_sound(subject: Subject) -> None:
    """Every score has low ≤ value ≤ high, n ≥ 0, a class of the table or none, and a name of its own."""
    for what, table, clean in _tables(subject):
        scores = _scores(subject.part, table, clean)
        for score in scores:
            _sound(score, what)
        names = [(score.name, score.label) for score in scores]
        ensure(len(set(names)) == len(names), f"for {what} two scores share name and label")


def ignores_the_order_of_rows(subject: Subject) -> None:
    """The same rows in another order give the same scores."""
    rng = np.random.default_rng(0)
    for what, table, clean in _tables(subject):
        mixed = _rows(table, rng.permutation(len(table))), _rows(clean, rng.permutation(len(clean)))
        same = _equal(_scores(subject.part, table, clean), _scores(subject.part, *mixed))
        ensure(same, f"for {what} the scores change with the order of the rows")


def copes_with_an_empty_class(subject: Subject) -> None:
    """A class without rows raises nothing and makes no score that is not a number."""
    for what, table, clean in _tables(subject):
        fewer = [one.where((one["label"] != 2) & (one["predicted"] != 2)) for one in (table, clean)]
        for score in _scores(subject.part, *fewer):
            _sound(score, f"{what} without a row of class 'c'")


def copes_with_few_rows(subject: Subject) -> None:
    """No rows, and a single row, raise nothing and make no score that is not a number."""
    for what, table, clean in _tables(subject):
        for n in (0, 1):
            few = _rows(table, np.arange(min(n, len(table)))), _rows(clean, np.arange(min(n, len(clean))))
            for score in _scores(subject.part, *few):
                _sound(score, f"{what} with {n} rows")


def reads_only_what_it_declares(subject: Subject) -> None:
    """The columns that it declares (label and budget are always there) are all that it reads."""
    kept = subject.part.columns | ALWAYS
    for what, table, clean in _tables(subject):
        few = [
            replace(
                t,
                columns={k: v for k, v in t.columns.items() if k in kept},
                observed={k: v for k, v in t.observed.items() if k in kept},
                constants={k: v for k, v in t.constants.items() if k in kept},
                trials=None,
            )
            for t in (table, clean)
        ]
        try:
            scores = _scores(subject.part, *few)
        except KeyError as error:
            raise Broken(f"it reads column {error}, but `columns` does not hold it") from error
        ensure(
            _equal(scores, _scores(subject.part, table, clean)),
            f"for {what} undeclared columns change the scores",
        )


def leaves_the_rows_alone(subject: Subject) -> None:
    """It does not change the rows that it reads."""
    for what, table, clean in _tables(subject):
        before = [{k: v.copy() for k, v in _arrays(t).items()} for t in (table, clean)]
        _scores(subject.part, table, clean)
        for old, now in zip(before, map(_arrays, (table, clean)), strict=True):
            ensure(old.keys() == now.keys(), f"for {what} it adds or removes columns")
            changed = [k for k, v in old.items() if not _same(v, now[k])]
            ensure(not changed, f"for {what} it changes column '{', '.join(changed)}'")


def _tables(subject: Subject) -> Iterator[tuple[str, Table, Table]]:
    """Tables as the host hands them to the metric, with the unperturbed images' table beside each.

    Columns of installed probes are there where the metric reads them; at the largest budget, of most rows.
    """
    metric: Metric = subject.part
    clean = _table(False, wrong=0.2)
    given = clean.names | (WHOLE if metric.scope == "model" else frozenset())
    if metric.scope == "detector":
        yield from _judged(clean)
    elif unknown := metric.columns - given:
        images = clean["sample"].tolist()
        found = recorded(subject.catalog, images)
        if missing := sorted(unknown - found.keys()):
            raise Skipped(f"no installed probe records the column '{missing[0]}'")
        own = {name: found[name] for name in unknown}
        for what, table, before in _plain(metric, clean, subject.catalog):
            yield what, _with(table, own, images), _with(before, own, images)
    else:
        yield from _plain(metric, clean, subject.catalog)


def _with(table: Table, columns: dict[str, tuple[bool, Any, Any]], images: list[str]) -> Table:
    """A table with what probes recorded: constants, and columns of unperturbed or perturbed images."""
    attacked = not np.isnan(table["budget"]).all()
    place = {sample: i for i, sample in enumerate(images)}
    at = np.array([place[sample] for sample in table["sample"]], np.int64)
    if attacked:
        at[(table["budget"] != BUDGETS[-1]) | (at % 10 == 0)] = -1  # as where nothing was judged
    observed = {
        n: Observed(moved if attacked else own, at) for n, (c, own, moved) in columns.items() if not c
    }
    constants = {name: own.astype(np.float32) for name, (constant, own, _) in columns.items() if constant}
    return replace(table, observed=observed, constants={} if attacked else constants)


def _judged(clean: Table) -> Iterator[tuple[str, Table, Table]]:
    """Tables with a detector's scores: of a threat's rows or most of them, of another data set; equal ones."""
    wrong, foreign = _table(True, 0.5).at(BUDGETS[1]), _table(False, wrong=0.5)
    labels = np.full(len(foreign), -1)
    foreign = replace(foreign, columns={**dict(foreign.columns), "label": labels})
    every = np.arange(len(clean))
    draw = np.random.default_rng(1)
    low, high = (draw.normal(shift, 1.0, len(clean)).astype(np.float32) for shift in (0.0, 1.0))
    most = np.where(every % 10 == 0, -1, every)

    def scored(table: Table, values: np.ndarray, at: np.ndarray) -> Table:
        return replace(table, observed={SUSPICION: Observed(values, at)})

    yield "rows of a threat", scored(wrong, high, every), scored(clean, low, every)
    yield "rows of which some have no score", scored(wrong, high, most), scored(clean, low, most)
    yield "rows of another data set", scored(foreign, high, every), scored(clean, low, every)
    yield "equal scores", scored(wrong, 0 * high, every), scored(clean, 0 * low, every)
    right = _table(True, 0.0).at(BUDGETS[1])
    yield "rows without an error", scored(right, high, every), scored(clean, low, every)


def _plain(metric: Metric, clean: Table, catalog: Catalog) -> Iterator[tuple[str, Table, Table]]:
    yield "the unperturbed images", _conditions(clean) if metric.scope == "model" else clean, clean
    for what, wrong in (
        ("rows of a threat", 0.5),
        ("rows without an error", 0.0),
        ("rows of nothing but errors", 1.0),
    ):
        attacked = _table(True, wrong)
        if metric.scope == "model":
            attacked = _conditions(clean, attacked, _table(True, wrong / 2))
        yield what, attacked.at(BUDGETS[1]) if metric.scope == "budget" else attacked, clean
    if metric.scope == "model" and (drawn := _drawn(catalog)):
        tables = [_table(True, 0.2 + 0.1 * i) for i in range(len(drawn))]
        yield "rows that no attack searched", _conditions(clean, *tables, threats=drawn, attack="none"), clean


def _drawn(catalog: Catalog) -> tuple[str, ...]:
    """The names of a few installed threats without a slope, which are measured as they come."""
    found: list[str] = []
    for offer in catalog.list("threat"):
        if offer.component.name != "*" and len(found) < 3:
            with suppress(ClassrobError):  # a broken plugin, which its own checks report
                cls, _ = catalog.part_class("threat", offer.name)
                if issubclass(cls, Threat) and not cls.gradients:
                    found.append(offer.name)
    return tuple(found)


def _conditions(*tables: Table, threats: Sequence[str] = ("kit", "other"), attack: str = "pgd") -> Table:
    """The rows of several conditions as one table, as the host hands it to a metric of whole models."""
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0].columns}
    attacks = ("none", *[attack] * len(threats))
    for name, values in (("threat", ("none", *threats)), ("attack", attacks)):
        mine = np.array(values[: len(tables)], dtype=object)
        columns[name] = np.repeat(mine, [len(table) for table in tables])
    return Table(CLASSES, None, columns)


def _table(attacked: bool, wrong: float) -> Table:
    """Forty samples, some predicted wrongly; at every budget where they were attacked."""
    rng = np.random.default_rng(int(100 * wrong))
    n, budgets = 40, BUDGETS if attacked else (math.nan,)
    label = np.repeat(np.arange(n) % len(CLASSES), len(budgets)).astype(np.int64)
    budget = np.tile(np.array(budgets, dtype=np.float64), n)
    miss = (rng.random(len(label)) < wrong).astype(np.int64)
    predicted = (label + miss * rng.integers(1, len(CLASSES), len(label))) % len(CLASSES)
    stood = np.where(
        budget == BUDGETS[0], rng.choice(["implied", "confirmed", "certified"], len(label)), "stood"
    )
    hit = np.where(budget == BUDGETS[0], rng.choice(["found", "refuted"], len(label)), "found")
    columns: dict[str, np.ndarray[Any, Any]] = {
        "sample": np.repeat([f"kit/{i}" for i in range(n)], len(budgets)).astype(object),
        "label": label,
        "budget": budget,
        "predicted": predicted,
        "margin": np.where(miss == 1, -1.0, 1.0) * rng.random(len(label)),
        "distance": budget * rng.random(len(label)) if attacked else np.zeros(len(label)),
        "proposed": budget * rng.random(len(label)) if attacked else np.full(len(label), np.nan),
        "spent": rng.integers(0, 20, len(label)),
        "queries": rng.integers(1, 40, len(label)),
        "basis": (np.where(miss == 1, hit, stood) if attacked else np.full(len(label), "clean")).astype(
            object
        ),
    }
    return Table(CLASSES, None, columns, certified=attacked)


def _arrays(table: Table) -> dict[str, np.ndarray[Any, Any]]:
    """All that a table holds, by name."""
    return dict(table.columns) | table.constants | {name: one.values for name, one in table.observed.items()}


def _rows(table: Table, index: np.ndarray[Any, Any]) -> Table:
    observed = {name: column.where(index) for name, column in table.observed.items()}
    columns = {name: column[index] for name, column in table.columns.items()}
    return replace(table, columns=columns, observed=observed)


def _scores(metric: Metric, table: Table, clean: Table) -> list[Score]:
    return list(metric.compute(table, clean))


def _sound(score: Score, what: str) -> None:
    lead = f"for {what} '{score.name}'" + (f" of class '{score.label}'" if score.label is not None else "")
    numbers = [one for one in (score.low, score.value, score.high) if one is not None]
    ensure(
        all(math.isfinite(one) for one in numbers),
        f"{lead} is not finite: {score.value} ({score.low}, {score.high})",
    )
    ensure(
        numbers == sorted(numbers),
        f"{lead} is {score.value}, outside its interval ({score.low}, {score.high})",
    )
    ensure(isinstance(score.n, int) and score.n >= 0, f"{lead} has n = {score.n!r}")
    ensure(bool(score.name), f"{lead} has no name")
    ensure(score.label is None or score.label in CLASSES, f"{lead}: the table has no such class")


def _equal(one: list[Score], other: list[Score]) -> bool:
    def key(score: Score) -> tuple[str, str, list[float]]:
        numbers = [math.nan if x is None else x for x in (score.value, score.low, score.high, score.n)]
        return score.name, score.label or "", numbers

    pairs = list(zip(sorted(map(key, one), key=str), sorted(map(key, other), key=str), strict=False))
    return len(one) == len(other) and all(
        a[:2] == b[:2] and np.allclose(a[2], b[2], rtol=1e-9, atol=1e-12, equal_nan=True) for a, b in pairs
    )


def _same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


CHECKS = (
    is_sound,
    ignores_the_order_of_rows,
    copes_with_an_empty_class,
    copes_with_few_rows,
    reads_only_what_it_declares,
    leaves_the_rows_alone,
)
