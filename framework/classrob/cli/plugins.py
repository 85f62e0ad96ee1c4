"""`classrob plugins`: what is installed, from whom, and what is broken."""

from __future__ import annotations

import click

from classrob.catalog import Catalog
from classrob.cli.tabular import FORMAT, emit


@click.command("plugins")
@FORMAT
def command(style: str) -> None:
    """List the installed plugins, broken ones with the cause."""
    catalog = Catalog.installed()
    rows = [
        {
            "plugin": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "parts": sum(offer.plugin == plugin.name for offer in catalog.offers)
            if plugin.error is None
            else 0,
            "state": "ok" if plugin.error is None else f"broken: {plugin.error}",
        }
        for plugin in catalog.plugins
    ]
    emit(rows, style, ["plugin", "distribution", "version", "parts", "state"])
