"""From records to the rows that anyone reads: a pure function of the store and the metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from classrob.catalog import Catalog
from classrob.columnar import Columnar
from classrob.parts import Metric
from classrob.reading.results import Results, Stored
from classrob.table import Score, Table

#: The column that holds the scores of the detector that a metric of detectors is computed for.
SUSPICION = "suspicion"


class Row(NamedTuple):
    """One score with all that it belongs to; the keys are a contract with other programs."""

    model: str
    dataset: str
    threat: str | None
    budget: float | None
    attack: str | None
    detector: str | None
    metric: str
    label: str | None
    value: float | None
    low: float | None
    high: float | None
    n: int

    def as_dict(self) -> dict[str, str | float | int | None]:
        """The row as plain data."""
        return self._asdict()


def scores(results: Results, catalog: Catalog) -> Columnar[Row]:
    """Every row of a run, in the order of conditions, metrics, budgets and classes; then those of whole models."""
    metrics = _metrics(results, catalog)
    wanted = frozenset[str]().union(*(metric.columns for metric in metrics))
    rows = Columnar(Row)
    whole = [metric for metric in metrics if metric.scope == "model"]
    kept = frozenset({"label", "budget"}).union(*(metric.columns for metric in whole))
    models: dict[tuple[str, str], list[tuple[Stored, Table]]] = {}
    clean: tuple[Stored, Table] | None = None
    for condition in results.conditions:
        source = results.clean_of(condition)
        if clean is None or clean[0] != source:
            clean = (source, results.table(source, wanted))
        table = clean[1] if condition is source else results.table(condition, wanted)
        if len(table):
            cuts = [(budget, table.at(budget)) for budget in condition.budgets or (None,)]
            for metric in metrics:
                of_condition = metric.scope in ("budget", "sweep")
                if of_condition and metric.columns <= table.names | clean[1].constants.keys():
                    parts = cuts if metric.scope == "budget" else [(None, table)]
                    _add(rows, condition, metric, parts, clean[1])
            _detected(rows, results, condition, metrics, clean[0])
            if whole:
                part = models.setdefault((condition.model, condition.dataset), [])
                part.append((condition, table.only(kept)))
    for condition in results.strangers:
        _detected(rows, results, condition, metrics, results.clean_of(condition))
    together = {of: _together(found) for of, found in models.items()}
    for (model, dataset), found in models.items():
        peers = {other: table for (other, where), table in together.items() if where == dataset}
        table = replace(together[model, dataset], peers=peers)
        unperturbed = next((t for c, t in found if c.clean), None)
        for metric in whole:
            if unperturbed is not None and metric.columns <= table.columns.keys():
                _stack(rows, (model, dataset, None, None, None, None), metric.compute(table, unperturbed))
    return rows


def _detected(
    rows: Columnar[Row], results: Results, condition: Stored, metrics: Sequence[Metric], source: Stored
) -> None:
    """Add the scores of the detectors that judged a condition, each at each budget."""
    mine = [metric for metric in metrics if metric.scope == "detector"]
    if not mine or condition.clean or not condition.detectors:
        return
    columns = frozenset(condition.detectors.values())
    clean, table = results.table(source, columns), results.table(condition, columns)
    for detector, column in condition.detectors.items():
        if not (column in clean.observed and column in table.observed):
            continue
        before, after = (
            replace(one, observed={SUSPICION: one.observed[column]}, constants={}) for one in (clean, table)
        )
        cuts = [(budget, after.at(budget)) for budget in condition.budgets or (None,)]
        for metric in mine:
            if metric.columns <= after.names:
                _add(rows, condition, metric, cuts, before, detector)


def _together(parts: Sequence[tuple[Stored, Table]]) -> Table:
    """The rows of several conditions as one table, with columns threat and attack (`none` where nothing searched)."""
    first = parts[0][1]
    shared = [name for name in first.columns if all(name in table.columns for _, table in parts)]
    columns = {name: np.concatenate([table[name] for _, table in parts]) for name in shared}
    rows = [len(table) for _, table in parts]
    for name, values in (
        ("threat", [c.threat for c, _ in parts]),
        ("attack", [c.attack or "none" for c, _ in parts]),
    ):
        columns[name] = np.repeat(np.array(values, dtype=object), rows)
    return Table(first.classes, None, columns)


def _metrics(results: Results, catalog: Catalog) -> list[Metric]:
    """The study's metrics; every one installed where it names none."""
    entries = results.meta["study"].get("metric") or [{"use": o.name} for o in catalog.list("metric")]
    base = Path(results.meta["base"])
    return [
        catalog.make("metric", e["use"], {k: v for k, v in e.items() if k not in ("use", "name")}, base)
        for e in entries
    ]


def _add(
    rows: Columnar[Row],
    condition: Stored,
    metric: Metric,
    parts: Sequence[tuple[float | None, Table]],
    clean: Table,
    detector: str | None = None,
) -> None:
    """Add what a metric makes of each part of a condition, a budget or all of them."""
    for budget, table in parts:
        if len(table):
            where = (condition.model, condition.dataset, condition.threat, budget, condition.attack, detector)
            _stack(rows, where, metric.compute(table, clean))


def _stack(rows: Columnar[Row], where: tuple[str | float | None, ...], found: Iterable[Score]) -> None:
    """Add scores, of which all belong to the same model, data set, threat, budget, attack and detector."""
    made = found if isinstance(found, Columnar) else Columnar(Score, found)
    label, name, *rest = made.columns
    rows.stack(len(made), *where, name, label, *rest)
