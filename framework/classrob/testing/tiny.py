"""A model, a data set and a generator that take milliseconds; the kit names them by this file's path or its module."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from classrob.decoder import Decoder
from classrob.images import Fit, Picture
from classrob.live import Classifier, Samples
from classrob.parts import Dataset, Generator, Model

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


class _Tints(nn.Module):
    """Each code's numbers are the weights of waves, around the grey level of its class."""

    def __init__(self) -> None:
        super().__init__()
        at = torch.arange(SIDE) / SIDE * torch.pi
        rows, columns = torch.cos(at[:, None] * torch.arange(2)).T, torch.cos(at[:, None] * torch.arange(3)).T
        waves = (rows[:, None, :, None] * columns[None, :, None, :]).reshape(6, 1, SIDE, SIDE)
        self.register_buffer("waves", torch.cat([waves, waves.flip(3), waves.flip(2)], 1))

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        mixed = torch.einsum("nk,kchw->nchw", codes, self.get_buffer("waves"))
        return torch.sigmoid(mixed + 0.4 * (labels - 1.5)[:, None, None, None])


@final
class Tints(Generator):
    """Colour images of six waves: four classes, codes of six numbers."""

    def load(self, device: str) -> Decoder:
        """Waves without weights."""
        return Decoder(_Tints(), (6,), (3, SIDE, SIDE), 4).to(device)
