"""The images that a generator makes of codes within a budget of a centre."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from classrob.decoder import Decoder
from classrob.live import Classifier
from classrob.space import Telling
from classrob.streams import Streams
from classrob_latent.codes import fitted


def scaled(z: Tensor) -> Tensor:
    """‖z‖₂ / √(numbers of z), [n]: 1 on average for a code of the prior."""
    flat = z.flatten(1)
    return flat.norm(dim=1) / math.sqrt(flat.shape[1])


@final
@dataclass(frozen=True)
class CodeBall(Telling):
    """Codes whose scaled norm from the decayed code is within the budget.

    Attributes:
        images: the images that were measured, float32 [n, c, h, w].
        labels: int64 [n].
        code: the codes of the images, [n, …].
        error: how far the codes' images are off, [n]; see `codes.Codes`.
        drawn: bool [n], the images were made of these codes.
        shrunk: what decay leaves of a code, between 0 and 1.
        tolerance: a code whose image is further off than this share of the image's own spread is poor.
    """

    images: Tensor
    labels: Tensor
    code: Tensor
    error: Tensor
    drawn: Tensor
    decoder: Decoder
    shrunk: float
    tolerance: float

    def centre(self) -> Tensor:
        """The decayed code."""
        return self.shrunk * self.code

    def start(self, streams: Streams) -> Tensor:
        """A direction uniform on the sphere, a radius uniform up to the budget: the paper's start."""
        direction = streams.fork("direction").normal(*self.code.shape[1:])
        radius = self.budget * streams.fork("radius").uniform(1)[:, 0]
        return self.project(self.centre() + self._rows(radius) * self.steepest(direction))

    def project(self, z: Tensor) -> Tensor:
        """Radially into the ball."""
        centre = self.centre()
        shift = z - centre
        share = self.budget / scaled(shift).clamp_min(1e-20)
        return torch.where(self._rows(share >= 1.0), z, centre + self._rows(share) * shift)

    def render(self, z: Tensor) -> Tensor:
        """The images of codes."""
        return fitted(self.decoder(z, self.labels), tuple(self.images.shape[1:]))

    def distance(self, z: Tensor) -> Tensor:
        """The scaled norm of the shift."""
        return scaled(z - self.centre())

    def steepest(self, slope: Tensor) -> Tensor:
        """The slope at scaled norm 1; brought near 1 first, so that tiny slopes do not underflow."""
        peak = self._rows(slope.flatten(1).abs().amax(1))
        near = slope / peak.where(peak > 0, 1.0)
        return near / self._rows(scaled(near).clamp_min(1e-20))

    @torch.no_grad()
    def tell(self, classifier: Classifier, z: Tensor) -> Mapping[str, Tensor]:
        """What the metrics of latent space read; pixels are in [0, 1].

        `latent-drawn` 1 where the code is the image's own, 0 where it was encoded; `latent-error` how far its
        image is off, `latent-poor` 1 where that is too far; `latent-source` and `latent-decayed`, the classes that
        the model sees in the images of the code and of the decayed code; `latent-gain`, how much longer than the
        decayed code z is (scaled norm); `latent-l2`, `latent-l1`, `latent-linf`, the difference of the images of
        z and of the decayed code (scaled norm, mean, largest); `latent-tail`, where there is a prior, the share of
        its codes that are less likely than z.
        """
        decayed, here = self.render(self.centre()), self.render(z)
        apart = (here - decayed).flatten(1)
        source = fitted(self.decoder(self.code, self.labels), tuple(self.images.shape[1:]))
        spread = self.images.flatten(1).std(1, correction=0)
        told = {
            "latent-drawn": self.drawn,
            "latent-error": self.error,
            "latent-poor": self.error > self.tolerance * spread,
            "latent-source": classifier(source).argmax(1),
            "latent-decayed": classifier(decayed).argmax(1),
            "latent-gain": scaled(z) - scaled(self.centre()),
            "latent-l2": apart.norm(dim=1) / math.sqrt(apart.shape[1]),
            "latent-l1": apart.abs().mean(1),
            "latent-linf": apart.abs().amax(1),
        }
        if self.decoder.prior:
            flat = z.flatten(1)
            half = torch.full_like(flat[:, 0], flat.shape[1] / 2)
            told["latent-tail"] = torch.special.gammaincc(half, flat.square().sum(1) / 2)
        return {name: column.float() for name, column in told.items()}

    def _rows(self, values: Tensor) -> Tensor:
        """Numbers [n] in a shape that broadcasts over codes."""
        return values.reshape(-1, *[1] * (self.code.ndim - 1))
