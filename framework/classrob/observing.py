"""What probes record of the images that were judged: columns beside the verdicts, at the budgets they watch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from classrob.condition import Watch
from classrob.errors import NotObservable, PluginError
from classrob.ledger import Ledger
from classrob.live import Batch, Classifier
from classrob.parts import Probe
from classrob.records import Observation, Record
from classrob.space import Telling
from classrob.sweep import Sweep

#: How a column may be kept: little-endian, so that a store can be read anywhere.
TYPES = {torch.float16: "<f2", torch.float32: "<f4"}


@torch.no_grad()
def observations(
    sweep: Sweep, ledger: Ledger, watches: Sequence[Watch], constants: bool
) -> Iterator[Observation]:
    """Everything that probes record of a swept shard, by probe, then by budget.

    A sample is observed where an image of it was judged: not at a budget where it was certified, or taken
    to stand. `constants` says whether what is of the model is wanted here.

    Raises:
        PluginError: a probe's columns are not what it promises, or have the names of others.
    """
    taken: dict[str, str] = dict.fromkeys(Record._fields, "every record")
    for watch in watches:
        try:
            yield from _observations(sweep, ledger, watch, constants, taken)
        except NotObservable:  # the preflight has said so
            continue
    if isinstance(sweep.space, Telling):
        yield from _told(sweep.space, sweep, ledger, taken)


def _told(space: Telling, sweep: Sweep, ledger: Ledger, taken: dict[str, str]) -> Iterator[Observation]:
    """What the space tells of every judged point."""
    own = "the threat"
    for level, budget in enumerate(sweep.budgets):
        judged = ledger.judged.get(level, {})
        for rows in torch.tensor(sorted(judged), dtype=torch.int64).split(sweep.classifier.batch_size):
            if not len(rows):
                continue
            z = torch.stack([judged[i] for i in rows.tolist()])
            told = space.select(rows.to(z.device)).tell(sweep.classifier, z)
            for column, value in checked(told, own, len(rows)).items():
                if (other := taken.setdefault(column, own)) != own:
                    raise PluginError(f"column '{column}' of {own} is recorded by {other} too: leave one out")
                for i, number in zip(rows.tolist(), value, strict=True):
                    yield packed(sweep.batch.ids[i], budget, own, column, number)


def _observations(
    sweep: Sweep, ledger: Ledger, watch: Watch, constants: bool, taken: dict[str, str]
) -> Iterator[Observation]:
    name, probe = watch.probe.name, watch.probe.part
    own = f"probe '{name}'"
    for level in sorted(watch.levels(sweep.budgets)):
        budget = sweep.budgets[level] if sweep.budgets else None
        judged = ledger.judged.get(level, {})
        for rows in torch.tensor(sorted(judged), dtype=torch.int64).split(sweep.classifier.batch_size):
            if not len(rows):
                continue
            batch, image = seen(sweep, rows, judged)
            columns = observed(probe, name, sweep.classifier, batch, image)
            for column, value in columns.items():
                if (other := taken.setdefault(column, own)) != own:
                    raise PluginError(f"column '{column}' of {own} is recorded by {other} too: leave one out")
                if column not in probe.constant:
                    for sample, number in zip(batch.ids, value, strict=True):
                        yield packed(sample, budget, name, column, number)
                elif constants:
                    yield packed(None, None, name, column, value)
            constants = False


def observed(
    probe: Probe, name: str, classifier: Classifier, batch: Batch, image: Tensor
) -> dict[str, Tensor]:
    """A probe's columns of some images, off their graph and on the CPU.

    Raises:
        PluginError: a column is no float16 or float32 tensor of the right length, or not finite.
    """
    columns = probe.observe(classifier, batch, image)
    return checked(columns, f"probe '{name}'", len(batch), probe.constant)


def checked(columns: Any, who: str, rows: int, constant: frozenset[str] = frozenset()) -> dict[str, Tensor]:
    """Columns of some images as they may be kept; all but constant ones have a row an image.

    Raises:
        PluginError: a column is no float16 or float32 tensor of the right length, or not finite.
    """
    if not isinstance(columns, Mapping) or not all(isinstance(one, str) and one for one in columns):
        raise PluginError(f"{who} must return columns by name, not {type(columns).__name__}")
    found: dict[str, Tensor] = {}
    for column, value in columns.items():
        if not isinstance(value, Tensor) or value.dtype not in TYPES or value.ndim not in (1, 2):
            got = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise PluginError(
                f"column '{column}' of {who} must be float16 or float32, [n] or [n, d], not {got}"
            )
        if column not in constant and len(value) != rows:
            raise PluginError(f"column '{column}' of {who} has {len(value)} rows for {rows} images")
        if not value.isfinite().all():
            raise PluginError(f"column '{column}' of {who} holds numbers that are not finite")
        found[column] = value.detach().cpu()
    return found


def seen(sweep: Sweep, rows: Tensor, judged: Mapping[int, Tensor]) -> tuple[Batch, Tensor]:
    """Some samples, and their judged images as the judge rendered them."""
    index = rows.to(sweep.batch.labels.device)
    batch = sweep.batch.select(index)
    if not sweep.budgets:
        return batch, batch.images
    z = torch.stack([judged[i] for i in rows.tolist()])
    return batch, sweep.space.select(index).render(z).clamp(*sweep.space.box)


def packed(sample: str | None, budget: float | None, probe: str, name: str, value: Tensor) -> Observation:
    """One value of a column, as the store keeps it."""
    array = value.numpy()
    kind = str(array.dtype)
    return Observation(
        sample,
        budget,
        probe,
        name,
        json.dumps(list(array.shape)),
        kind,
        array.astype(TYPES[value.dtype]).tobytes(),
    )
