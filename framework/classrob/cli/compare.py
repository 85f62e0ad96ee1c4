"""`classrob compare`: what changed between runs, or between the models of one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from classrob.cli.tabular import FORMAT, emit


@click.command("compare")
@click.argument("folders", metavar="DIR", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--against", metavar="MODEL", help="With one DIR: the model to compare the others with [the first]."
)
@click.option("--changed", is_flag=True, help="Only what changed significantly.")
@FORMAT
def command(folders: tuple[Path, ...], against: str | None, changed: bool, style: str) -> None:
    """Say what changed from the first DIR to each other one, sample by sample; with one DIR, between its models."""
    from classrob.reading.comparison import Change, compare
    from classrob.reading.results import Results

    with ExitStack() as stack:
        runs = [(name, stack.enter_context(Results.open(folder))) for name, folder in _named(folders)]
        found = compare(runs, against)
    for line in found.notes:
        click.echo(f"note: {line}", err=True)
    rows = [change.as_dict() for change in found.changes if change.changed or not changed]
    columns = list(Change.__dataclass_fields__)
    if style == "table" and rows:  # names that are everywhere the same only widen a table
        same = [c for c in columns[:8] if len({row[c] for row in rows}) == 1]
        said = ", ".join(f"{c.replace('_', ' ')} {rows[0][c]}" for c in same if rows[0][c] is not None)
        click.echo(f"everywhere: {said}", err=True) if said else None
        columns = [c for c in columns if c not in same]
    emit(rows, style, columns)
    total = sum(change.changed for change in found.changes)
    click.echo(
        f"{total} of {len(found.changes)} comparisons changed at 5 %, adjusted for their number (Holm)",
        err=True,
    )


def _named(folders: tuple[Path, ...]) -> list[tuple[str, Path]]:
    """Runs by the names of their folders, by whole paths where two share one."""
    names = [folder.resolve().name for folder in folders]
    return [(n if names.count(n) == 1 else str(f), f) for n, f in zip(names, folders, strict=True)]
