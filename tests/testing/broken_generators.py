"""Generators that break one promise each, and one that keeps all."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from classrob import Decoder, Generator

from .broken import Breaks

_serial = itertools.count()


class Rings(nn.Module):
    """Codes [n, 3] as the colours of a frame, by class."""

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        frame = torch.ones(3, 8, 8)
        frame[:, 2:6, 2:6] = 0.5
        return torch.sigmoid(codes[:, :, None, None] * frame + labels[:, None, None, None] - 1.0)


class Mean(nn.Module):
    """The mean of each colour as a code."""

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return images.mean((2, 3))


class Honest(Generator):
    """Rings, and means that encode."""

    def load(self, device: str) -> Decoder:
        return Decoder(self.decoding(), (3,), (3, 8, 8), 3, encoder=self.encoding())

    def decoding(self) -> nn.Module:
        return Rings()

    def encoding(self) -> nn.Module | None:
        return Mean()


class Of(nn.Module):
    """Whatever a function makes of the rings and what they were made of."""

    def __init__(self, change) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        inner = Rings() if x.ndim == 2 else Mean()
        return self.change(inner(x, labels), x)


class TooBright(Honest):
    """Pixels up to 255."""

    def decoding(self):
        return Of(lambda image, codes: 255.0 * image)


class NotFinite(Honest):
    """A pixel that is no number."""

    def decoding(self):
        return Of(lambda image, codes: image / (codes[:, :, None, None] * 0.0))


class Rounded(Honest):
    """Eight bits, which no slope comes through."""

    def decoding(self):
        return Of(lambda image, codes: image.mul(255).round().detach() / 255)


class Flat(Honest):
    """The code changes nothing."""

    def decoding(self):
        return Of(lambda image, codes: 0.0 * image + 0.5)


class Herd(Honest):
    """Subtracts the images' mean."""

    def decoding(self):
        return Of(lambda image, codes: (image - 0.3 * image.mean(0)).clamp(0.0, 1.0))


class NewEveryTime(Honest):
    """Weights that depend on how often it was loaded."""

    def decoding(self):
        share = 0.5 + 0.1 * (next(_serial) % 4)
        return Of(lambda image, codes: share * image)


class Draws(Honest):
    """Weights from torch's generator, which it puts back."""

    def decoding(self):
        with torch.random.fork_rng(devices=[]):
            share = 0.5 + 0.5 * float(torch.rand(()))
        return Of(lambda image, codes: share * image)


class HerdOfCodes(Honest):
    """An encoder that centres the codes of a batch."""

    def encoding(self):
        return Of(lambda code, image: code - code.mean(0))


class EncodesToNothing(Honest):
    """Codes that are no numbers."""

    def encoding(self):
        return Of(lambda code, image: code / 0.0 * 0.0)


class SeedsTorch(Honest):
    """Seeds the whole program."""

    def decoding(self):
        torch.manual_seed(0)
        return Rings()


class Paints(Honest):
    """Changes the codes that it was handed."""

    def decoding(self):
        def change(image: Tensor, codes: Tensor) -> Tensor:
            with torch.no_grad():
                codes.mul_(0.5)
            return image

        return Of(change)


BROKEN = {
    "makes_images": [
        Breaks("generator", TooBright),
        Breaks("generator", NotFinite, frozenset("*")),
    ],
    "follows_the_code": [Breaks("generator", Rounded), Breaks("generator", Flat)],
    "treats_each_image_alone": [Breaks("generator", Herd)],
    "repeats_itself": [Breaks("generator", NewEveryTime), Breaks("generator", Draws)],
    "encodes_images": [
        Breaks("generator", HerdOfCodes),
        Breaks("generator", EncodesToNothing),
    ],
    "leaves_no_trace": [
        Breaks("generator", SeedsTorch),
        Breaks("generator", Paints, frozenset("*")),
    ],
}
