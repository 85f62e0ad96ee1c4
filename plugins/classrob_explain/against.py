"""The attack `against-interpretability`: it moves an explanation, and does not care about the prediction."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from pydantic import Field

from classrob.rows import Live
from classrob.search import State, StepwiseAttack
from classrob_explain.asking import Asked, differentiable
from classrob_explain.compared import top
from classrob_explain.gradients import InputGradient


@final
class AgainstInterpretability(StepwiseAttack):
    """The attack against interpretability of Boopathy et al. (ICML 2020): empties a map's top places.

    From a random point it descends the sum of the true class's map at the `top` largest places of the unperturbed
    image's map, along the steepest direction of the space. The last point counts, whatever the model says of it.
    """

    seeks_errors: ClassVar[bool] = False
    persists: ClassVar[bool] = True

    steps: int = Field(default=200, ge=1, description="of the walk, one gradient of a map each")
    explainer: Asked = InputGradient()
    top: int = Field(default=8, ge=1, description="so many of the largest places are emptied")
    step_size: float = Field(default=0.01, gt=0, description="of a step, in the threat's unit")

    def begin(self, live: Live) -> State:
        """A random point, and the places to be emptied."""
        with torch.no_grad():
            image = live.space.render(live.space.centre())
            map_ = differentiable(self.explainer).explain(live.classifier, image, live.labels)
        return {"z": live.space.start(live.streams), "top": top(map_, self.top)}

    def step(self, live: Live, state: State) -> State:
        """One map, one gradient through it, one step."""
        z = state["z"].detach().requires_grad_()
        image = live.space.render(z)
        map_ = self.explainer.explain(live.classifier, image, live.labels)
        (slope,) = torch.autograd.grad(-(map_ * state["top"]).sum(), z, materialize_grads=True)
        return {**state, "z": live.space.move(z.detach(), slope, self.step_size / live.space.budget)}
