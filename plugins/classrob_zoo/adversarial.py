"""The recipes `pgd-adversarial` and `trades`: training on, or towards, the worst images of an ℓ∞ ball."""

from __future__ import annotations

from typing import final

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from classrob.training.gradient import Step
from classrob_zoo.ball import BallRecipe, evaluating


@final
class PGDAdversarialTraining(BallRecipe):
    """Training on the images that PGD finds in an ℓ∞ ball (Madry et al., ICLR 2018)."""

    def loss(self, step: Step) -> Tensor:
        """The cross-entropy of what PGD makes of the batch, from a random start."""
        x = step.images
        if radius := self.radius(step):
            with evaluating(step.module):
                x = self.climbed(lambda z: cross_entropy(step.module(z), step.labels), x, radius, step.draws)
        return cross_entropy(step.module(x), step.labels)


@final
class Trades(BallRecipe):
    """Clean cross-entropy plus how far the prediction can be moved in an ℓ∞ ball (Zhang et al., ICML 2019)."""

    beta: float = Field(
        default=6.0, ge=0, description="weight of the divergence; the paper's 1/λ for CIFAR-10 is 6"
    )

    def loss(self, step: Step) -> Tensor:
        """CE(f(x)) + β · KL(p(x) ‖ p(x')), where x' in the ball maximises the divergence."""
        x, module = step.images, step.module
        radius = self.radius(step)
        if not radius:
            return cross_entropy(module(x), step.labels)
        with evaluating(module):
            target = softmax(module(x).detach(), 1)

            def apart(z: Tensor) -> Tensor:
                return kl_div(log_softmax(module(z), 1), target, reduction="sum")

            z = self.climbed(apart, x, radius, step.draws)
        logits = module(x)
        divergence = kl_div(log_softmax(module(z), 1), softmax(logits, 1), reduction="batchmean")
        return cross_entropy(logits, step.labels) + self.beta * divergence
