"""Whether two or more measurements rank classes alike, with intervals that allow for sampling noise.

Noise shuffles ranks: two rankings that agree perfectly are seen to agree less, the less the fewer samples there
are. A bootstrap shuffles them once more, so its interval lies too low; in simulation it holds the truth in 39 %
of the cases. What is wanted is how well the true values agree, so these are drawn from what is known of them:
each class's values are normal around the true ones with known noise, the true ones of all classes normal with
unknown mean and covariance (a flat and a weak inverse Wishart prior), and Gibbs sampling draws all of them given
the seen ones. (Gelman and others, "Bayesian Data Analysis", third edition, sections 5.4 and 15.) The agreement
of every draw is a plausible true agreement; the ends are the 2.5 % and 97.5 % points.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from classrob.statistics.intervals import ALPHA

Array = np.ndarray[Any, Any]

#: Chains drawn side by side, no fewer than LEAST where there are many classes; steps before they count, and after.
CHAINS, LEAST, TOTAL = 200, 24, 20_000
BURN, KEEP = 16, 4
#: The prior scale of the true values' covariance, as a share of the seen variance.
PRIOR = 0.15
#: Classes of so many different sizes have noise of their own; others have that of a size nearby.
SIZES = 8


def correlations(values: Array) -> Array:
    """Spearman's rank correlations [..., m, m] of m rankings of k classes, values [..., k, m].

    Equal values share a rank; a ranking in which all are equal has correlation 0 with every one.
    """
    ranks = _ranks(values)
    apart = ranks - ranks.mean(-2, keepdims=True)
    size = np.sqrt((apart * apart).sum(-2, keepdims=True))
    apart = np.divide(apart, size, out=np.zeros_like(apart), where=size > 0)
    return np.swapaxes(apart, -1, -2) @ apart


def _ranks(values: Array) -> Array:
    """Ranks from 0 along the last axis but one; equal values share the mean of theirs."""
    across = np.swapaxes(values, -1, -2)
    lines = np.ascontiguousarray(across).reshape(
        -1, values.shape[-2]
    )  # sorting by columns takes thrice as long
    order = np.argsort(lines, -1)
    ranks, every = np.empty(lines.shape), np.arange(len(lines))[:, None]
    ranks[every, order] = np.arange(lines.shape[1])
    ordered = lines[every, order]
    for line in np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(1)):
        # counts of seen verdicts are tied; what is drawn is not
        _, group, size = np.unique(lines[line], return_inverse=True, return_counts=True)
        ranks[line] = (size.cumsum() - (size + 1) / 2)[group]
    return np.swapaxes(ranks.reshape(across.shape), -1, -2)


def agreements(seen: Array, noise: Array, size: Array) -> tuple[Array, Array, Array]:
    """Spearman's correlations of m rankings and, last, Kendall's W of them all; each result is [q].

    The pairs come in the order of `np.triu_indices(m, 1)`. W, by the mean of Spearman's correlation over the
    pairs (the same but for shared ranks), is 1 where all rankings agree and 0 where they have nothing in common.

    Args:
        seen: float [k, m], m values of every class, on a scale on which their noise is about normal.
        noise: float [k, m, m], the covariance of each class's noise.
        size: [k], the number of samples; classes of one size have the same noise.

    Returns:
        the agreement of the seen values, and the ends of the 95 % interval of that of the true ones.
    """
    value = _agreements(seen)
    group, level = _levels(noise, size)
    drawn = np.concatenate([_agreements(true) for true in _true(seen, level, group)])
    low, high = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    return value, np.minimum(low, value), np.maximum(high, value)


def _agreements(values: Array) -> Array:
    m = values.shape[-1]
    one, other = np.triu_indices(m, 1)
    pairs = np.clip(correlations(values)[..., one, other], -1.0, 1.0)
    together = np.maximum((1 + (m - 1) * pairs.mean(-1, keepdims=True)) / m, 0.0)
    return np.concatenate([pairs, together], -1)


def _levels(noise: Array, size: Array) -> tuple[Array, Array]:
    """Which noise [k] each class has, and these noises [g, m, m], at most `SIZES` of them."""
    sizes, group = np.unique(size, return_inverse=True)
    if len(sizes) > SIZES:
        cuts = np.quantile(size, np.linspace(0, 1, SIZES + 1)[1:-1])
        _, group = np.unique(np.searchsorted(cuts, size), return_inverse=True)
    level = np.stack([noise[group == g].mean(0) for g in range(group.max() + 1)])
    return group, level


def _true(seen: Array, noise: Array, group: Array) -> Iterator[Array]:
    """Draws [chains, k, m] of the true values, by Gibbs sampling with a fixed seed."""
    (k, m), random = seen.shape, np.random.default_rng(0)
    chains = max(LEAST, min(CHAINS, TOTAL // k))
    inverse = np.linalg.inv(noise)
    spread = np.maximum(seen.var(0), noise[:, range(m), range(m)].mean(0))
    prior = np.diag(PRIOR * spread)
    drift = np.einsum("kij,kj->ki", inverse[group], seen)
    true = np.repeat((seen.mean(0) + 0.7 * (seen - seen.mean(0)))[None], chains, 0)
    each, draw = np.full((1, k), 1 / k), np.empty((chains, k, m))
    alike = len(inverse) == 1  # then nothing has to be picked out
    members = [slice(None)] if alike else [group == g for g in range(len(inverse))]
    for step in range(BURN + KEEP):
        mean = each @ true
        apart = true - mean
        root = np.linalg.cholesky(np.linalg.inv(np.swapaxes(apart, 1, 2) @ apart + prior))
        root = root @ _bartlett(random, chains, m + k, m)
        precision = root @ np.swapaxes(root, 1, 2)
        wide = np.linalg.cholesky(np.linalg.inv(precision))
        centre = mean[:, 0] + np.einsum("sij,sj->si", wide, random.standard_normal((chains, m))) / np.sqrt(k)
        pull = np.einsum("sij,sj->si", precision, centre)[:, None] + drift
        random.standard_normal(out=draw)
        for own, mine in zip(inverse, members, strict=True):
            covariance = np.linalg.inv(precision + own)
            spreading = np.swapaxes(np.linalg.cholesky(covariance), 1, 2)
            true[:, mine] = pull[:, mine] @ covariance
            true[:, mine] += draw[:, mine] @ spreading
        if step >= BURN:
            yield true.copy()


def _bartlett(random: np.random.Generator, chains: int, freedom: int, m: int) -> Array:
    """[chains, m, m]: lower triangles A for which A Aᵀ is Wishart with identity scale."""
    root = np.tril(random.standard_normal((chains, m, m)), -1)
    for i in range(m):
        root[:, i, i] = np.sqrt(random.chisquare(freedom - i, chains))
    return root
