"""The attack `interpretability-sneaking`: it turns the prediction, and hides that from the explanation."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.rows import Live
from classrob.search import State, StepwiseAttack
from classrob_explain.asking import Asked, apart, differentiable, maps
from classrob_explain.descent import rows
from classrob_explain.gradients import InputGradient

#: The first budget that is tried, as a share of the largest, and the first weight of the discrepancy.
FIRST, WEIGHT = 0.05, 5e-5


@final
class InterpretabilitySneaking(StepwiseAttack):
    """The interpretability sneaking attack of Boopathy et al. (ICML 2020): another class, and an unchanged map.

    First every image's smallest budget at which a random other class is reached is found by halving; then, at
    `reach` times it, by halving too, how much the discrepancy can weigh against the margin. Different from there:
    what is proposed is the point with the smallest discrepancy of all that reached the class, and a step's length
    does not depend on how many images are in a batch.
    """

    seeks_errors: ClassVar[bool] = False
    persists: ClassVar[bool] = True

    steps: int = Field(default=231, ge=3, description="looks at the model; `inner` and one more make a walk")
    explainer: Asked = InputGradient()
    form: Literal["1-class", "2-class", "all-class"] = Field(
        default="2-class",
        description="the classes whose maps are to stay: the true one, the target too, or all",
    )
    norm: Literal["l1", "l2"] = Field(default="l1", description="of their change; l2 counts squared")
    reach: float = Field(default=1.0, ge=1, description="of the second part, in smallest budgets of an image")
    inner: int = Field(default=10, ge=1, le=10, description="steps of one walk")
    stride: float = Field(default=0.2, gt=0, le=1, description="of a step, in the walk's budget")
    gain: float = Field(
        default=10.0,
        gt=0,
        description="steps are shorter where a slope is below one by this; theirs of 100 images",
    )
    confidence: float = Field(default=0.1, ge=0, description="the margin beyond which nothing is gained")

    @property
    def _rounds(self) -> int:
        """Walks of each part; one more comes last."""
        return max(1, (self.steps // (self.inner + 1) - 1) // 2)

    def begin(self, live: Live) -> State:
        """The centre; the class aimed at, the classes whose maps are to stay, and what will be halved."""
        z, budget = live.space.centre(), live.space.budget
        with torch.no_grad():
            image = live.space.render(z)
            count = live.classifier(image).shape[1]
            away = 1 + live.streams.fork("target").integers(count - 1, 1)[:, 0]
            target = (live.labels + away) % count
            classes = {"1-class": [live.labels], "2-class": [live.labels, target]}.get(self.form)
            classes = classes or [torch.full_like(target, c) for c in range(count)]
            asked = torch.stack(classes, 1)
            clean = maps(differentiable(self.explainer), live.classifier, image, asked)
        nothing, ones = torch.zeros_like(budget), torch.ones_like(budget)
        found = {"best": z, "least": torch.inf * ones, "target": target, "asked": asked, "clean": clean}
        radius = {"radius": FIRST * budget, "near": nothing, "far": budget}
        return {"z": z, **found, **radius, "weight": WEIGHT * ones, "light": nothing, "heavy": ones}

    def step(self, live: Live, state: State) -> State:
        """One look: a step of a walk or, at its end, what it says of the budget or of the weight."""
        walk, ended = live.age // (self.inner + 1), live.age % (self.inner + 1) == self.inner
        hiding = walk >= self._rounds
        z = state["z"].detach().requires_grad_()
        image, target = live.space.render(z), state["target"][:, None]
        logits = live.classifier(image)
        ahead = logits.scatter(1, target, -torch.inf).amax(1) - logits.gather(1, target)[:, 0]
        off = torch.zeros_like(ahead)
        if (hiding & ~live.done).any():
            here = maps(self.explainer, live.classifier, image, state["asked"])
            off = apart(state["clean"], here, self.norm)
        goal = ahead.clamp_min(-self.confidence) + torch.where(hiding, state["weight"], 0.0) * off
        (slope,) = torch.autograd.grad(-goal.sum(), z, materialize_grads=True)
        z, off, hit = z.detach(), off.detach(), ahead.detach() < 0
        better = hiding & hit & (off < state["least"])
        state = {**state, "least": torch.where(better, off, state["least"])}
        state["best"] = torch.where(rows(better | state["least"].isinf(), z), z, state["best"])
        ball = live.space.at(state["radius"])
        direction = ball.steepest(slope) * (self.gain * slope.abs()).clamp(max=1.0)
        moved = ball.project(z + rows(self.stride * state["radius"], z) * direction)
        state["z"] = torch.where(rows(ended, z), live.space.centre(), moved)
        return self._learned(live, state, walk, ended, hit)

    def _learned(self, live: Live, state: State, walk: Tensor, ended: Tensor, hit: Tensor) -> State:
        """The next budget or weight of the rows whose walk has ended."""
        first = ended & (walk < self._rounds)
        near = torch.where(first & ~hit, state["radius"], state["near"])
        far = torch.where(first & hit, state["radius"], state["far"])
        middle = (near + far) / 2
        radius = torch.where(hit, middle, middle.minimum(2 * state["radius"]))
        radius = torch.where(walk == self._rounds - 1, (self.reach * far).minimum(live.space.budget), radius)
        second = ended & (walk >= self._rounds) & (walk < 2 * self._rounds)
        light = torch.where(second & hit, state["weight"], state["light"])
        heavy = torch.where(second & ~hit, state["weight"], state["heavy"])
        middle = (light + heavy) / 2
        weight = torch.where(hit, middle.minimum(2 * state["weight"]), middle)
        weight = torch.where(walk == 2 * self._rounds - 1, light, weight)
        state |= {"near": near, "far": far, "light": light, "heavy": heavy}
        state["radius"] = torch.where(first, radius, state["radius"])
        state["weight"] = torch.where(second, weight, state["weight"])
        return state
