"""Tests of a difference between two measurements of the same samples, and the adjustment for many of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import bdtr

#: Up to so many differences that are not 0 every assignment of signs is looked at.
EXACT = 16
#: Random signs drawn at once, so that memory stays bounded.
_CHUNK = 1 << 22
#: Sums of floating-point numbers that are this close, relatively, are taken for equal.
_ROUNDING = 1e-9


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
    d = np.asarray(differences, dtype=np.float64).ravel()
    if not np.isfinite(d).all():
        raise ValueError("every difference must be finite")
    d = d[d != 0]  # a sign changes nothing about a 0
    if not len(d):
        return 1.0
    d = d / np.abs(d).max()
    least = abs(float(d.sum())) - _ROUNDING * float(np.abs(d).sum())
    if len(d) <= EXACT:
        sums = d[:1]  # the first sign is free: the other half mirrors this one
        for one in d[1:]:
            sums = np.concatenate([sums + one, sums - one])
        return float((np.abs(sums) >= least).mean())
    generator = np.random.default_rng(seed)
    beyond, left = 0, draws
    while left:
        rows = min(left, max(1, _CHUNK // len(d)))
        flips = np.unpackbits(
            generator.integers(0, 256, (rows, -(-len(d) // 8)), np.uint8), axis=1, count=len(d)
        )
        sums = d.sum() - 2 * (flips.astype(np.float64) @ d)
        beyond += int((np.abs(sums) >= least).sum())
        left -= rows
    return (beyond + 1) / (draws + 1)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p values: rejecting those of at most α keeps the chance of any false rejection at α.

    Holds whatever the tests' dependence. (Holm, "A simple sequentially rejective multiple test procedure",
    Scandinavian Journal of Statistics 6, 1979.)

    Raises:
        ValueError: a p value is not between 0 and 1.
    """
    raw = np.asarray(p, dtype=np.float64)
    if not ((raw >= 0) & (raw <= 1)).all():
        raise ValueError("every p value must lie between 0 and 1")
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty_like(raw)
    adjusted[order] = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    return np.minimum(adjusted, 1.0).tolist()
