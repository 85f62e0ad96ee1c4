"""Differences between two measurements of the same samples: tests, intervals, and what many tests at once need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import bdtr, ndtri

from classrob.statistics.intervals import ALPHA

#: Up to so many differences that are not 0 every assignment of signs is looked at.
EXACT = 16
#: Random signs drawn at once, so that memory stays bounded.
_CHUNK = 1 << 22
#: Sums of floating-point numbers that are this close, relatively, are taken for equal.
_ROUNDING = 1e-6


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided p value of "both are right equally often", from the samples that only one gets right.

    McNemar's exact test with the mid-P correction: given how many samples are told apart, `only_a` is
    binomial with probability 1/2, and the observed count's own probability counts half. Its level stays
    near the nominal one where the uncorrected exact test is far below it. (Fagerland, Lydersen and Laake,
    "The McNemar test for binary matched-pairs data", BMC Medical Research Methodology 13:91, 2013.)

    Raises:
        ValueError: a count is below 0.
    """
    if only_a < 0 or only_b < 0:
        raise ValueError(f"{only_a} and {only_b} are no counts")
    n, fewer = only_a + only_b, min(only_a, only_b)
    below = float(bdtr(fewer - 1, n, 0.5)) if fewer else 0.0
    return min(1.0, below + float(bdtr(fewer, n, 0.5)))  # 2 P(X < fewer) + P(X = fewer)


def permutation(differences: np.ndarray[Any, Any], *, draws: int = 9_999, seed: int = 0) -> float:
    """Two-sided p value of "the paired differences are symmetric around 0", by their mean.

    Every difference may as well have had the other sign: p is the share of all assignments of signs whose
    mean is as far from 0 as the observed one. Up to `EXACT` differences other than 0 all of them are looked
    at; beyond, the observed one and `draws` random ones, so that the level holds for any number of draws.
    (Phipson and Smyth, "Permutation p-values should never be zero", Statistical Applications in Genetics
    and Molecular Biology 9, 2010.)

    Args:
        differences: [n], finite.
        draws: random assignments; p is at least 1 / (draws + 1).
        seed: of the draws, so that the same differences give the same p value.

    Raises:
        ValueError: a difference is not finite.
    """
    d = _finite(differences)
    d = d[d != 0]  # a sign changes nothing about a 0
    if not len(d):
        return 1.0
    d = (d / np.abs(d).max()).astype(np.float32)
    least = abs(float(d.sum())) - _ROUNDING * float(np.abs(d).sum())
    beyond, looked = 0, 0
    for flips in _flips(len(d), draws, seed):
        beyond += int((np.abs(d.sum() - 2 * (flips @ d)) >= least).sum())
        looked += len(flips)
    return beyond / looked if len(d) <= EXACT else (beyond + 1) / (looked + 1)


