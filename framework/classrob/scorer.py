"""What a detector is fitted on, and what it becomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from classrob.live import Batch
from classrob.streams import Streams


class Scorer(ABC):
    """A fitted detector: says of each image how suspicious it is."""

    @abstractmethod
    def score(self, images: Tensor) -> Tensor:
        """float32 [n], larger is more suspicious, of images float32 [n, c, h, w] in [0, 1].

        Each image's score is its own, whatever the others are. Where gradients are on and the score has a
        slope, it is differentiable in the images.
        """


@dataclass(frozen=True)
class Reference:
    """What a detector is fitted on.

    Attributes:
        batch: images as the model knows them, none of which is judged.
        outliers: images that a detector may learn to tell from these, by what they are called; none of
            these is judged either. Images of one id show one thing: they belong on the same side of any split.
        streams: one random stream for each image of `batch`.
    """

    batch: Batch
    outliers: Mapping[str, Batch]
    streams: Streams
