"""How large a difference may be that a test did not tell from chance, when only such ones are looked at.

Of differences that are looked at because they were not significant, seen sizes are too small, and an interval that
does not know of the choice misses them. Here the seen size is that of a normal variable given that it lies below the
test's threshold, and the interval holds all sizes at which the seen one is not surprising among those. (Fithian, Sun
and Taylor, "Optimal inference after model selection", 2014, arXiv 1410.2597, for a single normal variable.)

Nothing is smaller than no difference: the more a size is like that, the more of its 5 % stand on the side of larger
seen ones, all at none, half at one that is clearly there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import ndtr

from classrob.statistics.intervals import ALPHA

Array = np.ndarray[Any, Any]

#: Sizes are looked for up to so many standard errors above the threshold.
FAR = 30.0
#: So many sizes are tried; between two of them an end is interpolated.
STEPS = 200


def untold(seen: Array, threshold: float) -> tuple[Array, Array]:
    """The ends [k] of the 95 % intervals of the true sizes, in standard errors; the upper is infinite beyond `FAR`.

    Args:
        seen: float64 [k], the seen sizes in standard errors, each at most `threshold`; larger ones count as that.
        threshold: from which seen size on a difference is significant.
    """
    size, least, most = _accepted(threshold)
    seen = np.minimum(seen, threshold)
    return np.interp(seen, most, size), np.interp(seen, least, size, right=np.inf)


@lru_cache(maxsize=256)
def _accepted(threshold: float) -> tuple[Array, Array, Array]:
    """Sizes that rise, and between which seen ones each is not surprising; each [STEPS]."""
    size = np.concatenate(
        [
            np.linspace(0, threshold, STEPS // 2, endpoint=False),
            np.geomspace(1e-3, FAR, STEPS // 2) + threshold,
        ]
    )
    below = ALPHA / 2 * (2 * ndtr(size) - 1)
    return size, _quantile(below, size, threshold), _quantile(1 - ALPHA + below, size, threshold)


def _quantile(share: Array, size: Array, threshold: float) -> Array:
    """The seen sizes [m] below which these shares [m] lie, of true sizes [m], given that none is above a threshold."""
    low, high = np.zeros_like(size), np.full_like(size, threshold)
    wanted = share * _below(high, size)
    for _ in range(36):
        middle = (low + high) / 2
        under = _below(middle, size) < wanted
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return high


def _below(seen: Array, size: Array) -> Array:
    """P(|X| ≤ seen), X normal around `size`."""
    return ndtr(seen - size) - ndtr(-seen - size)
