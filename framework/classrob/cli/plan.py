"""`classrob plan`: conditions and shards, done and missing."""

from __future__ import annotations

from pathlib import Path

import click

from classrob.catalog import Catalog
from classrob.cli.studying import on_a_study
from classrob.cli.tabular import FORMAT, emit
from classrob.plan import Plan
from classrob.reading.results import STORE
from classrob.store import Store
from classrob.study import read_study


@click.command("plan")
@on_a_study
@FORMAT
def command(study: Path, out: Path | None, changes: tuple[str, ...], style: str) -> None:
    """Show STUDY's conditions and shards, done and missing; computes nothing."""
    loaded = read_study(study, changes)
    plan = Plan.of(loaded, Catalog.installed(), study.resolve().parent)
    path = (out or Path("runs") / loaded.name) / STORE
    missing = {shard.key for shard in plan.shards}
    if path.exists():
        with Store.open(path) as store:
            missing = {shard.key for shard in store.missing(plan.shards)}
    rows = []
    for index, condition in enumerate(plan.conditions):
        shards = [shard for shard in plan.shards if shard.condition == index]
        left = sum(shard.key in missing for shard in shards)
        rows.append(
            {
                "model": condition.model.name,
                "dataset": condition.dataset.name,
                "threat": condition.threat.name,
                "attack": None if condition.attack.name == "none" else condition.attack.name,
                "budgets": len(condition.threat.part.budgets),
                "samples": sum(len(shard.indices) for shard in shards),
                "shards": len(shards),
                "done": len(shards) - left,
                "missing": left,
            }
        )
    emit(rows, style)
