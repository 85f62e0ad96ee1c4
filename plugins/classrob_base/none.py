"""No threat and no attack: the images as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from pydantic import Field
from torch import Tensor

from classrob.live import Batch, Classifier
from classrob.parts import Attack, Need, Threat
from classrob.space import Space
from classrob.streams import Streams


@final
@dataclass(frozen=True)
class Still(Space):
    """Only the image itself; z [n, 0] holds nothing."""

    images: Tensor

    def centre(self) -> Tensor:
        """Nothing."""
        return self.images.new_zeros(len(self.images), 0)

    def start(self, streams: Streams) -> Tensor:
        """Nothing."""
        return self.centre()

    def project(self, z: Tensor) -> Tensor:
        """Nothing to project."""
        return z

    def render(self, z: Tensor) -> Tensor:
        """The images as they are."""
        return self.images

    def distance(self, z: Tensor) -> Tensor:
        """Always 0."""
        return self.images.new_zeros(len(self.images))

    def steepest(self, slope: Tensor) -> Tensor:
        """Nowhere to go."""
        return slope


@final
class NoThreat(Threat):
    """The unperturbed images; what everything else is compared with."""

    budgets: tuple[float, ...] = Field(default=(), max_length=0, description="there are none")

    def open(self, batch: Batch, classifier: Classifier, streams: Streams) -> Space:
        """Each image alone."""
        return Still(batch.images.new_zeros(len(batch)), batch.images)


@final
class NoAttack(Attack):
    """No search: the threat's own centre is judged."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    batches_itself: ClassVar[bool] = True

    def search(
        self, classifier: Classifier, space: Space, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        """The centre."""
        return space.centre()
