"""`classrob list`: the parts of a kind."""

from __future__ import annotations

import click

from classrob.catalog import Catalog
from classrob.cli.tabular import FORMAT, emit
from classrob.component import KINDS
from classrob.errors import UsageError, nearest


@click.command("list")
@click.argument("kinds")
@click.argument("pattern", default="*")
@FORMAT
def command(kinds: str, pattern: str, style: str) -> None:
    """List the parts of KINDS (models, datasets, threats, attacks, certifiers, probes, detectors,
    metrics, explainers, generators, recipes, executors).

    PATTERN filters by name, with * and ?; 'timm/resnet*' looks into a family.
    """
    known = [f"{kind}s" for kind in KINDS]
    if kinds not in known:
        raise UsageError(f"no kind is called '{kinds}'{nearest(kinds, known)} (known: {', '.join(known)})")
    offers = Catalog.installed().list(kinds.removesuffix("s"), pattern)
    rows = [{"name": o.name, "summary": o.component.summary, "plugin": o.plugin} for o in offers]
    emit(rows, style, ["name", "summary", "plugin"])
