"""The recipe `interpretability-aware`: training for maps that an attack cannot change."""

from __future__ import annotations

from typing import Literal, final

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from classrob.training.gradient import SCHEDULE, Schedule, Step
from classrob_zoo.ball import BUDGET, BallRecipe, evaluating
from classrob_zoo.maps import Maps


@final
class InterpretabilityAware(BallRecipe):
    """Training against a change of the class activation maps in an ℓ∞ ball (Boopathy et al., ICML 2020).

    The discrepancy of an image x and a perturbed one x' is the ℓ1 distance of their maps of the true class,
    plus those of all other classes, weighted by the softmax of x' among them. `int` adds it, at the x' that
    makes it largest, to the cross-entropy of x; `int-one-class` takes the true class's map alone; `int-adv`
    takes the cross-entropy of x' instead; `int2` and `int2-adv` are the same with the x' that PGD finds on
    the cross-entropy. Maps are summed over positions, as in the authors' code, not averaged.
    """

    epochs: int = Field(default=8, ge=1, description="passes over the data")
    batch: int = Field(default=100, ge=1, description="images a step")
    lr: float = Field(default=0.002, gt=0, description="the highest learning rate")
    schedule: Schedule = Field(default="constant", description=SCHEDULE)
    weight_decay: float = Field(default=0.0, ge=0, description="of the optimiser")
    budget: float = Field(default=0.3, gt=0, le=1, description=BUDGET)
    steps: int = Field(default=8, ge=1, description="of the search for every batch")
    still: float = Field(default=0.5, ge=0, description="epochs before there is any ball")
    rise: float = Field(default=3.5, ge=0, description="epochs in which its radius then grows to the budget")
    variant: Literal["int", "int-one-class", "int-adv", "int2", "int2-adv"] = Field(
        default="int", description="which images the loss is taken at, and which maps"
    )
    gamma: float = Field(default=0.01, ge=0, description="weight of the discrepancy")

    def loss(self, step: Step) -> Tensor:
        """Cross-entropy plus γ times the discrepancy, at a perturbed image that is searched first."""
        x, y, module = step.images, step.labels, step.module
        if not (radius := self.radius(step)):
            return cross_entropy(module(x), y)
        maps = Maps.of(module, x[:2])
        with evaluating(module):
            _, before = maps(x)
            clean = before.detach()

            def climb(z: Tensor) -> Tensor:
                if self.variant.startswith("int2"):
                    return cross_entropy(maps(z)[0], y, reduction="sum")
                logits, after = maps(z)
                apart = self.gamma * self._discrepancy(logits, after, clean, y).sum()
                own = cross_entropy(logits, y, reduction="sum") if self.variant == "int-adv" else 0.0
                return apart + own

            z = self.climbed(climb, x, radius, step.draws)
        logits, after = maps(z)
        kept, before = maps(x)
        apart = self._discrepancy(logits, after, before, y).mean()
        step.memory["discrepancy"] = float(apart.detach())
        own = logits if self.variant.endswith("-adv") else kept
        return cross_entropy(own, y) + self.gamma * apart

    def _discrepancy(self, logits: Tensor, after: Tensor, before: Tensor, labels: Tensor) -> Tensor:
        """[n], from the logits [n, k] of the perturbed images and maps [n, k, positions]."""
        apart = (after - before).abs().sum(2)
        own = apart.gather(1, labels[:, None])[:, 0]
        if self.variant == "int-one-class":
            return own
        others = logits.scatter(1, labels[:, None], float("-inf")).softmax(1)
        return own + (others * apart).sum(1)
