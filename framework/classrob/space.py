"""The search space that a threat opens around each image of a batch.

A space is a set of images, parametrised by z: one row of z a sample, one budget a sample. An attack
that only needs gradients works in any of them without knowing which it is in.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import torch
from torch import Tensor

from classrob.streams import Streams

if TYPE_CHECKING:
    from classrob.live import Classifier

#: So many numbers are at work at a time on each thread, where there is a cache for them to stay in.
CACHED = 1_600_000
#: What a step has at work: z, its slope, both ends of the ball in the box, and what comes out of them.
AT_WORK = 8


@dataclasses.dataclass(frozen=True)
class Space(ABC):
    """The images within `budget` of each centre; subclasses are frozen dataclasses.

    Every tensor field has the samples as its first dimension, so that rows can be selected; a field may also
    be a tuple of spaces, of which the same rows are.

    Attributes:
        budget: float32 [n], the largest distance allowed to each sample, in the threat's own unit.
    """

    budget: Tensor

    #: The range of the rendered pixels; what lies beyond is cut off by the judge.
    box: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @abstractmethod
    def centre(self) -> Tensor:
        """z of the unperturbed images, [n, …]."""

    @abstractmethod
    def start(self, streams: Streams) -> Tensor:
        """A random point within the budget, [n, …]."""

    @abstractmethod
    def project(self, z: Tensor) -> Tensor:
        """The points of the space nearest to z; one inside stays, or goes to one that renders the same image."""

    @abstractmethod
    def render(self, z: Tensor) -> Tensor:
        """The images of z: float32 [n, c, h, w] in [0, 1], differentiable in z."""

    @abstractmethod
    def distance(self, z: Tensor) -> Tensor:
        """How far each z is from its centre, [n]; inside, it is not above the budget."""

    @abstractmethod
    def steepest(self, slope: Tensor) -> Tensor:
        """The direction of distance 1 that climbs fastest along `slope`; 0 where the slope is 0."""

    def project_(self, z: Tensor) -> Tensor:
        """`project` where nobody needs z any more: what is returned may lie in its memory."""
        return self.project(z)

    @final
    @torch.no_grad()
    def move(self, z: Tensor, slope: Tensor, length: float | Tensor, out: Tensor | None = None) -> Tensor:
        """z moved uphill along `slope` by `length` budgets (a number, or [n]), then projected.

        `out`, like z, is where the result will lie, if anywhere in particular.
        """
        step = (self.budget * length).reshape(-1, *[1] * (z.ndim - 1))
        moved = torch.empty_like(z) if out is None else out
        for rows, part in self.parts():
            place = moved[rows]
            settle(
                place,
                part.project_(torch.addcmul(z[rows], step[rows], part.steepest(slope[rows]), out=place)),
            )
        return moved

    @final
    def parts(self, tensors: int = AT_WORK) -> list[tuple[slice, Self]]:
        """The space a few rows at a time: on a processor, what is computed step by step stays in its cache.

        `tensors` is how many tensors like z there are at work at a time.
        """
        if tensors not in self._parts:
            n, rows = len(self.budget), len(self.budget)
            if self.budget.device.type == "cpu":
                one = self.select(slice(0, 1)).centre().numel()
                rows = max(1, torch.get_num_threads() * CACHED // max(1, tensors * one))
            pieces = [slice(i, i + rows) for i in range(0, n, max(1, rows))]
            self._parts[tensors] = (
                [(slice(0, n), self)] if len(pieces) < 2 else [(one, self.select(one)) for one in pieces]
            )
        return self._parts[tensors]

    @cached_property
    def _parts(self) -> dict[int, list[tuple[slice, Self]]]:
        return {}

    @final
    def shrink(self, z: Tensor, share: Tensor) -> Tensor:
        """z drawn towards its centre, so that `share` [n] of the way remains."""
        centre = self.centre()
        return centre + share.reshape(-1, *[1] * (z.ndim - 1)) * (z - centre)

    @final
    def at(self, budget: Tensor) -> Self:
        """The same space with other budgets, [n]."""
        return dataclasses.replace(self, budget=budget)

    @final
    def select(self, index: Tensor | slice) -> Self:
        """The space of some rows; `index` is int64 (rows may repeat), bool, or a slice, which copies nothing."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        rows = {k: _selected(v, index) for k, v in fields.items() if isinstance(v, Tensor | tuple)}
        return dataclasses.replace(self, **rows)


def settle(place: Tensor, value: Tensor) -> None:
    """Bring a value to its place, unless it lies there already."""
    if value.data_ptr() != place.data_ptr():
        place.copy_(value)


def _selected(value: Any, index: Tensor | slice) -> Any:
    """Some rows of a tensor, or of every space in a tuple; another tuple as it is."""
    if isinstance(value, tuple):
        return tuple(one.select(index) if isinstance(one, Space) else one for one in value)
    return value[index]


@dataclasses.dataclass(frozen=True)
class Keyed(Space):
    """Images that are drawn, at a strength that is the budget; z is the key of a draw, int64 [n, 1].

    There is nothing to climb. What can be searched is other keys: `start` draws one.

    Attributes:
        key: int64 [n, 1], each image's own.
    """

    key: Tensor

    def centre(self) -> Tensor:
        """The image's own key."""
        return self.key

    def start(self, streams: Streams) -> Tensor:
        """Another key."""
        return streams.bits(1)

    def project(self, z: Tensor) -> Tensor:
        """Every key is one of the space's."""
        return z

    def distance(self, z: Tensor) -> Tensor:
        """The strength."""
        return self.budget.clone()

    def steepest(self, slope: Tensor) -> Tensor:
        """Nowhere: a key is no direction."""
        return torch.zeros_like(slope)


class Telling(Space):
    """A space that tells more of a point than its distance; kept beside the verdicts, like what probes record."""

    @abstractmethod
    def tell(self, classifier: Classifier, z: Tensor) -> Mapping[str, Tensor]:
        """Columns by name, float32 [n] or [n, d], finite, of judged points z; the names are always the same."""
