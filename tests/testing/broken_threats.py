"""Threats whose spaces break one promise each, and one that keeps all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from classrob import Space, Threat

from .broken import Breaks, also


def rows(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1)


@dataclass(frozen=True)
class HonestSpace(Space):
    """The ℓ∞ ball without regard to the box, which rendering cuts to."""

    images: Tensor

    def centre(self):
        return torch.zeros_like(self.images)

    def start(self, streams):
        return rows(self.budget) * (1.0 - 2.0 * streams.uniform(*self.images.shape[1:]))

    def project(self, z):
        return z.clamp(-rows(self.budget), rows(self.budget))

    def render(self, z):
        return (self.images + z).clamp(0.0, 1.0)

    def distance(self, z):
        return z.flatten(1).abs().amax(1)

    def steepest(self, slope):
        return slope.sign()


class Honest(Threat):
    """The ℓ∞ ball."""

    pixels: ClassVar[bool] = True

    def open(self, batch, classifier, streams) -> Space:
        return self.space(batch.images.new_full((len(batch),), self.budgets[-1]), batch.images)

    def space(self, budget: Tensor, images: Tensor) -> Space:
        return HonestSpace(budget, images)


class NeverThere(HonestSpace):
    def distance(self, z):
        return super().distance(z).clamp_min(1e-3)


class MovesTheCentre(HonestSpace):
    def centre(self):
        return torch.full_like(self.images, 1e-3)


class Overshoots(HonestSpace):
    def project(self, z):
        return z.clamp(-1.01 * rows(self.budget), 1.01 * rows(self.budget))


@dataclass(frozen=True)
class ForgetsAt(HonestSpace):
    limit: Tensor

    def project(self, z):
        return z.clamp(-rows(self.limit), rows(self.limit))


class Creeps(HonestSpace):
    def start(self, streams):
        return 0.5 * super().start(streams)

    def project(self, z):
        length = self.distance(z)
        edge = (length >= 0.999 * self.budget) & (length <= 1.001 * self.budget)
        return torch.where(rows(edge), 0.9 * z, super().project(z))


class Tugs(HonestSpace):
    def project(self, z):
        inside = self.distance(z) < 0.99 * self.budget
        return torch.where(rows(inside), 0.5 * z, super().project(z))


class StartsOutside(HonestSpace):
    def start(self, streams):
        return 2.0 * super().start(streams)


class StartsAnywhere(HonestSpace):
    def start(self, streams):
        return super().start(streams) * torch.rand(())


class Overexposes(HonestSpace):
    def render(self, z):
        return self.images + z


class HalfAnOffset(HonestSpace):
    def render(self, z):
        return (self.images + 0.5 * z).clamp(0.0, 1.0)


class LongSteps(HonestSpace):
    def steepest(self, slope):
        return 2.0 * slope.sign()


class Downhill(HonestSpace):
    def steepest(self, slope):
        return -slope.sign()


class Restless(HonestSpace):
    def steepest(self, slope):
        return torch.where(slope >= 0, 1.0, -1.0)


class Underflows(HonestSpace):
    def distance(self, z):
        return z.flatten(1).norm(dim=1)

    def project(self, z):
        return z * rows((self.budget / self.distance(z).clamp_min(1e-20)).clamp(max=1.0))

    def start(self, streams):
        return self.project(super().start(streams))

    def steepest(self, slope):
        return slope / rows(slope.square().flatten(1).sum(1).add(1e-12).sqrt())


@dataclass(frozen=True)
class Numbered(HonestSpace):
    numbers: tuple[int, ...]

    def render(self, z):
        factor = torch.tensor([1.0 - 0.01 * n for n in self.numbers])[: len(z)]
        return (rows(factor) * (self.images + z)).clamp(0.0, 1.0)


class Unequal(HonestSpace):
    def render(self, z):
        return ((self.images + z) * (1.0 + rows(self.budget))).clamp(0.0, 1.0)


class InPlace(HonestSpace):
    def project(self, z):
        return z.clamp_(-rows(self.budget), rows(self.budget))


@dataclass(frozen=True)
class Toned(HonestSpace):
    tone: Tensor

    def render(self, z):
        return (self.images + z - rows(self.tone)).clamp(0.0, 1.0)


def _threat(of: type[Space], pixels: bool = True, *rest) -> type[Threat]:
    class Broken(Honest):
        """The ℓ∞ ball, somehow wrong."""

        def space(self, budget, images):
            return of(budget, images, *(make(budget, images) for make in rest))

    Broken.pixels = pixels
    Broken.__name__ = of.__name__
    return Broken


def _breaks(of: type[Space], *and_: str, pixels: bool = True, rest: tuple = ()) -> Breaks:
    return Breaks("threat", _threat(of, pixels, *rest), also(*and_))


BROKEN = {
    "includes_the_image": [_breaks(NeverThere), _breaks(MovesTheCentre, "climbs_along_the_slope")],
    "projects_inside": [
        _breaks(Overshoots),
        _breaks(ForgetsAt, rest=(lambda budget, images: budget,)),
    ],
    "projects_once": [_breaks(Creeps)],
    "leaves_inside_points_alone": [_breaks(Tugs, "projects_once", "nests_its_budgets")],
    "starts_inside": [
        _breaks(StartsOutside),
        _breaks(StartsAnywhere, "treats_each_row_alone"),
    ],
    "renders_images": [_breaks(Overexposes, pixels=False)],
    "offsets_pixels_where_it_says_so": [_breaks(HalfAnOffset)],
    "climbs_along_the_slope": [
        _breaks(LongSteps),
        _breaks(Downhill),
        _breaks(Restless),
        _breaks(Underflows),
    ],
    "selects_rows": [
        _breaks(
            Numbered,
            "treats_each_row_alone",
            pixels=False,
            rest=(lambda budget, images: tuple(range(len(images))),),
        )
    ],
    "treats_each_row_alone": [
        _breaks(Toned, pixels=False, rest=(lambda budget, images: 0.1 * images.mean() + 0.0 * budget,))
    ],
    "nests_its_budgets": [_breaks(Unequal, pixels=False)],
    "leaves_the_batch_alone": [_breaks(InPlace)],
}
