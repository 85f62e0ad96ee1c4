"""Whether two or more measurements rank classes alike, with intervals that allow for sampling noise.

Noise shuffles ranks: two rankings that agree perfectly are seen to agree less, the less the fewer samples there
are. A bootstrap shuffles them once more, so its interval lies too low; in simulation it holds the truth in 39 %
of the cases. What is wanted is how well the true values agree, so these are drawn from what is known of them:
each class's values are normal around the true ones with known noise, the true ones of all classes normal with
unknown mean and covariance (a flat and a weak inverse Wishart prior), and Gibbs sampling draws all of them given
the seen ones. (Gelman and others, "Bayesian Data Analysis", third edition, sections 5.4 and 15.) The agreement
of every draw is a plausible true agreement; the ends are the 2.5 % and 97.5 % points.

Few classes have few agreements: with three of them Spearman's correlation takes four values, with four eleven, with
five twenty-one. No end can then leave out just 2.5 %; of those that leave out a little less and a little more, the two
that together come nearest to 5 % are taken. Of three classes nearly always only the whole range would do: there is no
interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from classrob.statistics.intervals import ALPHA

Array = np.ndarray[Any, Any]

#: Chains drawn side by side, no fewer than LEAST where there are many classes; steps before they count, and after.
CHAINS, LEAST, TOTAL = 200, 24, 20_000
BURN, KEEP = 8, 4
#: With fewer classes than these there is no interval.
FEW = 4
#: With more classes than these, agreements are taken for normal on Fisher's scale.
MANY = 200
#: The prior scale of the true values' covariance, as a share of the seen variance.
PRIOR = 0.15
#: Classes of so many different sizes have noise of their own; others have that of a size nearby.
SIZES = 8


def correlations(values: Array, *, tied: bool = True) -> Array:
    """Spearman's rank correlations [..., m, m] of m rankings of k classes, values [..., k, m].

    Equal values share a rank; a ranking in which all are equal has correlation 0 with every one.
    Where it is known that none are equal, nobody has to look.
    """
    ranks = _ranks(values, tied)
    apart = ranks - ranks.mean(-2, keepdims=True)
    size = np.sqrt((apart * apart).sum(-2, keepdims=True))
    apart = np.divide(apart, size, out=np.zeros_like(apart), where=size > 0)
    return np.swapaxes(apart, -1, -2) @ apart


def _ranks(values: Array, tied: bool) -> Array:
    """Ranks from 0 along the last axis but one; equal values share the mean of theirs."""
    across = np.swapaxes(values, -1, -2)
    lines = np.ascontiguousarray(across).reshape(
        -1, values.shape[-2]
    )  # sorting by columns takes thrice as long
    order = np.argsort(lines, -1)
    k = lines.shape[1]
    place = (order + k * np.arange(len(lines))[:, None]).reshape(-1)
    ranks = np.empty(lines.shape)
    ranks.reshape(-1)[place] = np.tile(np.arange(k, dtype=float), len(lines))
    ordered = lines.reshape(-1)[place if tied else slice(0)].reshape(-1, k)
    for line in np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(1)):
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
        the agreement of the seen values, and the ends of the 95 % interval of that of the true ones; NaN of
        fewer than `FEW` classes.
    """
    value = _agreements(seen, tied=True)
    if len(seen) < FEW:
        return value, np.full_like(value, np.nan), np.full_like(value, np.nan)
    group, level = _levels(noise, size)
    drawn = np.concatenate([_agreements(true, tied=False) for true in _true(seen, level, group)])
    low, high = _ends(drawn) if len(seen) <= MANY else _normal_ends(drawn)
    return value, np.minimum(low, value), np.maximum(high, value)


def _ends(drawn: Array) -> tuple[Array, Array]:
    """The ends [q] of the ranges that leave out nearest to 5 % of draws [s, q], about half of it on either side."""
    found = np.empty((2, drawn.shape[1]))
    for q, column in enumerate(drawn.T):
        values, count = np.unique(column.round(9), return_counts=True)
        below = np.append(0, count.cumsum()) / len(drawn)  # left out where a range begins at each value
        above = below[-1] - below[1:]  # and where it ends there
        first = int(np.searchsorted(below, ALPHA / 2, "right")) - 1
        last = len(above) - int(np.searchsorted(above[::-1], ALPHA / 2, "right"))
        pairs = [(i, j) for i in (first, first + 1) for j in (last, last - 1) if i <= j]
        first, last = min(pairs, key=lambda pair: abs(below[pair[0]] + above[pair[1]] - ALPHA))
        found[:, q] = values[first], values[last]
    return found[0], found[1]


def _normal_ends(drawn: Array) -> tuple[Array, Array]:
    """The same of many classes, whose agreements are normal on Fisher's scale: smoother than few draws."""
    scaled = np.arctanh(np.clip(drawn, -1 + 1e-9, 1 - 1e-9))
    mean, far = scaled.mean(0), -float(ndtri(ALPHA / 2)) * scaled.std(0, ddof=1)
    return np.tanh(mean - far), np.tanh(mean + far)


def _agreements(values: Array, *, tied: bool) -> Array:
    m = values.shape[-1]
    one, other = np.triu_indices(m, 1)
    pairs = np.clip(correlations(values, tied=tied)[..., one, other], -1.0, 1.0)
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


class Law(NamedTuple):
    """True values are `start` [s, m] + seen `slope` [s, m, m] + normal `spreading` [s, m, m], in s chains."""

    start: Array
    slope: Array
    spreading: Array


