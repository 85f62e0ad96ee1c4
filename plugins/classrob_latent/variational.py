"""The recipe `variational`: a generator that learns images by the evidence lower bound."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from classrob.errors import StudyError
from classrob.parts import Trainable
from classrob.training.gradient import SCHEDULE, GradientRecipe, Schedule, Step
from classrob_latent.nets import ClassVAE
from classrob_latent.vae import VAE


@final
class Variational(GradientRecipe):
    """A variational autoencoder of images and classes (Kingma and Welling, ICLR 2014).

    The loss is the cross-entropy of the pixels plus `prior` times the codes' divergence from the prior
    (β of Higgins et al., ICLR 2017).
    """

    trains: ClassVar[Literal["model", "generator"]] = "generator"
    usual: ClassVar[str] = "vae"

    epochs: int = Field(default=100, ge=1, description="passes over the data")
    lr: float = Field(default=0.002, gt=0, description="the highest learning rate")
    schedule: Schedule = Field(default="cosine", description=SCHEDULE)
    weight_decay: float = Field(default=0.0, ge=0, description="of the optimiser")
    prior: float = Field(
        default=0.1, gt=0, description="weight of the codes' distance from the prior: smaller, sharper images"
    )

    def adapt(self, model: Trainable) -> Trainable:
        """The generator itself.

        Raises:
            StudyError: it is another one than `vae`.
        """
        if not isinstance(model, VAE):
            raise StudyError("the recipe 'variational' trains the generator 'vae' and no other")
        return model

    def loss(self, step: Step) -> Tensor:
        """The negative evidence bound, a mean over images."""
        net = step.module
        assert isinstance(net, ClassVAE)
        mean, spread = net.encoded(step.images, step.labels)
        noise = torch.randn(mean.shape, generator=step.draws).to(mean.device)
        made = net.logits(mean + (0.5 * spread).exp() * noise, step.labels)
        off = binary_cross_entropy_with_logits(made, step.images.flatten(1), reduction="none").sum(1)
        far = 0.5 * (mean.square() + spread.exp() - 1.0 - spread).sum(1)
        step.memory["divergence"] = float(far.detach().mean())
        return (off + self.prior * far).mean()
