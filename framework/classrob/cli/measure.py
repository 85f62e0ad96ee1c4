"""Measuring what was trained: the study beside the weights, or one that people bring."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from classrob.catalog import Catalog
from classrob.cli.run import execute
from classrob.reading.results import Results
from classrob.reading.score import Row, scores
from classrob.statistics.intervals import mean
from classrob.study import make_study, read_study
from classrob.subset import opened
from classrob.training.measuring import inline, named, toml

if TYPE_CHECKING:
    from classrob.cli.training import Named
    from classrob.parts import Generator

#: So many images are measured where nobody says how many.
LIMIT = 1000


@dataclass(frozen=True)
class Measured:
    """The rows, what a command names to get them again (None: nothing was measured), and the exit code."""

    rows: Sequence[Row] = ()
    study: str | None = None
    code: int = 0


def measured(
    out: Path,
    model: Named,
    test: Named | None,
    threats: Sequence[Mapping[str, Any]],
    study: Path | None,
    device: str,
) -> Measured:
    """Run the study of the weights in `out`, resumed where its run is there already."""
    folder = out.with_name(f"{out.stem}.run")
    if study is not None:
        base = study.resolve().parent
        change = f"model=[{inline({**model.table(base), 'name': out.stem})}]"
        code = execute(read_study(study, (change, f'device="{device}"')), base, folder, "local", None, True)
        return Measured(_rows(folder), f"{study} --set {shlex.quote(change)}", code)
    path = out.with_name(f"{out.stem}.toml")
    if test is None:
        path.unlink(missing_ok=True)
        return Measured()
    data = test.table(out.parent)
    count = len(opened(test.part, test.reference))
    if test.part.limit is None and count > LIMIT:
        click.echo(
            f"measuring on {LIMIT:,} of {count:,} images, as many of every class: --set test.limit=N",
            err=True,
        )
        data |= {"limit": LIMIT, "stratify": True}
    tables = {
        "name": named(out.stem),
        "device": device,
        "model": [{"name": out.stem, **model.table(out.parent)}],
        "dataset": [data],
        **({"threat": [dict(threat) for threat in threats]} if threats else {}),
    }
    path.write_text(toml(tables), "utf-8")
    code = execute(make_study(tables, str(path)), out.resolve().parent, folder, "local", None, True)
    return Measured(_rows(folder), path.name, code)


def reconstructed(out: Path, generator: Generator, test: Named | None) -> Measured:
    """How far off the generator makes test images again of the codes that it gives them, in all and by class."""
    if test is None:
        return Measured()
    decoder = generator.load("cpu")
    samples = opened(test.part, test.reference)
    batch, _ = samples.read(range(len(samples)), decoder.fit)
    assert batch is not None
    error = decoder.error(batch.images, batch.labels).double().numpy()
    labels = batch.labels.numpy()
    groups = [(None, labels >= 0), *((name, labels == k) for k, name in enumerate(samples.classes))]
    rows = [
        Row(
            out.stem,
            test.reference,
            None,
            None,
            None,
            None,
            "reconstruction-error",
            label,
            *mean(error[mine]),
        )
        for label, mine in groups
        if mine.any()
    ]
    return Measured(rows)


def _rows(folder: Path) -> list[Row]:
    with Results.open(folder) as results:
        return list(scores(results, Catalog.installed()))