def mean_difference(
    differences: np.ndarray[Any, Any], bound: float, *, draws: int = 9_999, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of a mean of paired differences, by the same signs as `permutation`.

    It holds the shifts that the test would not reject: they lie between two of the ordered means of random
    subsets of the differences. (Hartigan, "Using subsample values as typical values", Journal of the American
    Statistical Association 64, 1969.) That is exact where the differences are symmetric around their mean, and
    of length 0 where all are 0. So the largest difference seen joins them once with either sign; `bound` does
    where there is none. tests/host/test_significance.py draws what that covers among eight samples and more.

    Args:
        differences: [n], finite, from −bound to bound; the ends of the interval lie there where n is too
            small for others.

    Raises:
        ValueError: a difference is not finite.
    """
    d = _finite(differences)
    most = float(np.abs(d).max(initial=0.0)) or bound
    d = np.append(d, [-most, most]).astype(np.float32)
    means = [np.array([-bound, bound])]
    for flips in _flips(len(d), draws, seed):
        size = flips.sum(1)
        means.append((flips @ d)[size > 0] / size[size > 0])
        means.append(np.tile([-bound, bound], int((size == 0).sum())))
    ordered = np.clip(np.sort(np.concatenate(means)), -bound, bound)
    out = int(np.floor(ALPHA / 2 * len(ordered)))
    return float(ordered[out]), float(ordered[-1 - out])


def _finite(differences: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    d = np.asarray(differences, dtype=np.float64).ravel()
    if not np.isfinite(d).all():
        raise ValueError("every difference must be finite")
    return d


def _flips(n: int, draws: int, seed: int) -> Iterator[np.ndarray[Any, Any]]:
    """Assignments of signs as float32 [rows, n] of 0 and 1: all of them for a few, else `draws` random ones."""
    if n <= EXACT:
        yield (np.arange(1 << n)[:, None] >> np.arange(n) & 1).astype(np.float32)
        return
    generator, left = np.random.default_rng(seed), draws
    while left:
        rows = min(left, max(1, _CHUNK // n))
        raw = generator.integers(0, 256, (rows, -(-n // 8)), np.uint8)
        yield np.unpackbits(raw, axis=1, count=n).astype(np.float32)
        left -= rows


def paired(
    only_a: np.ndarray[Any, Any], only_b: np.ndarray[Any, Any], n: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """95 % intervals of the difference of two shares of the same samples, a minus b; (−1, 1) for n = 0.

    The score interval: the differences at which the observed one lies within 1.96 standard errors, taken
    at the likeliest shares with that difference. tests/host/test_significance.py computes its coverage from
    ten samples on. (Tango, "Equivalence test and confidence interval for the difference in proportions for
    the paired-sample design", Statistics in Medicine 17, 1998.)

    Args:
        only_a, only_b: how many samples only one of the two counts; n: of how many. Integers [m].

    Returns:
        low, high: float64 [m].
    """
    a, b, n = (np.asarray(one, dtype=np.float64) for one in (only_a, only_b, n))
    seen, deviate = (a - b) / np.maximum(n, 1), float(ndtri(1 - ALPHA / 2))

    def beyond(difference: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """How far the observed difference is above this one, in standard errors; signed."""
        p, q, r = 2 * n, (2 * n - a + b) * difference - a - b, -b * difference * (1 - difference)
        other = (np.sqrt(np.maximum(q * q - 4 * p * r, 0)) - q) / (2 * np.maximum(p, 1))
        variance = n * (2 * other + difference * (1 - difference))
        return (a - b - n * difference) / np.sqrt(np.maximum(variance, 1e-300))

    def end(outside: np.ndarray[Any, Any], sign: int) -> np.ndarray[Any, Any]:
        inside = seen
        for _ in range(60):  # bisection of an interval of at most 2
            middle = (inside + outside) / 2
            held = sign * beyond(middle) <= deviate
            inside, outside = np.where(held, middle, inside), np.where(held, outside, middle)
        return inside

    low, high = end(np.full_like(seen, -1.0), 1), end(np.full_like(seen, 1.0), -1)
    return np.where(n > 0, low, -1.0), np.where(n > 0, high, 1.0)


def holm(p: Sequence[float], *, tests: int | None = None) -> list[float]:
    """Adjusted p values: rejecting those of at most α keeps the chance of any false rejection at α.

    Holds whatever the tests' dependence. (Holm, "A simple sequentially rejective multiple test procedure",
    Scandinavian Journal of Statistics 6, 1979.)

    Args:
        p: the tests' p values.
        tests: of how many tests these are the smallest p values; of themselves where it is None.

    Raises:
        ValueError: a p value is not between 0 and 1.
    """
    raw = np.asarray(p, dtype=np.float64)
    if not ((raw >= 0) & (raw <= 1)).all():
        raise ValueError("every p value must lie between 0 and 1")
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty_like(raw)
    left = (len(raw) if tests is None else tests) - np.arange(len(raw))
    adjusted[order] = np.maximum.accumulate(raw[order] * left)
    return np.minimum(adjusted, 1.0).tolist()
