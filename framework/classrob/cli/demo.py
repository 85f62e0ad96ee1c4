"""`classrob demo`: the built-in study on the built-in data, ending in a report."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from classrob.cli.run import execute
from classrob.study import read_study


@click.command("demo")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="The run's folder [runs/demo].")
def command(out: Path | None) -> int:
    """Run the built-in study on the built-in data, ending in a report."""
    from classrob.report import write_report

    study = read_study(Path(str(files("classrob.cli") / "demo.toml")))
    folder = out or Path("runs") / study.name
    code = execute(study, Path.cwd(), folder, "local", None, reuse=True)
    if code == 0:
        click.echo(write_report(folder))
    return code
