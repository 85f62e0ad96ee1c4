"""A small network that learns to tell reference from outliers by vectors of numbers over many orders of magnitude."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self, final

import torch
from torch import Tensor

from classrob.streams import Streams

#: Added before the logarithm: a squared norm of 0 stays finite.
TINY = 1e-12

#: Steps of Adam, all rows at a time, its step size, and the weight decay.
STEPS, RATE, DECAY = 400, 0.01, 1e-4


@final
@dataclass(frozen=True)
class TwoLayers:
    """Linear, ReLU, linear: the logit [n] of being an outlier, of the standardised logarithms of features [n, p]."""

    mean: Tensor
    scale: Tensor
    weights: tuple[Tensor, Tensor, Tensor, Tensor]

    @classmethod
    def fitted(cls, inside: Tensor, outside: Tensor, hidden: int, seed: int) -> Self:
        """Trained on features of the reference and of outliers, each side with half of the weight.

        Adam on all rows at a time; weights begin at draws of the seed, so that the same rows give the same network.
        """
        x = torch.cat([inside, outside]).double().add(TINY).log()
        mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
        x = ((x - mean) / scale).float()
        y = torch.cat([x.new_zeros(len(inside)), x.new_ones(len(outside))])
        share = torch.where(y > 0, 0.5 / len(outside), 0.5 / len(inside))
        weights = _drawn(x.shape[1], hidden, seed, x.device)
        moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
        with torch.enable_grad():
            for step in range(1, STEPS + 1):
                weights = [w.detach().requires_grad_() for w in weights]
                loss = (share * torch.nn.functional.softplus((1 - 2 * y) * _forward(x, weights))).sum()
                slopes = torch.autograd.grad(loss, weights)
                rate = RATE * 0.5 * (1 + math.cos(math.pi * step / STEPS))
                weights = [_adam(*item, step, rate) for item in zip(weights, slopes, moments, strict=True)]
        first, second, third, fourth = (w.detach() for w in weights)
        return cls(mean, scale, (first, second, third, fourth))

    def __call__(self, features: Tensor) -> Tensor:
        """The logit [n]."""
        x = ((features.double().add(TINY).log() - self.mean) / self.scale).float()
        return _forward(x, list(self.weights))


def _forward(x: Tensor, weights: list[Tensor]) -> Tensor:
    first, bias, second, last = weights
    return (x @ first + bias).relu() @ second + last


def _drawn(width: int, hidden: int, seed: int, device: torch.device) -> list[Tensor]:
    """Weights of the variance that keeps that of the layer before."""
    streams = Streams.keyed(seed, "two layers", ["first", "second"], "").to(device)
    first = streams.select(torch.tensor([0])).normal(width, hidden)[0] * (2.0 / width) ** 0.5
    second = streams.select(torch.tensor([1])).normal(hidden)[0] * (1.0 / hidden) ** 0.5
    return [first, first.new_zeros(hidden), second, first.new_zeros(())]


def _adam(weight: Tensor, slope: Tensor, moments: tuple[Tensor, Tensor], step: int, rate: float) -> Tensor:
    """One step of Adam (Kingma and Ba, 2015) with decay of the weight itself; the moments are updated in place."""
    mean, square = moments
    mean.mul_(0.9).add_(slope, alpha=0.1)
    square.mul_(0.999).addcmul_(slope, slope, value=0.001)
    move = (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
    return weight.detach() * (1 - rate * DECAY) - rate * move
