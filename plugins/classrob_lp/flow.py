"""Which class can be turned into which: every class is aimed at, and only that class counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

from pydantic import Field
from torch import Tensor

from classrob.ensemble import Ensemble, Member
from classrob.live import Batch, Classifier
from classrob.parts import Attack
from classrob.pool import Pool
from classrob.space import Space
from classrob.streams import Streams
from classrob_lp.apgd import ApgdTargeted


@final
class Towards(Attack):
    """Auto-PGD towards one class; an image that becomes another wrong class does not count."""

    batches_itself: ClassVar[bool] = True

    goal: int = Field(ge=0, description="the class aimed at, as its position in the list of classes")
    steps: int = Field(default=50, ge=1, description="gradients of one restart")
    restarts: int = Field(default=1, ge=1, description="attempts for a sample that still stands")

    def search(
        self, classifier: Classifier, space: Space, batch: Batch, streams: Streams, start: Tensor | None
    ) -> Tensor:
        """An image that the model takes for the goal, where one is found."""
        pool = Pool(classifier, space, batch.labels, streams, start, goal=self.goal)
        return ApgdTargeted(steps=self.steps, restarts=self.restarts).walk(pool)


@final
class TargetedFlow(Ensemble):
    """Every sample is aimed at every class in turn; gives the metric `targeted-flow` its trials."""

    goals: tuple[int, ...] | None = Field(
        default=None, description="the classes aimed at, as positions in the list of classes; all of them"
    )
    steps: int = Field(default=50, ge=1, description="gradients towards one class")
    individual: bool = Field(default=True, description="every class is tried on every sample")

    def attacks(self, classes: int, space: Space) -> Sequence[Member]:
        """One member a class."""
        goals = range(classes) if self.goals is None else [goal for goal in self.goals if goal < classes]
        return [Member(f"towards {goal}", Towards(goal=goal, steps=self.steps), goal=goal) for goal in goals]
