"""How far the rates of classes lie apart, with intervals: the gap, the standard deviation, the Gini coefficient.

Sampling noise drives seen rates apart: classes that are all alike show a gap. So an interval here is the set of
true spreads at which the seen one is not surprising. For each of `STEPS` candidate spreads, from none on, rates
are made that have it, and it is computed, or drawn, how the spread of samples of the same sizes is distributed;
the interval's ends are where the seen spread has 2.5 % of that on either side. (A parametric bootstrap by sample,
inverted as a test: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 12.3 and 13.)

The candidates' shape decides how well that works. For the gap, seen rates are partly cut to a window of that
width and partly drawn in, so that some classes stand at both of its ends; for the other two, the part of each
class's distance from the mean that exceeds its noise is stretched. Of many classes the distribution of the true
rates is estimated (`mixed`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from classrob.statistics.classes import Classes
from classrob.statistics.inverted import Ends, ends, place
from classrob.statistics.mixed import Mixed

Array = np.ndarray[Any, Any]

#: So many candidate spreads.
STEPS = 9
#: So many draws of every candidate.
DRAWS = 400
#: With more classes than these, standard deviations and Gini coefficients are normal, and nothing is drawn.
MANY = 50
#: Of a class's distance from the mean, so many standard errors are taken for noise.
NOISE = 0.8


class Spread(NamedTuple):
    """How far rates lie apart: largest minus smallest, standard deviation, and Gini coefficient."""

    gap: Ends
    deviation: Ends
    gini: Ends


def spread(hits: Array, n: Array) -> Spread:
    """The spread of k rates, each class counting once whatever its size.

    The standard deviation is that of the classes there are (divided by k). The Gini coefficient is half the
    mean absolute difference of all pairs of classes over the mean rate: 0 where all are alike, and where no
    class has any.

    Args:
        hits: int [k], how often each was seen.
        n: int [k], among how many, each at least 1.
    """
    order = np.lexsort((n, hits / n))
    return _spread(tuple(hits[order].tolist()), tuple(n[order].tolist()))


@lru_cache(maxsize=1024)
def _spread(hits: tuple[int, ...], n: tuple[int, ...]) -> Spread:
    value = measures(np.array(hits) / np.array(n))
    if len(n) < 2:
        return Spread(*(Ends(one, one, one) for one in value.tolist()))
    right, groups = _groups(np.array(hits), np.array(n))
    smooth = (right + 0.5) / (groups.size + 1)
    errors = np.sqrt(smooth * (1 - smooth) / groups.size)
    noise = float(np.sqrt(groups.share @ errors**2))
    widths = np.linspace(0, min(1.0, value[0] + 4 * noise), STEPS)
    if len(n) > MANY:
        mixed, (gap, deviation, gini) = Mixed.of(right, groups), value.tolist()
        return Spread(mixed.gap(gap, widths), *mixed.deviation_and_gini((deviation, gini), STEPS))
    far = noise * (1 + 3 * np.sqrt(2 / (len(n) - 1)))
    lengths = np.linspace(0, float(value[1]) + far, STEPS)
    rates = right / groups.size
    windows = np.stack([_window(rates, groups, width) for width in widths])
    tails = [groups.gaps(window, float(value[0])) for window in windows]
    found = [ends(float(value[0]), place(np.array(tails)), np.ptp(windows, 1))]
    stretched = np.clip(float(groups.share @ rates) + lengths[:, None] * _shape(rates, errors, groups), 0, 1)
    every = np.repeat(stretched, groups.count, 1)
    places = _drawn(every, np.array(n), value[1:])
    for seen, stands, truth in zip(value[1:].tolist(), places, measures(every)[1:], strict=True):
        found.append(ends(seen, stands, truth))
    return Spread(*found)


def _groups(hits: Array, n: Array) -> tuple[Array, Classes]:
    """Classes whose rates rise, with those of equal counts put together but for the first and the last."""
    same = (np.diff(hits) == 0) & (np.diff(n) == 0)
    same[[0, -1]] = False
    first = np.flatnonzero(np.append(True, ~same))
    return hits[first], Classes(n[first], np.diff(first, append=len(n)))


def measures(rates: Array) -> Array:
    """[3, …]: gap, standard deviation and Gini coefficient of rates [..., k]."""
    k = rates.shape[-1]
    ordered, mean = np.sort(rates, -1), rates.mean(-1)
    apart = ordered @ (2 * np.arange(1, k + 1) - k - 1) / k**2
    gini = np.divide(apart, mean, out=np.zeros_like(apart), where=np.asarray(mean > 0))
    gini = np.maximum(gini, 0)  # where all are alike, rounding can leave less
    return np.stack([ordered[..., -1] - ordered[..., 0], rates.std(-1), gini])


def _window(rates: Array, groups: Classes, width: float) -> Array:
    """Rates [g] like the seen ones, which rise, with a gap of about `width`.

    Half of the way between the nearest ones by squares, of which too many stand at the ends, and the seen ones
    drawn in evenly, of which too few do.
    """
    low, high = rates[0], rates[-1]
    if width >= high - low:
        edge = min(max(0.0, (low + high - width) / 2), 1 - width)
        return np.concatenate([[edge], rates[1:-1], [edge + width]])
    edges = np.linspace(low, high - width, 41)
    cut = np.clip(rates, edges[:, None], edges[:, None] + width)
    nearest = cut[((rates - cut) ** 2 @ (groups.size * groups.count)).argmin()]
    mean = float(groups.share @ rates)
    drawn_in = mean + (rates - mean) * width / (high - low)
    return (nearest + drawn_in) / 2


def _shape(rates: Array, errors: Array, groups: Classes) -> Array:
    """[g] of mean 0 and standard deviation 1: how the classes' distances from the mean relate, less noise."""

    def apart(of: Array) -> tuple[Array, float]:
        of = of - groups.share @ of
        return of, float(np.sqrt(groups.share @ of**2))

    far, _ = apart(rates)
    for shape in (
        np.sign(far) * np.maximum(np.abs(far) - NOISE * errors, 0),
        far,
        np.linspace(-1, 1, len(far)),
    ):
        shape, size = apart(shape)
        if size > 1e-12:
            return shape / size
    return np.zeros(len(rates))


def _drawn(rates: Array, sizes: Array, seen: Array) -> Array:
    """[2, STEPS]: where the seen ones stand, in standard errors, among draws from rates [STEPS, k]."""
    drawn = np.random.default_rng(0).binomial(sizes, rates[:, None], (STEPS, DRAWS, len(sizes))) / sizes
    spreads, seen = measures(drawn)[1:], seen[:, None, None]
    less, equal = (spreads < seen - 1e-12).mean(2), (np.abs(spreads - seen) <= 1e-12).mean(2)
    return ndtri(((less + equal / 2) * DRAWS + 0.5) / (DRAWS + 1))
