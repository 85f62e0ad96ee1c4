"""The command line: one small module a command behind a lazy table, so that help imports none of them."""

from __future__ import annotations

import importlib
import os
import sys

import click

from classrob.errors import ClassrobError, one_line

#: Command → (module, one line of help). The help lives here, so that `--help` loads nothing else.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Run the built-in study on the built-in data, ending in a report."),
    "run": ("run", "Compute what is missing of a study; the same command again resumes it."),
    "plan": ("plan", "Show a study's conditions and shards, done and missing; computes nothing."),
    "show": ("show", "Show a run's scores in the terminal."),
    "report": ("report", "Write a run's report as one self-contained HTML file."),
    "compare": ("compare", "Say what changed between runs, or between a run's models, with significance."),
    "gate": ("gate", "Hold a run's scores to requirements, for build servers."),
    "export": ("export", "Write a run's scores or judgements as CSV, Parquet, LaTeX or Markdown."),
    "query": ("query", "Ask a run's store in SQL; reads only."),
    "audit": ("audit", "Look for signs that a model's robustness is an illusion of the attack."),
    "train": ("train", "Train a network by a recipe; the same command again resumes it."),
    "plugins": ("plugins", "List the installed plugins, broken ones with the cause."),
    "list": ("list", "List the parts of a kind: models, datasets, threats, attacks, …"),
    "describe": ("describe", "Explain a part: what it is, and its fields."),
    "check": ("check", "Hold a part to the promises of its kind (the conformance kit)."),
    "new": ("new", "Write a plugin package to start from."),
    "doctor": ("doctor", "Say what is installed, what is missing, and what to do."),
}


class _Lazy(click.Group):
    """A group that imports a command's module only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"classrob.cli.{COMMANDS[cmd_name][0]}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=lambda c, p, v: _version(c, v)
)
def classrob() -> None:
    """How robust each class of an image classifier is, and how sure you may be of it."""


def _version(context: click.Context, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"classrob {version('classrob')}")
        context.exit()


def main() -> None:
    """Run the command line; an error that a person can act on is one line and its own exit code."""
    try:
        code = classrob.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except ClassrobError as error:
        click.echo(f"error: {one_line(error)}", err=True)
        code = error.exit_code
    except BrokenPipeError:  # the reader of a pipe went away: nothing is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
