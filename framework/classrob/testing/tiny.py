"""Models and data sets that take milliseconds; the kit names them by this file's path, as a study would."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
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

#: The four classes are the quarter of the image that is bright.
CLASSES = ("north-west", "north-east", "south-west", "south-east")
SIDE = 8


@final
class Quarters(Dataset):
    """Grey 8×8 images with one bright quarter, which is the class."""

    size: int = Field(default=120, ge=1, description="how many samples there are")
    seconds: float = Field(default=0.0, ge=0, description="how long reading an image takes")
    diary: Path | None = Field(
        default=None, description="a folder that gets a file for every image that is read"
    )

    def open(self) -> Samples:
        """All samples."""
        return QuarterSamples(self.size, self.seconds, self.diary)


@final
@dataclass
class QuarterSamples(Samples):
    """Samples that are drawn when they are read."""

    size: int
    seconds: float
    diary: Path | None

    classes = CLASSES

    def __len__(self) -> int:
        return self.size

    def id(self, index: int) -> str:
        """The position."""
        return f"quarters/{index}"

    def label(self, index: int) -> int:
        """The quarters in turn."""
        return index % len(CLASSES)

    def picture(self, index: int) -> Picture:
        """float32 [8, 8] in [0, 1]."""
        time.sleep(self.seconds)
        if self.diary is not None:
            (self.diary / str(index)).touch()
        image = 0.4 * np.random.default_rng(index).random((SIDE, SIDE), dtype=np.float32)
        top, left = (SIDE // 2 * part for part in divmod(self.label(index), 2))
        image[top : top + SIDE // 2, left : left + SIDE // 2] += 0.6
        return image


@final
class Brightest(Model):
    """The mean brightness of each quarter, times ten."""

    def load(self, device: str) -> Classifier:
        """A network of one pooling layer."""
        module = nn.Sequential(nn.AvgPool2d(SIDE // 2), nn.Flatten(), nn.Linear(4, 4, bias=False))
        with torch.no_grad():
            module[2].weight.copy_(10.0 * torch.eye(4))  # pyright: ignore[reportCallIssue, reportArgumentType]
        return Classifier(module.to(device), fit=Fit((SIDE, SIDE), 1), device=device)


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
