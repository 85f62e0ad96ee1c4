"""The search of the Accuracy-Robustness Area: how little turns a prediction, or brings it down to chance."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.ensemble import Ensemble, Member
from classrob.rows import Live
from classrob.search import State, StepwiseAttack
from classrob.space import Space
from classrob_explain.descent import length, rows
from classrob_lp.losses import cross_entropy
from classrob_lp.minimum_norm import MinimumNorm


class Descent(StepwiseAttack):
    """The minimiser of Woods, Chen and Teuscher (Nature Machine Intelligence 1, 2019), section III.A.

    While the condition holds the cross-entropy is climbed, with the slope scaled to distance 1; while it does not,
    the way leads straight back to the image. Steps shrink along a line, and the nearest point at which the condition
    failed is proposed. In the threat `rmse` with `clip = false` it is theirs to the letter; they count an image for
    which nothing is found late, or ever, as an error of the program, here it stands.
    """

    persists: ClassVar[bool] = True

    steps: int = Field(default=101, ge=2, description="looks at the model, a gradient each but for the last")
    path: float = Field(
        default=2.0,
        gt=0,
        description="length of the whole way, in budgets; the first step is 2 / steps of it",
    )
    momentum: float = Field(
        default=0.0, ge=0, lt=1, description="share of the earlier direction that is kept"
    )
    rays: int = Field(
        default=0, ge=0, description="of the looks, so many at the end halve the way to the nearest point"
    )

    @abstractmethod
    def look(self, live: Live, z: Tensor) -> tuple[Tensor, Tensor]:
        """The slope of the cross-entropy at z, and whether the condition holds there, bool [n]."""

    @final
    def begin(self, live: Live) -> State:
        """At the image."""
        z = live.space.centre()
        state = {"z": z, "best": z, "least": torch.full_like(live.space.budget, torch.inf)}
        return {**state, "velocity": torch.zeros_like(z), "stands": torch.zeros_like(live.space.budget)}

    @final
    def step(self, live: Live, state: State) -> State:
        """One look, then a step uphill, back, or along the ray to the nearest point found."""
        z, space, walk = state["z"], live.space, self.steps - self.rays
        slope, holds = self.look(live, z)
        away, far = z - space.centre(), space.distance(z)
        nearer = ~holds & (far < state["least"])
        least = torch.where(nearer, far, state["least"])
        best = torch.where(rows(nearer | least.isinf(), z), z, state["best"])
        live.leave(least == 0)
        back = -away / rows(far.clamp_min(1e-20), z)
        direction = torch.where(rows(holds, z), space.steepest(slope), back)
        velocity = self.momentum * state["velocity"] + (1 - self.momentum) * direction
        ahead = length(self.path, walk - 1, live.age.clamp(max=walk - 1))
        z = space.project(z + rows(space.budget * ahead, z) * velocity)
        ray = (live.age + 1 >= walk) & least.isfinite()
        stands = torch.where((live.age >= walk) & holds, far, state["stands"])
        share = (stands + least) / 2 / least.clamp_min(1e-20)
        z = torch.where(rows(ray, z), space.shrink(best, share.nan_to_num(0.0)), z)
        return {"z": z, "best": best, "least": least, "velocity": velocity, "stands": stands}


@final
class AraDescent(Descent):
    """Attack ARA: the nearest point that is misclassified. Descent as in Woods, Chen and Teuscher (2019)."""

    def look(self, live: Live, z: Tensor) -> tuple[Tensor, Tensor]:
        """Is it classified right?"""
        slope, _ = live.slope(z, cross_entropy)
        return slope, live.last_logits.argmax(1) == live.labels


@final
class AraDescentToChance(Descent):
    """BTR ARA: the nearest point at which the true class is no likelier than chance, 1/K of K classes.

    Whether that is a misclassification does not matter, so it takes the probe `confidence` and the metric `ara-btr`
    to read it. Descent as in Woods, Chen and Teuscher (2019).
    """

    seeks_errors: ClassVar[bool] = False

    def look(self, live: Live, z: Tensor) -> tuple[Tensor, Tensor]:
        """Is it likelier than chance?"""
        z = z.detach().requires_grad_()
        logits = live.classifier(live.space.render(z))
        loss = cross_entropy(logits, live.labels)
        (slope,) = torch.autograd.grad(loss.sum(), z)
        return slope, (-loss.detach()).exp() > 1.0 / logits.shape[1]


@final
class AraSearch(Ensemble):
    """The published minimiser and `minimum-norm`: the nearer of two for every image, the tighter bound of an area.

    The metric `ara-by-attack` says what each alone comes to.
    """

    individual: bool = Field(default=True, description="both search for every sample")
    descent: AraDescent = Field(default=AraDescent(), description="the fields of `ara-descent`")
    minimum: MinimumNorm = Field(default=MinimumNorm(), description="the fields of `minimum-norm`")

    def attacks(self, classes: int, space: Space) -> Sequence[Member]:
        """The published one first."""
        return [Member("ara-descent", self.descent), Member("minimum-norm", self.minimum)]
