"""A small variational autoencoder of images and classes, and its training; enough for small images of any kind.

Kingma and Welling, "Auto-Encoding Variational Bayes" (ICLR 2014); the class goes into encoder and decoder, as in
Kingma et al., "Semi-supervised Learning with Deep Generative Models" (NeurIPS 2014).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Self, final

import click
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from classrob.tuning import limited


@dataclass(frozen=True)
class Schedule:
    """How a network is trained: Adam, its rate falling to 0 along half a cosine.

    `prior` is the weight of the codes' distance from the prior (β of Higgins et al., ICLR 2017).
    """

    steps: int
    batch: int
    rate: float
    seed: int
    prior: float


@final
class ClassVAE(nn.Module):
    """Images [n, c, h, w] in [0, 1] and labels to codes, and back, by two fully connected layers each."""

    def __init__(self, pixels: int, classes: int, code: int, hidden: int) -> None:
        super().__init__()
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

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> Self:
        """A network whose weights have the shapes of a saved one.

        Raises:
            KeyError, RuntimeError: the state is not of such a network.
        """
        hidden, pixels = state["seen.0.weight"].shape[0], state["made.4.weight"].shape[0]
        module = cls(
            pixels,
            state["seen.0.weight"].shape[1] - pixels,
            state["middle.weight"].shape[0] // 2,
            hidden,
        )
        module.load_state_dict(state)
        return module

    def encoded(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the codes, [n, code] each."""
        known = one_hot(labels, self.classes).to(images.dtype)
        both = self.middle(self.seen(torch.cat([images.flatten(1), known], 1)))
        mean, spread = both.chunk(2, 1)
        return mean, spread

    def logits(self, codes: Tensor, labels: Tensor) -> Tensor:
        """The pixels before the sigmoid, [n, pixels]."""
        return self.made(torch.cat([codes, one_hot(labels, self.classes).to(codes.dtype)], 1))


@final
class Encoding(nn.Module):
    """The mean code of images."""

    def __init__(self, net: ClassVAE) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Codes [n, code]."""
        return self.net.encoded(images, labels)[0]


@final
class Decoding(nn.Module):
    """The images of codes, [n, *shape] in [0, 1]."""

    def __init__(self, net: ClassVAE, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.net, self.shape = net, shape

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Images."""
        return self.net.logits(codes, labels).sigmoid().view(-1, *self.shape)


def fit(images: Tensor, labels: Tensor, classes: int, code: int, hidden: int, schedule: Schedule) -> ClassVAE:
    """A new network trained on all images, on one thread; torch's own generator is left alone."""
    draws = torch.Generator().manual_seed(schedule.seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(schedule.seed)
        net = ClassVAE(images[0].numel(), classes, code, hidden)
    optimizer = torch.optim.Adam(net.parameters(), schedule.rate)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, schedule.steps)
    shown = sys.stderr.isatty()
    bar = (
        click.progressbar(length=schedule.steps, label="fitting a generator", file=sys.stderr)
        if shown
        else nullcontext()
    )
    order = torch.empty(0, dtype=torch.int64)
    with bar as ticking, torch.enable_grad(), limited(1):
        for _ in range(schedule.steps):
            if len(order) < schedule.batch:
                order = torch.cat([order, torch.randperm(len(images), generator=draws)])
            rows, order = order[: schedule.batch], order[schedule.batch :]
            loss = _bound(net, images[rows], labels[rows], draws, schedule.prior)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            rate.step()
            if ticking is not None:
                ticking.update(1)
    return net.eval()


def _bound(net: ClassVAE, images: Tensor, labels: Tensor, draws: torch.Generator, prior: float) -> Tensor:
    """The negative evidence bound, a mean over images."""
    mean, spread = net.encoded(images, labels)
    codes = mean + (0.5 * spread).exp() * torch.randn(mean.shape, generator=draws)
    made = net.logits(codes, labels)
    off = binary_cross_entropy_with_logits(made, images.flatten(1), reduction="none").sum(1)
    far = 0.5 * (mean.square() + spread.exp() - 1.0 - spread).sum(1)
    return (off + prior * far).mean()
