"""What a sign counted, and the finding that comes of it: shares with intervals, overall and class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from classrob.statistics.intervals import rate

State = Literal["fired", "silent", "not checked"]


class NotChecked(Exception):
    """A sign cannot be looked for here; the text says why, and what would make it possible."""


@final
class NoGradient(NotChecked):
    """The model cannot be differentiated."""


@dataclass(frozen=True)
class Share:
    """`hits` of `n` images, of a class or (label None) of all; `low` and `high` bound the interval."""

    label: str | None
    hits: int
    n: int
    value: float | None
    low: float
    high: float

    @classmethod
    def of(cls, label: str | None, hits: np.ndarray, alpha: float) -> Share:
        """The share of True in bool [n], with an interval at 1 − alpha."""
        k, n = int(hits.sum()), len(hits)
        return cls(label, k, n, k / n if n else None, *rate(k, n, alpha))


@dataclass(frozen=True)
class Tally:
    """One comparison, image by image.

    Attributes:
        says: a sentence with `{hits}` and `{n}` in it.
        ids: n strings. labels: int64 [n]. hits: bool [n].
        budget: where it was made; None where there is none.
        stands: bool [n], images that the run itself says stand at this budget; None where it says nothing.
    """

    says: str
    ids: np.ndarray
    labels: np.ndarray
    hits: np.ndarray
    budget: float | None = None
    stands: np.ndarray | None = None


@dataclass(frozen=True)
class Finding:
    """What came of looking for one sign.

    Attributes:
        threat, budget: None for a sign of the model alone.
        sign, title: its name, and how a report calls it.
        threshold: the sign fires where the lower end of an interval lies above it.
        overall, classes: the comparison that speaks loudest; intervals are simultaneous over all signs of
            the model, their comparisons and the classes. None and empty where the sign was not checked.
        overturned: of its images, how many the run counts as standing at that budget.
        text: what was counted, what it means, and what to do; or why it was not checked.
    """

    model: str
    dataset: str
    threat: str | None
    budget: float | None
    sign: str
    title: str
    state: State
    threshold: float
    overall: Share | None
    classes: tuple[Share, ...]
    overturned: int | None
    text: str

    @property
    def unsure(self) -> bool:
        """Is it silent, with a share of all images above the threshold all the same?"""
        share = None if self.overall is None else self.overall.value
        return self.state == "silent" and share is not None and share > self.threshold


@dataclass(frozen=True)
class Weighed:
    """A tally with its intervals; `loud` are the shares that lie above the threshold for certain."""

    tally: Tally
    overall: Share
    classes: tuple[Share, ...]
    loud: tuple[Share, ...]


def weigh(tallies: Sequence[Tally], threshold: float, classes: Sequence[str], alpha: float) -> Weighed:
    """The comparison that speaks loudest among several, its intervals allowing for the choice.

    Where no true share, of all images or of a class, lies above the threshold, the chance that any is called
    loud is at most `alpha`. Half of it goes to the shares of all images, half to those of classes, each half
    in equal parts (Bonferroni). An interval's lower end is too high with a chance of less than its part: the
    mid-P tail is at least half of the exact one, and half of the part is allowed to it.

    Raises:
        NotChecked: there is no image to count.
    """
    filled = [tally for tally in tallies if len(tally.labels)]
    if not filled:
        raise NotChecked("no image of the audit is classified right, so there is nothing to attack")
    every = [_one(tally, threshold, classes, alpha / (2 * len(filled))) for tally in filled]
    return max(every, key=lambda one: (bool(one.loud), one.overall.low, one.overall.hits))


def _one(tally: Tally, threshold: float, names: Sequence[str], alpha: float) -> Weighed:
    """A tally's intervals: that of all images at 1 − alpha, those of its classes together likewise."""
    overall = Share.of(None, tally.hits, alpha)
    present: list[int] = np.unique(tally.labels).tolist()
    each = tuple(
        Share.of(str(names[label]), tally.hits[tally.labels == label], alpha / len(present))
        for label in present
    )
    return Weighed(tally, overall, each, tuple(s for s in (overall, *each) if s.low > threshold))
