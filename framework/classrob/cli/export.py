"""`classrob export`: a run as a file for other programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


@click.command("export")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Choice(["csv", "parquet", "latex", "markdown"]),
    required=True,
    metavar="FORMAT",
    help="csv, parquet, latex or markdown.",
)
@click.option(
    "--rows",
    "what",
    type=click.Choice(["scores", "judgements"]),
    default="scores",
    metavar="WHICH",
    show_default=True,
    help="The rows of show, or one row a sample and budget (csv, parquet).",
)
@click.option(
    "--where",
    metavar="CHOICE",
    default="",
    help="Only rows of scores with key=value, …, as in a gate: threat=linf,budget=8/255.",
)
@click.option(
    "--metric",
    default="accuracy",
    metavar="METRIC",
    show_default=True,
    help="What latex and markdown show, class by class.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write it [standard output].",
)
def command(folder: Path, to: str, what: str, where: str, metric: str, output: Path | None) -> None:
    """Write the run in DIR as CSV, Parquet, LaTeX or Markdown."""
    from classrob.errors import UsageError
    from classrob.export import export
    from classrob.reading.requirement import choices
    from classrob.reading.results import Results

    chosen = choices(where) if where else ()
    if output is None and to == "parquet" and sys.stdout.isatty():
        raise UsageError("Parquet is not for a terminal: name a file with --output")
    with Results.open(folder) as results:
        content = export(results, to, what, metric, chosen)
    if output is None:
        click.echo(content, nl=False)
        return
    draft = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(output)
    except OSError as error:
        raise UsageError(f"--output {output} cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
    click.echo(f"done: {output}", err=True)
