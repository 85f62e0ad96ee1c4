"""An audit as a file beside the run's store, and whether it still speaks of the rows that are there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from classrob.audit.tally import Finding, Share
from classrob.errors import StoreError
from classrob.identity import digest
from classrob.reading.results import Results

#: The file in the run's folder.
NAME = "audit.json"
#: Of its layout.
VERSION = 1


@dataclass(frozen=True)
class Cost:
    """What one model on one data set took: images, seconds, gradient evaluations, forward passes."""

    model: str
    dataset: str
    images: int
    seconds: float
    spent: int
    queries: int


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        measured: when, UTC.
        rows: digest of the run's finished shards at that time.
        asked: digest of what was looked at and how; equal ones need not be measured twice.
    """

    measured: str
    rows: str
    asked: str
    findings: tuple[Finding, ...]
    costs: tuple[Cost, ...]

    @property
    def fired(self) -> tuple[Finding, ...]:
        """The signs that fired."""
        return tuple(one for one in self.findings if one.state == "fired")

    @property
    def unsure(self) -> tuple[Finding, ...]:
        """The silent signs whose share of all images lies above the threshold, though not for certain."""
        return tuple(one for one in self.findings if one.unsure)

    @property
    def said(self) -> Iterator[str]:
        """For each model on each data set how many signs fired, and a paragraph for each that did."""
        for pair in dict.fromkeys((one.model, one.dataset) for one in self.findings):
            mine = [one for one in self.findings if (one.model, one.dataset) == pair]
            fired = [one for one in mine if one.state == "fired"]
            checked = sum(one.state != "not checked" for one in mine)
            yield f"{pair[0]} on {pair[1]}: {len(fired) or 'none'} of {checked} signs fired"
            for one in fired:
                yield f"- {one.title}. {one.text}"


def rows_of(results: Results) -> str:
    """The digest of a run's finished shards."""
    query = "SELECT s.key FROM plan p JOIN shard s ON s.key = p.shard ORDER BY s.key"
    return digest([key for (key,) in results.store.connection.execute(query)])


def write(audit: Audit, folder: Path) -> None:
    """Put an audit beside the run's store, all or nothing.

    Raises:
        StoreError: the folder cannot be written to.
    """
    draft = folder / f".{NAME}.{os.getpid()}"
    try:
        draft.write_text(
            json.dumps({"version": VERSION, **asdict(audit)}, allow_nan=False, indent=1), "utf-8"
        )
        draft.replace(folder / NAME)
    except OSError as error:
        raise StoreError(f"the audit cannot be written to {folder / NAME}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def read(folder: Path) -> Audit | None:
    """The audit beside a run's store; None where there is none.

    Raises:
        StoreError: there is a file, and it is damaged or of another version.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    again = f"delete it, and 'classrob audit {folder}' makes a new one"
    try:
        data: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if data.pop("version") != VERSION:
            raise StoreError(f"{path} was written by another version of classrob: {again}")
        findings = tuple(_finding(one) for one in data.pop("findings"))
        costs = tuple(Cost(**one) for one in data.pop("costs"))
        return Audit(**data, findings=findings, costs=costs)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{path} is damaged: {again}") from error


def _finding(data: dict[str, Any]) -> Finding:
    overall, classes = data.pop("overall"), data.pop("classes")
    return Finding(
        **data,
        overall=None if overall is None else Share(**overall),
        classes=tuple(Share(**one) for one in classes),
    )
