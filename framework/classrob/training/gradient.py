"""A recipe that descends a loss step by step: it says what the loss is, the loop is the framework's."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from classrob.decoder import Decoder
from classrob.parts import Recipe
from classrob.training.loop import trained

if TYPE_CHECKING:
    from collections.abc import Mapping

    from classrob.live import Classifier
    from classrob.parts import Dataset, Trainable
    from classrob.training.course import Course, Trained

#: How the learning rate goes, and what the field says of it.
Schedule = Literal["one-cycle", "constant", "cosine", "drops"]
SCHEDULE = "how the rate goes: up and down to 0, as it is, down to 0, by `drops`"


@dataclass(frozen=True)
class Step:
    """What a recipe sees of one step.

    Attributes:
        module: the network, in train mode.
        images: float32 [n, c, h, w] in [0, 1], augmented.
        labels: int64 [n].
        draws: whatever is drawn at random is drawn from it, on the CPU; checkpoints keep its state.
        epoch: how many epochs have passed, with the share of this one.
        memory: numbers by name that the recipe keeps from step to step. Checkpoints keep them, and curves
            show what they are at each epoch's end.
    """

    module: nn.Module
    images: Tensor
    labels: Tensor
    draws: torch.Generator
    epoch: float
    memory: dict[str, float]


class GradientRecipe(Recipe):
    """A recipe that says by `loss` what is descended; the optimiser, checkpoints and curves are the framework's."""

    epochs: int = Field(default=20, ge=1, description="passes over the data")
    batch: int = Field(default=64, ge=1, description="images a step")
    lr: float = Field(default=0.004, gt=0, description="the highest learning rate")
    schedule: Literal["one-cycle", "constant", "cosine", "drops"] = Field(
        default="one-cycle",
        description="how the rate goes: up and down to 0, as it is, down to 0, by `drops`",
    )
    drops: tuple[float, ...] = Field(
        default=(), description="with `drops`: the epochs from which on the rate is a tenth"
    )
    optimizer: Literal["adamw", "sgd"] = Field(default="adamw", description="AdamW, or SGD with momentum")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of SGD; `one-cycle` moves it")
    weight_decay: float = Field(default=0.0005, ge=0, description="of the optimiser")
    augment: tuple[Literal["flip", "crop"], ...] = Field(
        default=(), description="`flip`: mirrored half the time; `crop`: moved by up to an eighth of the side"
    )
    seed: int = Field(
        default=0, ge=0, description="of the first weights, of the order of the images, of all that is drawn"
    )

    def ingredients(self) -> Mapping[str, str]:
        """PyTorch's version, whose kernels decide the last bits."""
        return {"torch": version("torch")}

    def adapt(self, model: Trainable) -> Trainable:
        """The part as the recipe needs it, before its first weights are drawn; the default leaves it as it is.

        Raises:
            StudyError: the recipe cannot train such a part.
        """
        return model

    @abstractmethod
    def loss(self, step: Step) -> Tensor:
        """What is descended in this step: a scalar, differentiable in the weights."""

    def held(self, network: Classifier | Decoder, images: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """What is measured, after each epoch, of images that are kept apart: by name, a number an image [n].

        The default is `loss`, the cross-entropy, and `accuracy`; of a generator it is `error`, how far off it
        makes an image again of the code that it gives it (root mean square).
        """
        if isinstance(network, Decoder):
            return {"error": network.error(images, labels)}
        logits = network(images)
        right = (logits.argmax(1) == labels).float()
        return {"loss": cross_entropy(logits, labels, reduction="none"), "accuracy": right}

    def train(self, model: Trainable, dataset: Dataset, course: Course) -> Trained:
        """A network trained on all samples, by the framework's loop.

        Raises:
            StudyError: an image cannot be read, or model and data do not suit each other.
            ClassrobError: the loss is no longer finite.
        """
        return trained(self, model, dataset, course)
