"""Whether classes differ by more than chance: each from all others, and in pairs; with Holm's correction.

A class is called weak, or strong, only where its difference from the others is significant among as many tests
as there are classes. Where it is not, the number of samples is computed that would have shown it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, final

import numpy as np
from pydantic import Field
from scipy.special import gammaln, ndtr, ndtri

from classrob.columnar import Columnar
from classrob.parts import Metric
from classrob.statistics.intervals import ALPHA, rates
from classrob.statistics.significance import holm
from classrob.statistics.untold import untold
from classrob.table import Score, Table
from classrob_classwise.flow import PAIRS

Array = np.ndarray[Any, Any]

#: The chance with which the number of samples needed would show a difference of the seen size.
POWER = 0.8


def difference(
    hits: Array, n: Array, others: Array, of: Array, *, alpha: float = ALPHA
) -> tuple[Array, Array, Array]:
    """Of rates minus others, [k] each: the difference and its 95 % interval, from the rates' own intervals.

    The squares of the distances from rate to end are added, as variances would be. (Newcombe, "Interval
    estimation for the difference between independent proportions", Statistics in Medicine 17, 1998.)
    """
    one, other = hits / n, others / of
    (low, high), (least, most) = rates(hits, n, alpha), rates(others, of, alpha)
    apart = one - other
    down, up = np.hypot(one - low, most - other), np.hypot(high - one, other - least)
    return apart, np.maximum(apart - down, -1.0), np.minimum(apart + up, 1.0)


def fisher(hits: Array, n: Array, total: int, of: int) -> Array:
    """Two-sided p values [k] of "this class is like the others", by Fisher's exact test with the mid-P correction.

    Given `total` hits among `of` samples, a class's hits are hypergeometric. (Agresti, "Categorical Data
    Analysis", third edition, section 3.5.6.)
    """
    pairs, back = np.unique(np.stack([hits, n]), axis=1, return_inverse=True)  # classes of equal counts
    hits, n = pairs
    counts = np.arange(int(n.max()) + 1)
    size, hit = n[:, None], hits[:, None]
    there = (counts <= size) & (counts <= total) & (total - counts <= of - size)

    def choose(a: Array, b: Array) -> Array:
        return gammaln(a + 1) - gammaln(b + 1) - gammaln(a - b + 1)

    some = np.where(there, counts, np.maximum(hit, 0))
    log = choose(size, some) + choose(of - size, total - some) - choose(np.array(of), np.array(total))
    chance = np.where(there, np.exp(log), 0.0)
    same = (chance * (counts == hit)).sum(1) / 2
    less, more = (chance * (counts < hit)).sum(1), (chance * (counts > hit)).sum(1)
    return np.minimum(1.0, 2 * np.minimum(less, more) + 2 * same)[back.reshape(-1)]


def standing(hits: Array, n: Array, others: Array, of: Array) -> Array:
    """The size [k] of a difference of two rates in standard errors, these with half a hit and half a miss added."""
    one, other = (hits + 0.5) / (n + 1), (others + 0.5) / (of + 1)
    return np.abs(hits / n - others / of) / np.sqrt(one * (1 - one) / n + other * (1 - other) / of)


def needed(size: Array, n: Array, tests: int) -> Array:
    """Samples of the class [k] with which a difference would be significant; NaN without a difference.

    With a chance of 80 %, at the level 0.05 over the number of tests, all classes growing alike: the textbook formula
    for two rates.

    Args:
        size: [k], the difference in standard errors as they are with n [k] samples.
    """
    reach = -ndtri(ALPHA / tests / 2) + ndtri(POWER)
    return np.maximum(1, np.ceil(n * (reach / np.where(size > 0, size, np.nan)) ** 2))


@final
class WeakClasses(Metric):
    """Classes that are less, or more, accurate than all others together by more than chance.

    Rows of each class: `class-difference`, its accuracy minus that of all samples of other classes;
    `class-difference-p`, the p value, adjusted for as many tests as classes (Fisher's exact test with mid-P,
    Holm); and, where that is above 0.05, `samples-needed`, for the seen difference and for the ends of the interval
    that such a one has, without an upper end where there may be no difference at all. Rows over all:
    `weak-classes` and `strong-classes`, how many classes are significantly below and above the others.
    """

    def compute(self, table: Table, clean: Table) -> Columnar[Score]:
        """Over all, then for each class that has samples; nothing with fewer than two of these."""
        found, n = Columnar(Score), table.of_class()
        there = np.flatnonzero(n)
        if len(there) < 2:
            return found
        hits, n = table.of_class(table["predicted"] == table["label"])[there], n[there]
        others, of = hits.sum() - hits, n.sum() - n
        apart, low, high = difference(hits, n, others, of)
        raw = fisher(hits, n, int(hits.sum()), int(n.sum()))
        p = np.array(holm(raw.tolist()))
        sure = p <= ALPHA
        for name, side in (("weak-classes", apart < 0), ("strong-classes", apart > 0)):
            found.append(Score(None, name, float((sure & side).sum()), None, None, len(there)))
        # of classes that were not told: how many samples it takes, the more the smaller the difference
        size, tests = standing(hits, n, others, of), len(there)
        ends = untold(-ndtri(raw / 2), float(-ndtri(ALPHA / max(tests - sure.sum(), 1) / 2)))
        more, most, fewest = (needed(one, n, tests) for one in (np.where(sure, 0.0, size), *ends))
        most, fewest = np.maximum(most, more), np.minimum(fewest, more)
        none, names = np.full(tests, np.nan), ("class-difference", "class-difference-p", "samples-needed")
        value, low, high = (
            np.stack(three, 1).reshape(-1)
            for three in ((apart, p, more), (low, none, fewest), (high, none, most))
        )
        kept = np.flatnonzero(~np.isnan(value))  # the rest lack nothing
        label, name = np.array(table.classes, dtype=object)[there], np.array(names, dtype=object)
        which, what = np.divmod(kept, 3)
        found.stack(len(kept), label[which], name[what], value[kept], low[kept], high[kept], n[which])
        return found


@final
class RobustnessBias(Metric):
    """Between two classes, how much more often the one's samples withstand a threat than the other's.

    Of samples that are right without the threat; a class's own vulnerability and not its clean errors. (Nanda
    and others, "Fairness Through Robustness", FAccT 2021, between classes.) A score's label is the weaker
    class, its name `robustness-bias-to/` and the stronger one; `robustness-bias-p-to/` holds the p value
    adjusted for all pairs (Agresti and Caffo's test, Holm).
    """

    columns: ClassVar[frozenset[str]] = frozenset({"sample", "label", "predicted"})

    pairs: int = Field(
        default=PAIRS, ge=1, description="at most so many pairs of classes, the most significant"
    )

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """By the weaker class, then the stronger; n counts the right samples of both."""
        if table.budget is None:
            return
        right = np.append(clean["predicted"] == clean["label"], False)
        rows = table.where(right[table.find(clean)])
        size = rows.of_class()
        there = np.flatnonzero(size)
        if len(there) < 2:
            return
        hits, n = rows.of_class(rows["predicted"] == rows["label"])[there], size[there]
        one, other, p = _furthest(hits, n, self.pairs)
        adjusted = np.array(holm(p.tolist(), tests=len(n) * (len(n) - 1) // 2))
        weaker = np.where(hits[one] / n[one] <= hits[other] / n[other], one, other)
        stronger = one + other - weaker
        apart, low, high = difference(hits[stronger], n[stronger], hits[weaker], n[weaker])
        order = np.lexsort((stronger, weaker))
        columns = (there[weaker], there[stronger], apart, low, high, adjusted, n[weaker] + n[stronger])
        for i, j, value, least, largest, chance, of in zip(
            *(column[order].tolist() for column in columns), strict=True
        ):
            label, to = table.classes[i], table.classes[j]
            yield Score(label, f"robustness-bias-to/{to}", value, least, largest, of)
            yield Score(label, f"robustness-bias-p-to/{to}", chance, None, None, of)


def _furthest(hits: Array, n: Array, most: int) -> tuple[Array, Array, Array]:
    """The pairs of classes that differ most significantly: two classes and the p value, each [≤ most].

    By p value, then by class. Classes of equal counts have equal p values, so that these are computed once for
    each two counts there are, and of half a million pairs only those are looked at that can be among the first.
    """
    base = int(n.max()) + 1
    counts, kind, size = np.unique(n * base + hits, return_inverse=True, return_counts=True)
    of, right = np.divmod(counts, base)
    smooth = (right + 1) / (of + 2)
    variance = smooth * (1 - smooth) / (of + 2)
    apart = np.abs(smooth[:, None] - smooth) / np.sqrt(variance[:, None] + variance)
    pairs = size[:, None] * size  # each counts twice, but for those of a class with itself
    pairs[np.diag_indices_from(pairs)] -= size
    enough = min(2 * most, int((pairs > 0).sum()))
    # beyond 37 standard errors p values may be equal, being 0
    least = min(37.0, float(np.partition(apart[pairs > 0], -enough)[-enough])) if enough else 0.0
    far = apart >= least
    p = np.ones_like(apart)
    p[far] = 2 * ndtr(-apart[far])
    i, j = np.nonzero(np.triu(far))
    member, first = np.argsort(kind, kind="stable"), size.cumsum() - size
    each = size[i] * size[j]
    pair = np.repeat(np.arange(len(i)), each)
    mine, others = np.divmod(np.arange(each.sum()) - np.repeat(each.cumsum() - each, each), size[j][pair])
    one, other, found = member[first[i][pair] + mine], member[first[j][pair] + others], p[i, j][pair]
    once = (kind[one] != kind[other]) | (one < other)  # two of one kind are there in either order
    one, other, found = np.minimum(one, other)[once], np.maximum(one, other)[once], found[once]
    first = np.lexsort((other, one, found))[:most]
    return one[first], other[first], found[first]
