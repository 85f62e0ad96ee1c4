"""Auto-PGD: the step halves itself, and the walk goes back to the best point seen (Croce and Hein, 2020)."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import final

import torch
from pydantic import Field
from torch import Tensor

from classrob.rows import Live, Loss
from classrob.search import State, StepwiseAttack
from classrob_lp import momentum, sparse
from classrob_lp.l1 import L1Ball
from classrob_lp.losses import cross_entropy, dlr, targeted_dlr


class APGD(StepwiseAttack):
    """Auto-PGD in any space; in the ℓ1 ball with steps as sparse as the best point (Croce and Hein, 2021).

    The first walk begins at a random point (in a sweep: where a larger budget ended). A sample leaves as
    soon as any point that was looked at is misclassified, the last one included, which is looked at
    without a gradient. With averaged gradients none leaves, since one lucky draw proves nothing: there
    the point of the largest mean loss is proposed.
    """

    steps: int = Field(default=100, ge=1, description="gradients of one restart")
    averaged: int = Field(
        default=1, ge=1, description="gradients averaged for a step, for models that draw at random"
    )

    @abstractmethod
    def objective(self, live: Live) -> Loss:
        """What is climbed: (logits, labels) → [n]."""

    @final
    def begin(self, live: Live) -> State:
        """Where each row starts."""
        z, space = live.origin, live.space
        sparsely = isinstance(space, L1Ball)
        if (random := live.fresh_start).any():
            drawn = sparse.start(space, live.streams) if sparsely else space.start(live.streams)
            z = torch.where(random.reshape(-1, *[1] * (z.ndim - 1)), drawn, z)
        return self._handing_on(sparse.begin(z) if sparsely else momentum.begin(z))

    @final
    def step(self, live: Live, state: State) -> State:
        """One gradient (or the mean of several), one step."""
        look = live.slope if self.averaged == 1 else partial(self._mean_slope, live)
        slope, values = look(state["z"], self.objective(live))
        if isinstance(live.space, L1Ball):
            return self._handing_on(sparse.step(live.space, live.age, self.steps, state, slope, values))
        return self._handing_on(momentum.step(live.space, live.age, self.steps, state, slope, values))

    def _mean_slope(self, live: Live, z: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """The mean over draws of the slope and of the loss; nothing that is seen counts as found."""
        z = z.detach().requires_grad_()
        slope, values = torch.zeros_like(z), torch.zeros_like(live.space.budget)
        for _ in range(self.averaged):
            drawn = loss(live.classifier(live.space.render(z)), live.labels)
            slope += torch.autograd.grad(drawn.sum(), z)[0]
            values += drawn.detach()
        return slope / self.averaged, values / self.averaged

    def _handing_on(self, state: State) -> State:
        """The last point is handed on, since it is not looked at yet; with several draws a look says little."""
        return state if self.averaged == 1 else {**state, "best": state["peak"]}


@final
class ApgdCE(APGD):
    """Auto-PGD on the cross-entropy, untargeted."""

    def objective(self, live: Live) -> Loss:
        """The cross-entropy of the true class."""
        return cross_entropy


@final
class ApgdDLR(APGD):
    """Auto-PGD on the difference of logits ratio, untargeted; on the margin with two classes."""

    def objective(self, live: Live) -> Loss:
        """The difference of logits ratio."""
        return dlr


@final
class ApgdTargeted(APGD):
    """Auto-PGD on the targeted difference of logits ratio; on the margin with two or three classes."""

    targets: int = Field(
        default=9,
        ge=1,
        description="how many other classes are aimed at, the likeliest first, then the others",
    )

    def objective(self, live: Live) -> Loss:
        """The ratio towards the class that each row aims at."""
        return partial(targeted_dlr, targets=live.target)
