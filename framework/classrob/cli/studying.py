"""The arguments of the commands that read a study: its path, the run's folder, and changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

F = TypeVar("F", bound=Callable[..., object])


def on_a_study(function: F) -> F:
    """`STUDY`, `--out DIR` and `--set PATH=VALUE`, as `study`, `out` and `changes`."""
    for option in (
        click.option(
            "--set",
            "changes",
            multiple=True,
            metavar="PATH=VALUE",
            help="Change a value: dataset.0.limit=100.",
        ),
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
            help="The run's folder [runs/<study name>].",
        ),
        click.argument("study", type=click.Path(path_type=Path, dir_okay=False)),
    ):
        function = option(function)
    return function
