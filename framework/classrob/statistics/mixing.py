"""How the true rates of many classes are distributed, by what is seen of them: the noise taken off.

The likeliest distribution on a grid of rates, whatever its shape (Laird, "Nonparametric maximum likelihood estimation
of a mixing distribution", Journal of the American Statistical Association 73, 1978), by the EM algorithm with the
longer steps of Varadhan and Roland ("Simple and globally convergent methods for accelerating the convergence of any
EM algorithm", Scandinavian Journal of Statistics 35, 2008).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import xlog1py, xlogy

from classrob.statistics.classes import Classes

Array = np.ndarray[Any, Any]

#: Rates on the grid, between the lowest and the highest that was seen.
ATOMS = 61
#: Steps, each worth some of EM's.
STEPS = 50
#: Rates of less weight than this, in classes, are left out.
LEAST = 1e-4


def mixing(hits: Array, n: Array, count: Array) -> tuple[Array, Array]:
    """Rates [a] that rise, and how likely each is [a].

    Args:
        hits, n: int [g], how often was seen in how many. count: int [g], in how many classes.
    """
    seen = hits / n
    if seen.max() == seen.min():
        return seen[:1], np.ones(1)
    grid = np.clip(np.linspace(seen.min(), seen.max(), ATOMS), 1e-6, 1 - 1e-6)
    log = _log(hits, n, grid)
    likely = np.exp(log - log.max(1, keepdims=True))
    share = count / count.sum()

    def step(weight: Array) -> Array:
        return weight * ((share / (likely @ weight)) @ likely)

    def fit(weight: Array) -> float:
        return float(share @ np.log(likely @ weight))

    weight = np.full(ATOMS, 1 / ATOMS)
    for _ in range(STEPS):
        once = step(weight)
        twice = step(once)
        first, second = once - weight, twice - 2 * once + weight
        if (size := float(np.linalg.norm(second))) < 1e-14:
            break
        long = max(1.0, float(np.linalg.norm(first)) / size)
        further = np.maximum(weight + 2 * long * first + long**2 * second, 1e-12)
        further = step(further / further.sum())
        weight = further if fit(further) >= fit(twice) else twice
    kept = weight * count.sum() > LEAST
    return grid[kept], weight[kept] / weight[kept].sum()


def likelihood(hits: Array, groups: Classes, rates: Array, weight: Array) -> float:
    """The logarithm of how likely it is to see so much [g] in groups of classes, of rates [a] with weights [a].

    Less what does not depend on the rates.
    """
    log = _log(hits, groups.size, np.clip(rates, 1e-6, 1 - 1e-6))
    most = log.max(1)
    return float(groups.count @ (np.log(np.exp(log - most[:, None]) @ weight) + most))


def _log(hits: Array, n: Array, rates: Array) -> Array:
    return xlogy(hits[:, None], rates) + xlog1py((n - hits)[:, None], -rates)
