"""`classrob audit`: the signs that a model's robustness is an illusion of the attack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from classrob.cli.tabular import FORMAT, emit
from classrob.errors import RequirementNotMet

_COLUMNS = [
    "model",
    "dataset",
    "threat",
    "budget",
    "sign",
    "state",
    "label",
    "value",
    "low",
    "high",
    "n",
    "threshold",
    "overturned",
    "text",
]


@click.command("audit")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=100,
    metavar="N",
    show_default=True,
    help="Images looked at of each data set, as many of every class.",
)
@click.option("--classes", is_flag=True, help="The evidence of every class too, a row each.")
@click.option("--strict", is_flag=True, help="Exit with 6 where a sign fires.")
@FORMAT
def command(folder: Path, samples: int, classes: bool, strict: bool, style: str) -> int:
    """Look for signs of gradient masking in every model of the run in DIR."""
    from classrob.audit.run import audit
    from classrob.audit.tally import Finding

    def rows(found: Finding) -> list[dict[str, Any]]:
        shares = [found.overall, *(found.classes if classes else ())]
        return [
            {
                "model": found.model,
                "dataset": found.dataset,
                "threat": found.threat,
                "budget": found.budget,
                "sign": found.sign,
                "state": found.state,
                "label": None if share is None else share.label,
                "value": None if share is None else share.value,
                "low": None if share is None else share.low,
                "high": None if share is None else share.high,
                "n": 0 if share is None else share.n,
                "threshold": found.threshold,
                "overturned": found.overturned if share is found.overall else None,
                "text": found.text if share is found.overall else None,
            }
            for share in shares
        ]

    made = audit(folder, samples, lambda line: click.echo(f"note: {line}", err=True))
    columns = [name for name in _COLUMNS if style != "table" or name != "text"]  # sentences burst a table
    emit([row for found in made.findings for row in rows(found)], style, columns)
    for line in made.said if style == "table" else ():
        click.echo(line, err=True)
    unchecked = sum(found.state == "not checked" for found in made.findings)
    click.echo(
        f"{len(made.fired)} of {len(made.findings)} signs fired, {unchecked} were not checked; kept in {folder}",
        err=True,
    )
    if made.unsure:
        click.echo(
            f"note: {len(made.unsure)} silent signs counted more images than their threshold allows, but too few "
            f"to be certain: --samples {4 * samples} would tell more",
            err=True,
        )
    return RequirementNotMet.exit_code if strict and made.fired else 0
