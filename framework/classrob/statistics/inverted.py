"""Intervals of spreads by inverting a test: those of the candidates at which the seen spread is not surprising.

Nothing can be less than no spread. So the more a candidate is like that, the more of its 5 % stand on the side of
larger seen spreads: all at none, half at one that is clearly told apart from none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from classrob.statistics.intervals import ALPHA

Array = np.ndarray[Any, Any]


class Ends(NamedTuple):
    """A number and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def place(tails: Array) -> Array:
    """Where something stands, in standard errors, by the chances of less and of at most that [m, 2]."""
    return ndtri(np.clip(tails.mean(1), 1e-9, 1 - 1e-9))


def ends(seen: float, place: Array, truth: Array, own: Array | None = None) -> Ends:
    """The interval of a spread that stands at `place` [m] among those of candidates with spreads `truth` [m].

    Args:
        place: in standard errors, above 0 where the seen spread is large for the candidate.
        own: the same of each candidate's own spread. An interval reaches up to the seen spread at least, so that it
            can miss a candidate from below only where less than the candidate's own is seen; what is left of the
            5 % is the other side's.
    """
    place = np.minimum.accumulate(place)  # falling with the candidates' spread
    below = ALPHA / 2 * (2 * ndtr(place[0] - place) - 1)  # how much of the 5 % are of smaller seen spreads
    if own is not None:
        below = np.minimum(below, ndtr(own))
    low = _crossing(place + ndtri(ALPHA - below), truth)
    high = _crossing(place - ndtri(np.maximum(below, 1e-9)), truth)
    return Ends(seen, min(low, seen), max(high, seen))


def _crossing(over: Array, truth: Array) -> float:
    """The spread at which something that falls with it comes down to 0; the first or last where it does not."""
    over = np.minimum.accumulate(over) - 1e-9 * np.arange(len(over))
    return float(np.interp(0.0, -over, truth))
