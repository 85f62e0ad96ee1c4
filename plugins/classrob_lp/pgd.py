"""Projected gradient descent in any space: a step along the steepest direction, then back inside."""

from __future__ import annotations

from typing import Literal, final

import torch
from pydantic import Field

from classrob.search import Live, State, StepwiseAttack
from classrob_lp.losses import LOSSES


@final
class PGD(StepwiseAttack):
    """Projected gradient descent, with restarts and momentum (Madry et al., 2018).

    The first restart begins at the image itself (in a sweep: where a larger budget ended), later ones
    at random points. A sample leaves as soon as any point that was looked at is misclassified.

    Where no step size is given, steps shrink linearly from one budget to none. At equal cost that breaks
    many more samples than the usual fixed 2.5 / steps (docs/explanation/performance.md has the figures).
    """

    step_size: float | None = Field(
        default=None,
        gt=0,
        description="a fixed step, in budgets; where not given, from one budget down to none",
    )
    momentum: float = Field(
        default=0.0, ge=0, le=1, description="share of the earlier direction that is kept"
    )
    loss: Literal["cross-entropy", "margin", "dlr"] = Field(
        default="cross-entropy", description="what is climbed"
    )
    random_start: bool = Field(default=False, description="begin the first restart at a random point too")

    def begin(self, live: Live) -> State:
        """Where each row starts, and no direction yet."""
        z = live.origin
        random = (live.restart > 0) | self.random_start
        if random.any():  # most rows never need a draw
            drawn = live.space.start(live.streams)
            z = torch.where(random.reshape(-1, *[1] * (z.ndim - 1)), drawn, z)
        return {"z": z, "velocity": torch.zeros_like(z)} if self.momentum else {"z": z}

    def step(self, live: Live, state: State) -> State:
        """One gradient, one step."""
        slope, _ = live.slope(state["z"], LOSSES[self.loss])
        length = self.step_size if self.step_size is not None else 1.0 - live.age / self.steps
        if not self.momentum:
            return {"z": live.space.move(state["z"], slope, length)}
        velocity = self.momentum * state["velocity"] + live.space.steepest(slope)
        return {"z": live.space.move(state["z"], velocity, length), "velocity": velocity}
