"""How far the rates of classes lie apart, with intervals: the gap, the standard deviation, the Gini coefficient.

Sampling noise drives seen rates apart: classes that are all alike show a gap. So an interval here is the set of
true spreads at which the seen one is not surprising. For each of `STEPS` candidate spreads, from none on, rates
are made that have it, samples of the same sizes are drawn from them by a fixed seed, and the spreads of these
are compared with the seen one; the interval's ends are where it is at the 97.5 % and the 2.5 % point. (A
parametric bootstrap by sample, inverted as a test: Efron and Tibshirani, "An Introduction to the Bootstrap",
1993, section 12.3 and 13.)

The candidates' shape decides how well that works. For the gap, seen rates are partly cut to a window of that
width and partly drawn in, so that some classes stand at both of its ends; for the other two, the part of each
class's distance from the mean that exceeds its noise is stretched.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from classrob.statistics.intervals import ALPHA

Array = np.ndarray[Any, Any]

#: So many candidate spreads are drawn from.
STEPS = 9
#: So many draws of every candidate; of many classes, each draw of which says more, no fewer than LEAST.
DRAWS, LEAST, TOTAL = 400, 10, 20_000
#: With fewer draws than these, half will do: spreads of many classes are taken for normal rather than counted.
COUNTED = 100
#: Of a class's distance from the mean, so many standard errors are taken for noise.
NOISE = 0.8


class Ends(NamedTuple):
    """A number and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


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
    sizes = np.array(n)
    rates = np.array(hits) / sizes
    seen = measures(rates)
    smooth = (np.array(hits) + 0.5) / (sizes + 1)
    errors = np.sqrt(smooth * (1 - smooth) / sizes)
    noise = float(np.sqrt((errors**2).mean()))
    random = np.random.default_rng(0)
    windows = np.stack(
        [_window(rates, sizes, g) for g in np.linspace(0, min(1.0, seen[0] + 4 * noise), STEPS)]
    )
    shape = _shape(rates, errors)
    far = float(rates.std()) + noise * (1 + 3 * np.sqrt(2 / max(len(n) - 1, 1)))
    stretched = np.clip(rates.mean() + np.linspace(0, far, STEPS)[:, None] * shape, 0, 1)
    draws = min(DRAWS, TOTAL // len(n))
    draws = draws if draws >= COUNTED else max(LEAST, draws // 2)
    found: list[Ends] = []
    for candidates, which in ((windows, (0,)), (stretched, (1, 2))):
        drawn = random.binomial(sizes, candidates[:, None, :], (STEPS, draws, len(n))) / sizes
        spreads, truth = measures(drawn), measures(candidates)
        found += [_ends(float(seen[i]), spreads[i], truth[i]) for i in which]
    return Spread(*found)


def measures(rates: Array) -> Array:
    """[3, …]: gap, standard deviation and Gini coefficient of rates [..., k]."""
    k = rates.shape[-1]
    ordered, mean = np.sort(rates, -1), rates.mean(-1)
    apart = ordered @ (2 * np.arange(1, k + 1) - k - 1) / k**2
    gini = np.divide(apart, mean, out=np.zeros_like(apart), where=np.asarray(mean > 0))
    gini = np.maximum(gini, 0)  # where all are alike, rounding can leave less
    return np.stack([ordered[..., -1] - ordered[..., 0], rates.std(-1), gini])


def _window(rates: Array, n: Array, width: float) -> Array:
    """Rates [k] like the seen ones, which rise, with a gap of about `width`.

    Half of the way between the nearest ones by squares, of which too many stand at the ends, and the seen ones
    drawn in evenly, of which too few do.
    """
    low, high = rates[0], rates[-1]
    if width >= high - low:
        edge = min(max(0.0, (low + high - width) / 2), 1 - width)
        return np.concatenate([[edge], rates[1:-1], [edge + width]]) if len(rates) > 1 else rates
    edges = np.linspace(low, high - width, 41)
    cut = np.clip(rates, edges[:, None], edges[:, None] + width)
    nearest = cut[(n * (rates - cut) ** 2).sum(1).argmin()]
    drawn_in = rates.mean() + (rates - rates.mean()) * width / (high - low)
    return (nearest + drawn_in) / 2


def _shape(rates: Array, errors: Array) -> Array:
    """[k] of mean 0 and standard deviation 1: how the classes' distances from the mean relate, less noise."""
    apart = rates - rates.mean()
    shape = np.sign(apart) * np.maximum(np.abs(apart) - NOISE * errors, 0)
    shape -= shape.mean()
    if shape.std() < 1e-12:
        shape = apart if apart.std() > 1e-12 else np.linspace(-1, 1, len(rates))
        shape = shape - shape.mean()
    return shape / shape.std() if shape.std() > 1e-12 else np.zeros(len(rates))


def _deviation(spreads: Array) -> Array:
    """The standard deviation of each candidate's few draws [STEPS, draws], on those of its neighbours too."""
    beside = np.pad(spreads.var(1, ddof=1), 1, "edge")
    return np.sqrt((beside[:-2] + beside[1:-1] + beside[2:]) / 3)


def _ends(seen: float, spreads: Array, truth: Array) -> Ends:
    """The interval from drawn spreads [STEPS, draws] of candidates whose own spreads are `truth` [STEPS]."""
    draws = spreads.shape[1]
    if draws >= COUNTED:
        less, equal = (spreads < seen - 1e-12).mean(1), (np.abs(spreads - seen) <= 1e-12).mean(1)
        place = ndtri(((less + equal / 2) * draws + 0.5) / (draws + 1))
    else:
        place = (seen - spreads.mean(1)) / np.maximum(_deviation(spreads), 1e-12)
    place = -np.minimum.accumulate(place)  # rising with the candidates' spread
    far = -float(ndtri(ALPHA / 2))
    rising = place + 1e-9 * np.arange(len(place))
    low, high = (float(np.interp(end, rising, truth)) for end in (-far, far))
    if place[0] >= -far:
        low = float(truth[0])  # no spread at all is not surprising
    return Ends(seen, min(low, seen), max(high, seen))
