"""`classrob gate`: requirements that a run must meet, for build servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from classrob.cli.tabular import FORMAT, emit

_COLUMNS = ["state", "short", "model", "dataset", "threat", "budget", "attack", "detector", "metric", "label"]
_COLUMNS += ["value", "low", "high", "n", "requirement"]


@click.command("gate")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--require",
    "texts",
    multiple=True,
    required=True,
    metavar="EXPR",
    help="METRIC[key=value, …] OP NUMBER, over the rows of show; may be repeated.",
)
@click.option(
    "--on",
    type=click.Choice(["value", "low", "high"]),
    default="value",
    metavar="WHICH",
    show_default=True,
    help="What must meet the requirements: a row's value, or an end of its interval.",
)
@click.option(
    "--junit",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the result as JUnit XML too.",
)
@FORMAT
def command(
    folder: Path, texts: tuple[str, ...], on: Literal["value", "low", "high"], target: Path | None, style: str
) -> int:
    """Hold the scores of the run in DIR to requirements; exit with 6 where one is not met."""
    from classrob.cli.show import read
    from classrob.errors import RequirementNotMet, UsageError
    from classrob.reading.junit import junit, said, title
    from classrob.reading.requirement import Checked, Requirement

    requirements = [Requirement.read(text) for text in texts]
    rows = read(folder)
    groups = [(requirement, list(requirement.check(rows, on))) for requirement in requirements]
    if target is not None:
        try:
            target.write_bytes(junit(groups, folder.resolve().name))
        except OSError as error:
            raise UsageError(f"--junit {target} cannot be written: {error.strerror}") from None

    def shown(one: Checked) -> dict[str, Any]:
        row = dict.fromkeys(_COLUMNS) if one.row is None else one.row.as_dict()
        return {**row, "requirement": one.requirement.text, "state": one.state, "short": one.short}

    emit([shown(one) for _, checked in groups for one in checked], style, _COLUMNS)
    failed = 0
    for requirement, checked in groups:
        bad = [one for one in checked if one.state != "met"]
        failed += bool(bad)
        if not bad:
            click.echo(f"met: {requirement.text} ({len(checked)} rows)", err=True)
        elif bad[0].row is None:
            click.echo(f"not met: {requirement.text}: {requirement.why_none(rows)}", err=True)
        else:
            worst = max(bad, key=lambda one: float("inf") if one.short is None else one.short)
            line = f"{len(bad)} of {len(checked)} rows; the furthest: {title(worst)}: {said(worst)}"
            click.echo(f"not met: {requirement.text}: {line}", err=True)
    return RequirementNotMet.exit_code if failed else 0
