"""The records of a shard as columns in one blob, so that hundreds of thousands are read in one piece."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, filterfalse
from typing import Any

import numpy as np

#: A record as numbers: `sample` and `basis` are places in lists of their own, a missing number is NaN.
COLUMNS = {
    "sample": "<i4",
    "label": "<i4",
    "budget": "<f8",
    "predicted": "<i4",
    "margin": "<f8",
    "distance": "<f8",
    "proposed": "<f8",
    "spent": "<i8",
    "queries": "<i8",
    "basis": "u1",
}
LAYOUT = np.dtype(list(COLUMNS.items()))


@dataclass(frozen=True)
class Pack:
    """Some records as columns, in their order.

    Attributes:
        names: JSON, two lists of text: the distinct samples, and the distinct bases, that `rows` points into.
        rows: the records' numbers one after another, as `LAYOUT` has them.
    """

    names: str
    rows: bytes

    @classmethod
    def of(cls, records: Iterable[Sequence[Any]]) -> Pack:
        """Pack records, or rows of the table `record` in the same order of columns."""
        samples: dict[str, int] = {}
        bases: dict[str, int] = {}
        numbers = [
            (samples.setdefault(sample, len(samples)), *rest, bases.setdefault(basis, len(bases)))
            for sample, *rest, basis in records
        ]
        rows = np.array(numbers, dtype=LAYOUT)  # None becomes NaN
        return cls(json.dumps([list(samples), list(bases)]), rows.tobytes())


def join(packs: Sequence[Pack], samples: dict[str, int], bases: dict[str, int]) -> np.ndarray[Any, Any]:
    """Several packs as one array of `LAYOUT`; its samples and bases are the numbers that the two dicts give.

    Names that are new to a dict are added to it.
    """
    rows = np.frombuffer(bytearray().join(pack.rows for pack in packs), dtype=LAYOUT)
    at = 0
    for pack in packs:
        end = at + len(pack.rows) // LAYOUT.itemsize
        names = json.loads(pack.names)
        for column, known, mine in zip(("sample", "basis"), (samples, bases), names, strict=True):
            known.update(zip(filterfalse(known.__contains__, mine), count(len(known))))
            numbers = np.fromiter(map(known.__getitem__, mine), np.int64, len(mine))
            rows[column][at:end] = numbers[rows[column][at:end]]
        at = end
    return rows