@dataclass(frozen=True)
class Alike:
    """Classes whose noise is alike, by what Gibbs sampling needs of them.

    Attributes:
        seen: [n, m], their values. inverse: [m, m], of their noise's covariance.
        mean: [m], of their values. root: [r, m], whose square rootᵀ root is the values' scatter.
    """

    seen: Array
    inverse: Array
    mean: Array
    root: Array

    @classmethod
    def of(cls, seen: Array, noise: Array) -> Alike:
        """Classes of values [n, m] with a noise [m, m]."""
        mean = seen.mean(0)
        square, axes = np.linalg.eigh((seen - mean).T @ (seen - mean))
        root = np.sqrt(np.maximum(square, 0))[:, None] * axes.T
        return cls(seen, np.linalg.inv(noise), mean, root[max(0, len(root) - len(seen) + 1) :])

    def law(self, precision: Array, pull: Array) -> Law:
        """What the true values are, given the precision [s, m, m] of all and its product with their mean [s, m]."""
        covariance = np.linalg.inv(precision + self.inverse)
        spreading = np.swapaxes(np.linalg.cholesky(covariance), 1, 2)
        return Law((pull[:, None] @ covariance)[:, 0], self.inverse @ covariance, spreading)

    def moments(self, random: np.random.Generator, law: Law) -> tuple[Array, Array]:
        """Mean [s, m] and scatter [s, m, m] of a draw of the true values, without drawing each of them.

        Of the normal numbers, those along the seen values' scatter are one matrix, the rest's scatter is Wishart's.
        """
        (s, m), r, n = law.start.shape, len(self.root), len(self.seen)
        drift = (random.standard_normal((s, 1, m)) @ law.spreading)[:, 0] / np.sqrt(n)
        along = self.root @ law.slope + random.standard_normal((s, r, m)) @ law.spreading
        rest = _root(random, s, n - 1 - r, m) @ law.spreading
        return law.start + self.mean @ law.slope + drift, _square(along) + _square(rest)

    def each(self, law: Law, normal: Array) -> Array:
        """[s, n, m]: a draw of the true values, from as many normal numbers."""
        return law.start[:, None] + self.seen @ law.slope + normal @ law.spreading


def _true(seen: Array, noise: Array, group: Array) -> Iterator[Array]:
    """Draws [chains, k, m] of the true values, by Gibbs sampling with a fixed seed.

    Only what is kept is drawn class by class; mean and covariance of all move by sums over the classes.
    """
    (k, m), random = seen.shape, np.random.default_rng(0)
    chains = max(LEAST, min(CHAINS, TOTAL // k))
    members = [np.flatnonzero(group == g) for g in range(len(noise))]
    parts = [Alike.of(seen[mine], own) for mine, own in zip(members, noise, strict=True)]
    share = np.array([len(mine) for mine in members])[:, None] / k
    prior = np.diag(PRIOR * np.maximum(seen.var(0), noise[:, range(m), range(m)].mean(0)))
    mean, scatter = np.tile(seen.mean(0), (chains, 1)), _start(random, chains, seen, noise[group].mean(0))
    for step in range(BURN + KEEP):
        root = np.linalg.cholesky(np.linalg.inv(scatter + prior)) @ _root(random, chains, m + k, m).swapaxes(
            1, 2
        )
        precision = root @ np.swapaxes(root, 1, 2)
        wide = np.linalg.cholesky(np.linalg.inv(precision))
        centre = mean + np.einsum("sij,sj->si", wide, random.standard_normal((chains, m))) / np.sqrt(k)
        pull = np.einsum("sij,sj->si", precision, centre)
        laws = [part.law(precision, pull) for part in parts]
        if step >= BURN:
            true, normal = np.empty((chains, k, m)), _normal(chains, k, m)[step - BURN]
            for part, mine, law in zip(parts, members, laws, strict=True):
                true[:, mine] = part.each(law, normal[:, mine])
            yield true
        means, scatters = zip(
            *(p.moments(random, law) for p, law in zip(parts, laws, strict=True)), strict=True
        )
        mean = (share * np.stack(means, 1)).sum(1)
        between = (np.stack(means, 1) - mean[:, None]) * np.sqrt(share * k)
        scatter = sum(scatters) + _square(between)


def _start(random: np.random.Generator, chains: int, seen: Array, noise: Array) -> Array:
    """[chains, m, m]: scatters of true values, each of what the seen ones' may be, less the noise's.

    Where there is more noise than signal, chains that begin elsewhere would take hundreds of steps to come here.
    """
    k, m = seen.shape
    root = np.linalg.qr(seen - seen.mean(0), mode="r") / np.sqrt(k - 1)
    drawn = _square(_root(random, chains, k - 1, m)[..., : len(root)] @ root) - k * noise
    size, axes = np.linalg.eigh(drawn)
    return (axes * np.maximum(size, 0.0)[:, None]) @ axes.swapaxes(1, 2)


@lru_cache(maxsize=2)
def _normal(chains: int, k: int, m: int) -> Array:
    """[KEEP, chains, k, m]: normal numbers, the same for all tables of a size."""
    return np.random.default_rng(1).standard_normal((KEEP, chains, k, m))


def _square(root: Array) -> Array:
    """[s, m, m]: rootᵀ root of each of [s, r, m]."""
    return root.swapaxes(1, 2) @ root


def _root(random: np.random.Generator, s: int, freedom: int, m: int) -> Array:
    """[s, r, m], whose square is Wishart with so many degrees of freedom and identity scale (Bartlett)."""
    if freedom < m:
        return random.standard_normal((s, max(freedom, 0), m))
    root = np.triu(random.standard_normal((s, m, m)), 1)
    root[:, range(m), range(m)] = np.sqrt(random.chisquare(freedom - np.arange(m), (s, m)))
    return root
