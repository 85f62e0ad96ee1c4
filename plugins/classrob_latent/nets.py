"""A small variational autoencoder of images and classes; enough for small images of any kind.

Kingma and Welling, "Auto-Encoding Variational Bayes" (ICLR 2014); the class goes into encoder and decoder, as in
Kingma et al., "Semi-supervised Learning with Deep Generative Models" (NeurIPS 2014).
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot


@final
class ClassVAE(nn.Module):
    """Images [n, c, h, w] in [0, 1] and labels to codes, and back, by two fully connected layers each."""

    def __init__(self, shape: tuple[int, int, int], classes: int, code: int, hidden: int) -> None:
        super().__init__()
        self.shape, pixels = shape, math.prod(shape)
        self.classes = classes
        self.seen = nn.Sequential(
            nn.Linear(pixels + classes, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.middle = nn.Linear(hidden, 2 * code)
        self.made = nn.Sequential(
            nn.Linear(code + classes, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, pixels),
        )

    def encoded(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the codes, [n, code] each."""
        known = one_hot(labels, self.classes).to(images.dtype)
        both = self.middle(self.seen(torch.cat([images.flatten(1), known], 1)))
        mean, spread = both.chunk(2, 1)
        return mean, spread

    def logits(self, codes: Tensor, labels: Tensor) -> Tensor:
        """The pixels before the sigmoid, [n, pixels]."""
        return self.made(torch.cat([codes, one_hot(labels, self.classes).to(codes.dtype)], 1))

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        """The images of codes, [n, c, h, w] in [0, 1]."""
        return self.logits(codes, labels).sigmoid().view(-1, *self.shape)


@final
class Encoding(nn.Module):
    """The mean code of images."""

    def __init__(self, net: ClassVAE) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Codes [n, code]."""
        return self.net.encoded(images, labels)[0]
