"""The step of "Adversarial explanations …" (Woods, Chen and Teuscher, 2019): gradient-normalised, on a falling ramp.

One routine serves the attack, the explanations and the training of that paper: inside a condition the loss is
climbed, outside of it the way leads straight back to the image, in steps that shrink linearly.
"""

from __future__ import annotations

from torch import Tensor


def length(path: float, steps: int, step: int | Tensor) -> float | Tensor:
    """The length of a step, counted from 0: all of them sum to `path`; of 2 · path / (steps + 1) at first."""
    return path * (steps - step) / (steps * (steps + 1) / 2)


def rows(values: Tensor, z: Tensor) -> Tensor:
    """Per-row numbers [n] in a shape that broadcasts over z."""
    return values.reshape(-1, *[1] * (z.ndim - 1))


def unit(direction: Tensor) -> Tensor:
    """Directions [n, …] at a root mean square of 1; 0 stays 0."""
    square = direction.square().flatten(1).mean(1).clamp_min(1e-38)
    return direction / rows(1e-8 + square.sqrt(), direction)


def towards(follow: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """Where `follow` [n] says so along the slope, elsewhere straight back; at a root mean square of 1."""
    uphill = rows(follow, offset)
    return unit(uphill * slope - (~uphill) * offset)
