"""Each sample's errors under each corruption and severity, and intervals of their means, by sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import stdtrit

from classrob.statistics.intervals import ALPHA
from classrob.table import Table
from classrob_corruptions.published import FAMILIES

Array = np.ndarray[Any, Any]

#: The columns that are read.
COLUMNS = frozenset({"sample", "label", "predicted", "budget", "threat", "attack"})


@dataclass(frozen=True)
class Judgements:
    """Of n samples that every corruption of a study was measured on at every severity.

    Attributes:
        classes: the class names, in label order.
        samples: the samples' ids [n].
        label: int64 [n].
        wrong: by corruption, bool [n, s]: was the sample misclassified at each severity?
        severities: by corruption, its severities [s], ascending.
    """

    classes: tuple[str, ...]
    samples: Array
    label: Array
    wrong: dict[str, Array]
    severities: dict[str, tuple[float, ...]]

    def errors(self, names: tuple[str, ...]) -> Array:
        """float64 [n, c]: the share of a corruption's severities at which each sample is misclassified."""
        return np.stack([self.wrong[name].mean(1) for name in names], 1)

    def groups(self) -> Iterator[tuple[str, tuple[str, ...], bool]]:
        """What figures are of: an ending of their name, the corruptions, and whether classes have rows too.

        First the fifteen corruptions together, then each family, then each corruption, as far as there are such.
        """
        whole = tuple(c for family, names in FAMILIES.items() if family != "extra" for c in names)
        for ending, names in (("", whole), *((f"/{family}", names) for family, names in FAMILIES.items())):
            if found := tuple(name for name in names if name in self.wrong):
                yield ending, found, True
        for name in self.wrong:
            yield f"/{name}", (name,), False

    def members(self, classes: bool) -> Iterator[tuple[str | None, Array]]:
        """None with the places of all samples; then each class that has any, with theirs."""
        yield None, np.arange(len(self.label))
        for k, name in enumerate(self.classes if classes else ()):
            if len(rows := np.flatnonzero(self.label == k)):
                yield name, rows

    def of(self, rows: Array) -> Judgements:
        """Some samples."""
        wrong = {name: cells[rows] for name, cells in self.wrong.items()}
        return replace(self, samples=self.samples[rows], label=self.label[rows], wrong=wrong)


def judgements(table: Table) -> Judgements | None:
    """The judgements in a model's table, of its conditions that bear a corruption's name and no attack searched.

    None where there is no corruption, or no sample that all have.
    """
    known = {name for names in FAMILIES.values() for name in names}
    bare = {threat: str(threat).removeprefix("corruption/") for threat in set(table["threat"].tolist())}
    kept = [name for name in bare if bare[name] in known]
    if not kept:
        return None
    rows = np.flatnonzero(
        np.isin(table["threat"].astype(str), kept) & (table["attack"].astype(str) == "none")
    )
    if not len(rows):
        return None
    numbers, threat, budget = table.numbers[rows], table["threat"][rows].astype(str), table["budget"][rows]
    n = int(numbers.max()) + 1
    wrong = table["predicted"][rows] != table["label"][rows]
    label, first, there = np.zeros(n, np.int64), np.zeros(n, np.int64), np.ones(n, bool)
    label[numbers], first[numbers] = table["label"][rows], rows
    cells: dict[str, Array] = {}
    severities: dict[str, tuple[float, ...]] = {}
    for name in (c for names in FAMILIES.values() for c in names):
        mine = np.isin(threat, [one for one in kept if bare[one] == name])
        if not mine.any():
            continue
        levels, column = np.unique(budget[mine], return_inverse=True)
        seen, cell = np.zeros((n, len(levels)), bool), np.zeros((n, len(levels)), bool)
        seen[numbers[mine], column], cell[numbers[mine], column] = True, wrong[mine]
        there &= seen.all(1)
        cells[name], severities[name] = cell, tuple(levels.tolist())
    if not there.any():
        return None
    whole = Judgements(table.classes, table["sample"][first], label, cells, severities)
    return whole.of(np.flatnonzero(there))


def common(one: Judgements, samples: Array) -> tuple[Array, Array]:
    """Of the samples that judgements share with a list of ids: their places in the one and in the other."""
    known = {sample: place for place, sample in enumerate(samples.tolist())}
    at = np.array([known.get(sample, -1) for sample in one.samples.tolist()], np.int64)
    rows = np.flatnonzero(at >= 0)
    return rows, at[rows]


def quantile(n: int) -> float:
    """Student's quantile of the 95 % interval of a mean of n samples."""
    return float(stdtrit(max(n - 1, 1), 1 - ALPHA / 2))


def bounded(mean: float, variance: float, n: int, most: float) -> tuple[float, float]:
    """The 95 % interval of a mean within [0, 1] over n samples, by Wilson's score at the effective number.

    That is the number of single verdicts with which a rate would have this variance (Korn and Graubard 1998);
    at least n where nothing varies, since a sample's verdicts may all hang together.

    Args:
        variance: of the mean, by sample.
        most: the largest effective number.
    """
    spread = max(mean * (1 - mean), 0.0)
    effective = float(n) if n < 2 or spread <= 1e-12 else min(spread / max(variance, 1e-30), most)
    far = quantile(n) ** 2 / effective
    middle = (mean + far / 2) / (1 + far)
    half = float(np.sqrt(far * spread + far**2 / 4)) / (1 + far)
    return min(max(middle - half, 0.0), mean), max(min(middle + half, 1.0), mean)


def share(values: Array, cells: int) -> tuple[float, float, float]:
    """The mean of values [n] within [0, 1], each of so many verdicts, and its 95 % interval."""
    n = len(values)
    mean = float(np.clip(values.mean(), 0.0, 1.0))
    variance = float(values.var()) / max(n - 1, 1)
    return mean, *bounded(mean, variance, n, float(n * cells))
