"""`classrob query`: SQL over a run's store, reading only."""

from __future__ import annotations

from pathlib import Path

import click

from classrob.cli.tabular import FORMAT, emit


@click.command("query")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("sql", metavar="SQL")
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=10_000,
    metavar="N",
    show_default=True,
    help="Read at most so many rows.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    metavar="N",
    show_default=True,
    help="Stop a query that takes longer.",
)
@FORMAT
def command(folder: Path, sql: str, rows: int, seconds: float, style: str) -> None:
    """Ask the store of the run in DIR; start with the view `judgement`, one row a sample and budget."""
    from classrob.reading.query import query
    from classrob.reading.results import Results

    with Results.open(folder) as results:
        answer = query(results, sql, rows=rows, seconds=seconds)
    emit(answer.rows, style, answer.columns)
    if answer.cut:
        click.echo(f"note: there are more than {rows} rows; --rows reads more", err=True)
