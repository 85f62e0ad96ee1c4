"""`classrob check`: hold a part, or all parts of a plugin, to the promises of its kind."""

from __future__ import annotations

from collections.abc import Sequence

import click

from classrob.catalog import Catalog
from classrob.cli.assigning import assigned
from classrob.cli.tabular import FORMAT, emit
from classrob.component import KINDS
from classrob.errors import PluginError, UsageError
from classrob.testing.cases import cases
from classrob.testing.subject import PluginSubject, Subject, subjects
from classrob.testing.verdict import Result, Skipped


@click.command("check")
@click.argument("reference", metavar="REF|FILE.py:CLASS")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Needed where parts of two kinds share a name.")
@click.option(
    "--set", "values", multiple=True, metavar="FIELD=VALUE", help="A field of the part, as in TOML."
)
@FORMAT
def command(reference: str, kind: str | None, values: tuple[str, ...], style: str) -> int:
    """Hold a part (lp/pgd, ./sign.py:Sign) or a plugin with all its parts (lp) to their promises.

    Exits with 4 when a promise is broken.
    """
    fields = dict(assigned(value) for value in values)
    found = subjects(reference, Catalog.installed(), {reference: fields}, kind)
    _usable(found, reference, bool(fields))
    results: list[Result] = []
    for case in cases(found):
        results.append(case.run())
        if style == "table":  # a line as soon as it is known
            last = results[-1]
            click.echo(f"{last.result:<7} {last.case}" + (f"  {last.reason}" if last.reason else ""))
    if style != "table":
        emit([vars(result) for result in results], style, ["check", "part", "result", "reason"])
    failed = sum(result.result == "FAILED" for result in results)
    skipped = sum(result.result == "skipped" for result in results)
    click.echo(f"{len(results) - failed - skipped} kept, {failed} broken, {skipped} skipped", err=True)
    return PluginError.exit_code if failed else 0


def _usable(found: Sequence[Subject | PluginSubject], reference: str, given: bool) -> None:
    """Refuse what would only skip: a lone part that cannot be made, or fields for several parts."""
    if given and (len(found) > 1 or found[0].kind == "plugin"):
        names = ", ".join(f"{one.kind} '{one.name}'" for one in found[:4])
        raise UsageError(f"--set goes with one part, but '{reference}' names {names}; take one, with --kind")
    if len(found) == 1 and isinstance(found[0], Subject):
        try:
            found[0].part  # noqa: B018 - making it is the question
        except Skipped as reason:
            raise UsageError(f"{found[0].kind} '{found[0].name}' {reason}") from None
