"""A network to be trained, and images of another kind than the others: what recipes are tried on."""

from __future__ import annotations

from typing import ClassVar, Self, final

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import nn

from classrob.fields import File
from classrob.images import Fit, Picture
from classrob.live import Classifier, Samples
from classrob.parts import Dataset, Model
from classrob.testing.tiny import CLASSES, SIDE


@final
class Halves(Dataset):
    """Colour images 6×10 with one bright half, left or right, which is the class."""

    def open(self) -> Samples:
        """Forty samples."""
        return HalfSamples()


@final
class HalfSamples(Samples):
    """Samples that are drawn when they are read."""

    classes = ("left", "right")

    def __len__(self) -> int:
        return 40

    def id(self, index: int) -> str:
        """The position."""
        return f"halves/{index}"

    def label(self, index: int) -> int:
        """The halves in turn."""
        return index % 2

    def picture(self, index: int) -> Picture:
        """float32 [6, 10, 3] in [0, 1]."""
        image = 0.4 * np.random.default_rng(index).random((6, 10, 3), dtype=np.float32)
        left = 5 * self.label(index)
        image[:, left : left + 5] += 0.6
        return image


@final
class Pupil(Model):
    """A convolution, a ReLU and a linear layer, to be trained."""

    channels: int = Field(default=1, ge=1, description="of the images")
    height: int = Field(default=SIDE, ge=1, description="of the images")
    width: int = Field(default=SIDE, ge=1, description="of the images")
    classes: int = Field(default=len(CLASSES), ge=2, description="how many")
    seed: int = Field(default=0, ge=0, description="of the first weights")
    weights: File | None = Field(default=None, description="the .safetensors file")
    rectifier: str = Field(default="relu", description="`relu`, or `softplus` for any other word")

    weights_in: ClassVar[str | None] = "weights"

    def suited(self, shape: tuple[int, int, int], classes: int, seed: int) -> Self:
        """For such images, so many classes, and weights from the seed."""
        names = ("channels", "height", "width", "classes", "seed")
        return self.model_copy(update=dict(zip(names, (*shape, classes, seed), strict=True)))

    def load(self, device: str) -> Classifier:
        """The network."""
        features = 8 * -(-self.height // 2) * -(-self.width // 2)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            module = nn.Sequential(
                nn.Conv2d(self.channels, 8, 3, stride=2, padding=1),
                nn.ReLU() if self.rectifier == "relu" else nn.Softplus(8.0),
                nn.Flatten(),
                nn.Linear(features, self.classes),
            )
        if self.weights is not None:
            module.load_state_dict(load_file(self.weights))
        fit = Fit((self.height, self.width), self.channels)
        return Classifier(module.to(device), fit=fit, device=device)
