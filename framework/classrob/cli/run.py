"""`classrob run`: compute what is missing of a study."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from classrob.cli.progress import Progress
from classrob.cli.studying import on_a_study
from classrob.run import Observer, run
from classrob.study import Study, read_study


@click.command("run")
@on_a_study
@click.option("--executor", default="local", show_default=True, help="Where shards are computed.")
@click.option("--workers", type=click.IntRange(min=1), help="The executor's number of workers.")
@click.option("--no-reuse", is_flag=True, help="Take nothing over from runs in neighbouring folders.")
def command(
    study: Path,
    out: Path | None,
    changes: tuple[str, ...],
    executor: str,
    workers: int | None,
    no_reuse: bool,
) -> int:
    """Compute what is missing of STUDY; the same command again resumes it."""
    loaded = read_study(study, changes)
    base = study.resolve().parent
    return execute(loaded, base, out or Path("runs") / loaded.name, executor, workers, not no_reuse)


def execute(study: Study, base: Path, out: Path, executor: str, workers: int | None, reuse: bool) -> int:
    """Run with progress on standard error; returns the exit code."""
    options: dict[str, Any] = {} if workers is None else {"workers": workers}
    progress = Progress(sys.stderr)
    observer = Observer(progress.note, progress.started, progress.finished)
    try:
        failed = run(study, base, out, executor=executor, options=options, reuse=reuse, observer=observer)
    except KeyboardInterrupt:
        progress.close()
        click.echo(f"interrupted; nothing finished is lost. Resume with: {_again()}", err=True)
        return 130
    progress.close()
    if failed:
        click.echo(
            f"{failed} shards failed, the rest is kept in {out}; the same command tries them again", err=True
        )
        return 1
    click.echo(f"done: {out}  (classrob show {shlex.quote(str(out))})", err=True)
    return 0


def _again() -> str:
    """The command that was called, ready to be called again."""
    return shlex.join(["classrob", *sys.argv[1:]])
