"""What the rows of a network carry back: linear functions of images, and what each loses on its way."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, final

import torch
from torch import Tensor

from classrob_lp.crown.supports import ROWS, Shares


class BySign(NamedTuple):
    """A factor that depends on a coefficient's sign: c · mean + |c| · lean."""

    mean: Tensor
    lean: Tensor

    @classmethod
    def of(cls, positive: Tensor, negative: Tensor) -> BySign:
        """The factors of positive coefficients and of negative ones."""
        return cls((positive + negative) / 2, (positive - negative) / 2)


@final
class Carried:
    """The functions that are on their way.

    Attributes:
        owner: int64 [ROWS], the image that each row belongs to.
        runs: an image, and the rows next to each other that are its.
        cut: the ReLUs before this one are closed: they give no more than the box of their values.
        shares: which functions share a row; None where each has one of its own.
        taken: what has been taken from every function, [ROWS], or of each kind [ROWS, kinds]; not positive.
    """

    def __init__(self, images: Tensor, cut: int = 0, shares: Shares | None = None) -> None:
        """The first rows belong to some images, [r]; the others idle along with the last of them."""
        self.cut, self.shares = cut, shares
        self.owner = torch.cat([images, images[-1:].expand(ROWS - len(images))])
        whose, lengths = self.owner.unique_consecutive(return_counts=True)
        ends = lengths.cumsum(0).tolist()
        self.runs = [(i, slice(*rows)) for i, rows in zip(whose.tolist(), pairwise([0, *ends]), strict=True)]
        self.taken = torch.zeros(ROWS, *(() if shares is None else shares.colour.shape), device=images.device)

    def take(self, values: Tensor) -> None:
        """Take some more, like `taken`."""
        self.taken = self.taken + values

    def times(self, slope: Tensor, size: Tensor, factor: BySign) -> Tensor:
        """Coefficients [ROWS, …] of some absolute size, each times the factor [n, …] of its image."""
        found = torch.empty_like(slope)
        for image, run in self.runs:
            torch.mul(slope[run], factor.mean[image], out=found[run]).addcmul_(size[run], factor.lean[image])
        return found

    def products(self, slope: Tensor, size: Tensor, factor: BySign, level: int | None) -> Tensor:
        """The inner products of functions with coefficients as in `times`, like `taken`; `level` as in `sums`."""
        slope, size = slope.flatten(1), size.flatten(1)
        mean, lean = factor.mean.flatten(1), factor.lean.flatten(1)
        if self.shares is not None:
            return self.sums(self.times(slope, size, BySign(mean, lean)), level)
        return torch.cat([slope[run] @ mean[image] + size[run] @ lean[image] for image, run in self.runs])

    def sums(self, values: Tensor, level: int | None) -> Tensor:
        """The sum of what every function has of [ROWS, …], like `taken`.

        They are of the inputs of the ReLU that `level` others are before; None: of pixels.
        """
        values = values.flatten(1)
        return values.sum(1) if self.shares is None else values @ self.shares.inside(level).to(values.dtype)
