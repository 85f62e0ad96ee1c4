"""`classrob show`: a run's scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from classrob.catalog import Catalog
from classrob.cli.tabular import FORMAT, emit, write
from classrob.columnar import Columnar
from classrob.reading.facing import Facing, facings
from classrob.reading.results import Results
from classrob.reading.score import Row, scores
from classrob.trials import Summary, summaries

_TRIALS = [field.name for field in dataclasses.fields(Summary)]


@click.command("show")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--confusion", is_flag=True, help="How often each class was taken for each other, instead of scores."
)
@click.option(
    "--trials", is_flag=True, help="What each attack of an ensemble did on its own, and its cost, instead."
)
@click.option(
    "--detectors",
    is_flag=True,
    help="AUROC of detectors, beside that under attacks that evade them, instead.",
)
@FORMAT
def command(folder: Path, confusion: bool, trials: bool, detectors: bool, style: str) -> None:
    """Show the scores of the run in DIR: every number with its sample size and 95 % interval."""
    with Results.open(folder) as results:
        if confusion:
            emit(
                _confusion(results),
                style,
                ["model", "dataset", "threat", "budget", "attack", "label", "predicted", "n"],
            )
            return
        if trials:
            found = [summary for c in results.conditions for summary in summaries(results, c)]
            emit([dataclasses.asdict(one) for one in found], style, _TRIALS)
            return
        if detectors:
            found = Columnar(Facing, facings(results, scores(results, Catalog.installed())))
            write(found.columns, style, Facing._fields)
            return
    write(read(folder).columns, style, Row._fields)


def read(folder: Path) -> Columnar[Row]:
    """A run's scores; what they lack is said on standard error."""
    with Results.open(folder) as results:
        rows = scores(results, Catalog.installed())
        unfinished = [c for c in results.conditions if results.progress(c)[0] < results.progress(c)[1]]
        failures = results.failures()
    if unfinished:
        click.echo(
            f"note: {len(unfinished)} of the run's conditions are not finished; the rows say so by n",
            err=True,
        )
    if failures:
        click.echo(f"note: {len(failures)} failures; the first: {failures[0].reason}", err=True)
    return rows


def _confusion(results: Results) -> list[dict[str, object]]:
    """The confusion matrices' cells that are not zero, as rows."""
    rows: list[dict[str, object]] = []
    for condition in results.conditions:
        table = results.table(condition)
        for budget in condition.budgets or (None,):
            matrix = table.at(budget).confusion()
            for i, j in zip(*matrix.nonzero(), strict=True):
                rows.append(
                    {
                        "model": condition.model,
                        "dataset": condition.dataset,
                        "threat": condition.threat,
                        "budget": budget,
                        "attack": condition.attack,
                        "label": condition.classes[i],
                        "predicted": condition.classes[j],
                        "n": int(matrix[i, j]),
                    }
                )
    return rows
