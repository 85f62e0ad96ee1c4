"""The data set `noise`: images in which every pixel is drawn for itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from pydantic import Field

from classrob.images import Picture
from classrob.live import Samples
from classrob.parts import Dataset
from classrob.streams import Streams


@final
class Noise(Dataset):
    """Images of noise, of the size and channels of the images that they are compared with.

    `uniform` pixels are drawn from [0, 1], `gaussian` ones from a normal distribution of mean 0.5 and standard
    deviation 0.25, cut to [0, 1].
    """

    kind: Literal["uniform", "gaussian"] = Field(default="uniform", description="how pixels are drawn")
    size: tuple[int, int] = Field(default=(32, 32), description="height and width")
    channels: Literal[1, 3] = Field(default=3, description="1: grey, 3: colour")
    count: int = Field(default=1000, ge=1, description="how many images")
    seed: int = Field(default=0, ge=0, description="of the draws")

    def open(self) -> Samples:
        """All images; each is drawn when it is read."""
        return NoiseSamples(self)


@final
@dataclass
class NoiseSamples(Samples):
    """Noise, drawn image by image."""

    noise: Noise

    classes = ("uniform", "gaussian")

    def __len__(self) -> int:
        return self.noise.count

    def id(self, index: int) -> str:
        """The image's number."""
        return f"noise/{index}"

    def label(self, index: int) -> int:
        """The kind of noise."""
        return self.classes.index(self.noise.kind)

    def picture(self, index: int) -> Picture:
        """float32 [h, w, c] in [0, 1]."""
        noise = self.noise
        streams = Streams.keyed(noise.seed, f"noise/{noise.kind}", [str(index)], "")
        shape = (*noise.size, noise.channels)
        drawn = streams.uniform(*shape) if noise.kind == "uniform" else 0.5 + 0.25 * streams.normal(*shape)
        return np.asarray(drawn[0].clamp(0.0, 1.0))
