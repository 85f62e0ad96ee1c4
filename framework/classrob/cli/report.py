"""`classrob report`: a run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from classrob.report.map import Projection


@click.command("report")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
@click.option(
    "--map",
    "projection",
    type=click.Choice(["pca", "umap"]),
    default="pca",
    show_default=True,
    help="How features are brought into a plane, where a probe has recorded them.",
)
def command(folder: Path, show: bool, projection: Projection) -> None:
    """Write DIR/report.html: a run's findings in one file that needs no network."""
    from classrob.report import write_report

    path = write_report(folder, projection)
    click.echo(path)
    if show and click.launch(path.resolve().as_uri()) != 0:
        click.echo(f"note: no browser could be started; open {path} yourself", err=True)
