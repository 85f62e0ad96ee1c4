"""The attack `latent-search`: the search of the latent-space metrics, restarts with a shrinking radius.

Buzhinsky, Nerinovsky and Tripakis (Machine Learning 112, 2023). Every walk goes up the slope of the likeliest
other class's probability minus the true one's, by steps of a share of the radius. One that succeeds is over,
and the radius of those to come is the distance at which it did, so that starts, bounds and steps shrink.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.rows import Live
from classrob.search import State, StepwiseAttack

#: The border is looked for on the last so many steps of the ray to the nearest point found.
WITHIN = 2.0


def probability_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest other probability minus the true one, [n]; above 0 means misclassified."""
    probabilities = logits.softmax(1)
    true = probabilities.gather(1, labels[:, None])[:, 0]
    return probabilities.scatter(1, labels[:, None], -torch.inf).amax(1) - true


@final
class LatentSearch(StepwiseAttack):
    """Restarted projected gradient search for a near misclassified point, in any space; the paper's parameters.

    Different from there: the point that the last step reached is looked at; the last walk begins at the centre,
    as the authors meant it to; and its last looks halve the ray between the centre and the nearest point found.
    With `centred = false` and `bisections = 0` it is theirs. In a sweep the first walk begins where a larger
    budget ended.
    """

    persists: ClassVar[bool] = True

    steps: int = Field(default=50, ge=1, description="looks at the model in one walk")
    restarts: int = Field(default=12, ge=1, description="walks")
    step_size: float = Field(default=0.05, gt=0, description="of a step, in radii")
    goal: Literal["nearest", "any"] = Field(
        default="nearest", description="nearest: all walks are done; any: the first success ends the search"
    )
    centred: bool = Field(default=True, description="does the last walk begin at the centre?")
    bisections: int = Field(default=4, ge=0, description="looks of the last walk that halve the ray")

    def begin(self, live: Live) -> State:
        """A random point within the radius so far; the centre in the last walk."""
        space = live.space.at(live.nearest.minimum(live.space.budget))
        z = torch.where(_rows(live.fresh_start, live.origin), space.start(live.streams), live.origin)
        if self.centred:
            z = torch.where(_rows(self._last(live), z), space.centre(), z)
        return {"z": z, "below": torch.zeros_like(live.space.budget)}

    def step(self, live: Live, state: State) -> State:
        """One look and one step uphill; or, at the end of the last walk, the next point of the ray."""
        z, before = state["z"], live.nearest
        slope, _ = live.slope(z, probability_margin)
        hit = (live.nearest < before) & ~live.done
        walk = self.steps - torch.where(self._last(live), min(self.bisections, self.steps // 5), 0)
        on_ray = live.age >= walk
        if (wrong := live.nearest == 0).any() or self.goal == "any":
            live.leave(live.nearest.isfinite() if self.goal == "any" else wrong)
        radius = live.nearest.minimum(live.space.budget)
        z = live.space.at(radius).move(z, slope, self.step_size)
        # a walk that succeeds is over: the last one goes on to the ray, others make way for the next walk
        live.age = torch.where(hit & ~on_ray, walk - 1, live.age)
        below = torch.where(on_ray & ~hit, live.space.distance(state["z"]), state["below"])
        ray = self._last(live) & (live.age + 1 >= walk) & live.nearest.isfinite()
        if ray.any():
            below = torch.where(ray & ~on_ray, live.nearest * (1.0 - WITHIN * self.step_size), below)
            middle = 0.5 * (below + live.nearest) / live.nearest.clamp_min(torch.finfo(below.dtype).tiny)
            z = torch.where(_rows(ray, z), live.space.shrink(live.proof, middle.nan_to_num(0.0)), z)
        return {"z": z, "below": below}

    def _last(self, live: Live) -> Tensor:
        return live.restart + 1 == self.restarts * max(1, live.pool.aims.shape[1])


def _rows(values: Tensor, z: Tensor) -> Tensor:
    """Per-row values [n] in a shape that broadcasts over z."""
    return values.reshape(-1, *[1] * (z.ndim - 1))
