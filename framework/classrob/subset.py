"""An opened data set cut to what the study asks for: `classes`, `limit`, `stratify`, `shuffle`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from classrob.errors import StudyError, nearest
from classrob.images import Picture
from classrob.live import Samples
from classrob.parts import Dataset


@dataclass
class Subset(Samples):
    """Some samples of another data set, in a given order, under given class names."""

    whole: Samples
    indices: Sequence[int]
    classes: Sequence[str]

    def __len__(self) -> int:
        return len(self.indices)

    def id(self, index: int) -> str:
        """The id in the whole data set."""
        return self.whole.id(self.indices[index])

    def label(self, index: int) -> int:
        """The label in the whole data set."""
        return self.whole.label(self.indices[index])

    def picture(self, index: int) -> Picture:
        """The image in the whole data set."""
        return self.whole.picture(self.indices[index])


def opened(dataset: Dataset, name: str) -> Samples:
    """The data set's samples as the study asks for them.

    Raises:
        StudyError: it is empty, a class is unknown, or there are too few names; led by `name`.
    """
    whole = dataset.open()
    classes, keep = _classes(dataset, whole, name)
    indices: Sequence[int] = range(len(whole))
    if dataset.shuffle is not None and dataset.limit is not None:
        indices = np.random.RandomState(dataset.shuffle).permutation(len(whole)).tolist()
    if keep is not None:
        indices = [i for i in indices if whole.label(i) in keep]
    if dataset.limit is not None:
        chosen = _balanced(whole, indices, dataset.limit) if dataset.stratify else indices[: dataset.limit]
        indices = sorted(chosen)
    if not len(indices):
        raise StudyError(f"data set '{name}' is empty")
    return Subset(whole, indices, classes)


def _classes(dataset: Dataset, whole: Samples, name: str) -> tuple[tuple[str, ...], set[int] | None]:
    own = tuple(whole.classes)
    asked = dataset.classes
    if asked is None:
        return own, None
    if len(set(asked)) < len(asked):
        raise StudyError(f"data set '{name}': `classes` names a class twice")
    if set(asked) <= set(own):
        return own, {own.index(one) for one in asked}
    if own != tuple(map(str, range(len(own)))):  # it has names of its own, and these are not among them
        stranger = next(one for one in asked if one not in own)
        raise StudyError(f"data set '{name}' has no class '{stranger}'{nearest(stranger, own)}")
    if len(asked) < len(own):
        raise StudyError(
            f"data set '{name}': `classes` gives {len(asked)} names, but there are {len(own)} classes"
        )
    return asked, None


def _balanced(whole: Samples, indices: Sequence[int], limit: int) -> list[int]:
    """The first samples of every class in turn."""
    by_class: dict[int, list[int]] = {}
    for i in indices:
        by_class.setdefault(whole.label(i), []).append(i)
    rounds = (i for turn in range(len(indices)) for rows in by_class.values() for i in rows[turn : turn + 1])
    return list(islice(rounds, limit))
