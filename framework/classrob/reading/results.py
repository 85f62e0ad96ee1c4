"""A run as its readers see it: the study, the conditions and their records, from the store alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from classrob.packing import COLUMNS, Pack, join
from classrob.records import Drawing, Example
from classrob.store import Store
from classrob.table import Columns, Observed, Table

#: The columns of a table of trials.
_TRIAL = {
    "sample": object,
    "label": np.int64,
    "budget": np.float64,
    "attack": object,
    "goal": np.int64,
    "predicted": np.int64,
    "margin": np.float64,
    "distance": np.float64,
    "spent": np.int64,
    "queries": np.int64,
}

STORE = "run.sqlite"


@dataclass(frozen=True)
class Stored:
    """A condition as it was stored: the names of its parts, their fields, and what it spans."""

    id: int
    model: str
    dataset: str
    threat: str
    attack: str | None
    budgets: tuple[float, ...]
    classes: tuple[str, ...]
    parts: dict[str, dict[str, Any]]

    @property
    def clean(self) -> bool:
        """Are these the unperturbed images?"""
        return self.threat == "none"

    @property
    def detectors(self) -> dict[str, str]:
        """The detectors that judged it, and the columns that hold their scores."""
        lead = "detector "
        found = {name.removeprefix(lead): one for name, one in self.parts.items() if name.startswith(lead)}
        return {name: one["column"] for name, one in found.items()}


@dataclass(frozen=True)
class Failure:
    """A sample that could not be read, or (sample None) a shard that failed, and why."""

    model: str
    dataset: str
    threat: str
    sample: str | None
    reason: str


@dataclass
class Results:
    """A run's folder, open for reading."""

    store: Store

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Self]:
        """Open the run in a folder.

        Raises:
            StoreError: there is no run, or its store cannot be read.
        """
        with Store.open(folder / STORE) as store:
            yield cls(store)

    @cached_property
    def meta(self) -> dict[str, Any]:
        """What the run noted of itself: `study` (as data), `base`, `environment`, `notes`."""
        rows = self.store.connection.execute("SELECT name, value FROM meta")
        return {name: json.loads(value) for name, value in rows}

    @cached_property
    def conditions(self) -> tuple[Stored, ...]:
        """The conditions in the study's order, the unperturbed images of each model and data set first."""
        return tuple(one for one in self._every if "stranger" not in one.parts)

    @cached_property
    def strangers(self) -> tuple[Stored, ...]:
        """The conditions of images of other data sets, which detectors are to find; none has a class."""
        return tuple(one for one in self._every if "stranger" in one.parts)

    @cached_property
    def _every(self) -> tuple[Stored, ...]:
        rows = self.store.connection.execute("SELECT * FROM condition ORDER BY id")
        return tuple(
            Stored(
                *row[:5],
                budgets=tuple(json.loads(row[5])),
                classes=tuple(json.loads(row[6])),
                parts=json.loads(row[7]),
            )
            for row in rows
        )

    def progress(self, condition: Stored) -> tuple[int, int, int]:
        """Of a condition: shards done, shards planned, samples planned."""
        query = """SELECT count(s.id), count(*), sum(p.n) FROM plan p LEFT JOIN shard s ON s.key = p.shard
                   WHERE p.condition = ?"""
        done, planned, samples = self.store.connection.execute(query, (condition.id,)).fetchone()
        return done, planned, samples or 0

    def table(self, condition: Stored, columns: frozenset[str] = frozenset()) -> Table:
        """All finished records of a condition, by sample in the data set's order, then by budget.

        Of what probes recorded, only the given columns are read.
        """
        rows = join(self._packs(condition), self._samples, self._bases)
        places = rows["sample"].astype(np.int64)
        records = Columns(
            {
                "sample": lambda: np.array(list(self._samples), dtype=object)[places],
                "place": lambda: places,
                "basis": lambda: np.array(list(self._bases), dtype=object)[rows["basis"]],
                **{n: partial(_column, rows, n) for n in COLUMNS if n not in ("sample", "basis")},
            }
        )
        certified = "certifier" in condition.parts
        observed, constants = self._observed(condition, columns - records.keys(), records)
        return Table(condition.classes, None, records, self.trials(condition), certified, observed, constants)

    def _packs(self, condition: Stored) -> list[Pack]:
        """The records of each finished shard, in order."""
        # the packs one by one, since SQLite would write them all to a file of its own to sort them
        query = """SELECT s.id FROM plan p JOIN shard s ON s.key = p.shard
                   WHERE p.condition = ? ORDER BY p.position"""
        return [self._pack(shard) for (shard,) in self.store.connection.execute(query, (condition.id,))]

    def _pack(self, shard: int) -> Pack:
        """A shard's records; packed now where somebody changed them by hand."""
        execute = self.store.connection.execute
        if found := execute("SELECT names, rows FROM pack WHERE shard = ?", (shard,)).fetchone():
            return Pack(*found)
        records = execute("SELECT * FROM record WHERE shard = ? ORDER BY rowid", (shard,))
        return Pack.of(row[1:] for row in records)

    @cached_property
    def _samples(self) -> dict[str, int]:
        """The samples' numbers, the same in every table of the run."""
        return {}

    @cached_property
    def _bases(self) -> dict[str, int]:
        return {}

    def _observed(
        self, condition: Stored, columns: frozenset[str], records: Columns
    ) -> tuple[dict[str, Observed], dict[str, np.ndarray[Any, Any]]]:
        """What probes recorded of a condition: of its rows, and of the model."""
        query = """SELECT o.sample, o.budget, o.shape, o.type, o.value
                   FROM plan p JOIN shard s ON s.key = p.shard JOIN observation o ON o.shard = s.id
                   WHERE p.condition = ? AND o.name = ? ORDER BY p.position, o.rowid"""
        observed: dict[str, Observed] = {}
        constants: dict[str, np.ndarray[Any, Any]] = {}
        for column in sorted(columns & self._recorded(condition)):
            rows = self.store.connection.execute(query, (condition.id, column)).fetchall()
            sample, budget, shape, kind, value = zip(*rows, strict=True)
            values = np.frombuffer(b"".join(value), np.dtype(kind[0]).newbyteorder("<"))
            if sample[0] is None:
                constants[column] = values.reshape(json.loads(shape[0])).astype(np.float32)
                continue
            budgets = [None if np.isnan(one) else one for one in records["budget"].tolist()]
            place = {pair: i for i, pair in enumerate(zip(sample, budget, strict=True))}
            pairs = zip(records["sample"].tolist(), budgets, strict=True)
            at = np.fromiter((place.get(pair, -1) for pair in pairs), np.int64, len(budgets))
            observed[column] = Observed(values.reshape(len(rows), *json.loads(shape[0])), at)
        return observed, constants

    def _recorded(self, condition: Stored) -> set[str]:
        """The columns of which anything was recorded."""
        query = """SELECT DISTINCT o.name FROM plan p JOIN shard s ON s.key = p.shard
                   JOIN observation o ON o.shard = s.id WHERE p.condition = ?"""
        return {name for (name,) in self.store.connection.execute(query, (condition.id,))}

    def trials(self, condition: Stored) -> Table | None:
        """The verdicts of an ensemble's members, as `Table.trials` has them; None where there are none."""
        names = ", ".join("ifnull(r.goal, -1)" if name == "goal" else f"r.{name}" for name in _TRIAL)
        query = f"""SELECT {names} FROM plan p JOIN shard s ON s.key = p.shard JOIN trial r ON r.shard = s.id
                    WHERE p.condition = ? ORDER BY p.position, r.rowid"""
        rows = self.store.connection.execute(query, (condition.id,)).fetchall()
        if not rows:
            return None
        pairs = zip(_TRIAL.items(), zip(*rows, strict=True), strict=True)
        return Table(condition.classes, None, {name: np.array(c, dtype=kind) for (name, kind), c in pairs})

    def clean_of(self, condition: Stored) -> Stored:
        """The unperturbed images of the same model and data set."""
        pair = (condition.model, condition.dataset)
        return next(c for c in self.conditions if c.clean and (c.model, c.dataset) == pair)

    def examples(self, condition: Stored) -> list[Example]:
        """The pictures that were kept of a condition."""
        query = """SELECT e.* FROM plan p JOIN shard s ON s.key = p.shard JOIN example e ON e.shard = s.id
                   WHERE p.condition = ? ORDER BY p.position, e.rowid"""
        return [Example(*rest) for _, *rest in self.store.connection.execute(query, (condition.id,))]

    def drawings(self, condition: Stored) -> dict[tuple[str, float | None], list[Drawing]]:
        """The explanations of a condition's pictures, by sample and budget."""
        query = """SELECT d.* FROM plan p JOIN shard s ON s.key = p.shard JOIN drawing d ON d.shard = s.id
                   WHERE p.condition = ? ORDER BY p.position, d.rowid"""
        found: dict[tuple[str, float | None], list[Drawing]] = {}
        for _, *rest in self.store.connection.execute(query, (condition.id,)):
            one = Drawing(*rest)
            found.setdefault((one.sample, one.budget), []).append(one)
        return found

    def failures(self) -> list[Failure]:
        """What could not be measured, and why."""
        query = """SELECT DISTINCT c.model, c.dataset, c.threat, f.sample, f.reason
                   FROM failure f JOIN plan p ON p.shard = f.shard JOIN condition c ON c.id = p.condition
                   ORDER BY c.id, p.position"""
        return [Failure(*row) for row in self.store.connection.execute(query)]


def _column(rows: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """A column of its own, with numbers as wide as numpy's own."""
    column = rows[name]
    return column.astype(np.int64 if column.dtype.kind == "i" else np.float64)
