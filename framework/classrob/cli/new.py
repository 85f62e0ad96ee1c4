"""`classrob new`: a plugin package to start from."""

from __future__ import annotations

from pathlib import Path

import click

from classrob.component import KINDS
from classrob.scaffold import write_package


@click.command("new")
@click.argument("name")
@click.option("--kind", required=True, type=click.Choice(list(KINDS)), help="What the package's part is.")
@click.option("--out", type=click.Path(path_type=Path), help="The package's folder [classrob-NAME].")
def command(name: str, kind: str, out: Path | None) -> None:
    """Write the package classrob-NAME with a small working part, ready to install and to check."""
    folder = out or Path(f"classrob-{name}")
    for file in write_package(name, kind, folder):
        click.echo(file)
    click.echo(f"next: pip install -e {folder} && classrob check {name}", err=True)
