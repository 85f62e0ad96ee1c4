"""Whether classes keep their rank: from one threat to the next, and from accuracy to what swallows errors."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any, ClassVar, final

import numpy as np

from classrob.columnar import Columnar
from classrob.parts import Metric
from classrob.statistics.ranks import agreements, correlations
from classrob.table import Score, Table

Array = np.ndarray[Any, Any]

#: Fewer classes than these cannot be ranked to any purpose.
CLASSES = 3
#: The smallest variance of a sample's verdict, so that classes without an error have noise too.
FLOOR = 1e-3


@final
class CfpsAgreement(Metric):
    """Spearman's rank correlation of a class's CFPS with its accuracy; n counts classes.

    Below 0, weak classes are also those that errors land in; above 0, the weak class is not the one that
    swallows the errors. Undefined without errors.
    """

    def compute(self, table: Table, clean: Table) -> Columnar[Score]:
        """One score over all classes that have samples."""
        found, n = Columnar(Score), table.of_class()
        there = np.flatnonzero(n)
        right = table["predicted"] == table["label"]
        if len(there) < CLASSES:
            return found
        if right.all():
            found.append(Score(None, "cfps-agreement", None, None, None, len(there)))
            return found
        hits, n = table.of_class(right)[there], n[there]
        wrong = np.bincount(table["predicted"][~right], minlength=len(table.classes))[there]
        found.stack(1, None, "cfps-agreement", *np.array(agreement(hits, n, wrong))[:, None], len(there))
        return found


def agreement(hits: Array, n: Array, wrong: Array) -> tuple[float, float, float]:
    """Spearman's correlation of accuracy, hits [k] of n [k], with errors received [k], and its interval, maybe NaN."""
    value = float(np.clip(correlations(np.stack([hits / n, wrong], 1))[0, 1], -1, 1))
    # on these scales the noise of a binomial and of a Poisson count is the same everywhere (Anscombe 1948)
    seen = np.stack([np.arcsin(np.sqrt((hits + 0.375) / (n + 0.75))), np.sqrt(wrong + 0.375)], 1)
    noise = np.zeros((len(n), 2, 2))
    noise[:, 0, 0], noise[:, 1, 1] = 1 / (4 * n + 2), 0.25
    _, low, high = agreements(seen, noise, n)
    return value, float(np.minimum(low[0], value)), float(np.maximum(high[0], value))


@final
class RankPersistence(Metric):
    """Do the classes rank alike under every threat? Kendall's W, and Spearman's correlation in pairs of threats.

    A class's rank under a threat is that of its mean accuracy over the budgets. Rows `rank-persistence`, over
    all threats and the unperturbed images (`none`), and `rank-persistence/ONE/OTHER`. n counts classes.
    """

    scope: ClassVar = "model"
    columns: ClassVar[frozenset[str]] = frozenset({"sample", "label", "predicted", "threat", "attack"})

    def compute(self, table: Table, clean: Table) -> Columnar[Score]:
        """One score over all, then one a pair; nothing with fewer than two conditions or three classes."""
        found, (names, stood, label) = Columnar(Score), _verdicts(table)
        n = np.bincount(label, minlength=len(table.classes))
        there = np.flatnonzero(n)
        if len(names) < 2 or len(there) < CLASSES:
            return found
        k, m, n = len(there), len(names), n[there]
        of = np.searchsorted(there, label)
        mean = np.stack([np.bincount(of, column, k) for column in stood.T], 1) / n[:, None]
        apart = stood - mean[of]
        noise = apart.T @ apart / max(len(of) - k, 1) + FLOOR * np.eye(m)
        pairs = [f"rank-persistence/{one}/{other}" for one, other in combinations(names, 2)]
        ends = (np.roll(x, 1) for x in agreements(mean, noise / n[:, None, None], n))  # that of all first
        found.stack(len(pairs) + 1, None, ["rank-persistence", *pairs], *ends, k)
        return found


def _verdicts(table: Table) -> tuple[list[str], Array, Array]:
    """The conditions' names, the share [s, m] of its budgets that each sample withstands, and its label [s].

    Of samples that every condition has.
    """
    threat, attack = table["threat"], table["attack"]
    # rows of a condition stand together; looking each of them up would take a second
    begin = np.flatnonzero((threat[1:] != threat[:-1]) | (attack[1:] != attack[:-1])) + 1
    begin = np.append(0, begin)[: len(threat)]
    pairs = list(zip(threat[begin].tolist(), attack[begin].tolist(), strict=True))
    keys = sorted(set(pairs))
    place = {pair: i for i, pair in enumerate(keys)}
    numbers = np.array([place[pair] for pair in pairs], np.int64)
    condition = np.repeat(numbers, np.diff(begin, append=len(threat)))
    searched = Counter(threat for threat, _ in keys)
    names = [f"{threat} by {attack}" if searched[threat] > 1 else threat for threat, attack in keys]
    m, at = len(names), table.numbers
    samples = int(at.max(initial=-1)) + 1
    cell = at * m + condition
    asked = np.bincount(cell, minlength=samples * m).reshape(samples, m)
    right = np.bincount(cell, table["predicted"] == table["label"], samples * m).reshape(samples, m)
    label = np.zeros(samples, np.int64)
    label[at] = table["label"]
    known = (asked > 0).all(1)
    return names, right[known] / asked[known], label[known]
