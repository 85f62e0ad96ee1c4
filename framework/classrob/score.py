"""From records to the rows that anyone reads: a pure function of the store and the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from classrob.catalog import Catalog
from classrob.parts import Metric
from classrob.results import Results, Stored
from classrob.table import Table


@dataclass(frozen=True)
class Row:
    """One score with all that it belongs to; the keys are a contract with other programs."""

    model: str
    dataset: str
    threat: str
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
        return asdict(self)


def scores(results: Results, catalog: Catalog) -> list[Row]:
    """Every row of a run, in the order of conditions, metrics, budgets and classes."""
    metrics = _metrics(results, catalog)
    wanted = frozenset[str]().union(*(metric.columns for metric in metrics))
    rows: list[Row] = []
    clean: tuple[Stored, Table] | None = None
    for condition in results.conditions:
        source = results.clean_of(condition)
        if clean is None or clean[0] != source:
            clean = (source, results.table(source, wanted))
        table = clean[1] if condition is source else results.table(condition, wanted)
        if len(table):
            rows += [row for metric in metrics for row in _rows(condition, metric, table, clean[1])]
    return rows


def _metrics(results: Results, catalog: Catalog) -> list[Metric]:
    """The study's metrics; every one installed where it names none."""
    entries = results.meta["study"].get("metric") or [{"use": o.name} for o in catalog.list("metric")]
    base = Path(results.meta["base"])
    return [
        catalog.make("metric", e["use"], {k: v for k, v in e.items() if k not in ("use", "name")}, base)
        for e in entries
    ]


def _rows(condition: Stored, metric: Metric, table: Table, clean: Table) -> Iterator[Row]:
    if not metric.columns <= table.names | clean.constants.keys():
        return
    cuts: tuple[float | None, ...] = condition.budgets or (None,)
    for budget in cuts if metric.scope == "budget" else (None,):
        part = table.at(budget)
        if not len(part):
            continue
        for score in metric.compute(part, clean):
            yield Row(
                condition.model,
                condition.dataset,
                condition.threat,
                budget,
                condition.attack,
                None,
                score.name,
                score.label,
                score.value,
                score.low,
                score.high,
                score.n,
            )
