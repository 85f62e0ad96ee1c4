"""The rule of convolutions in one, two and three dimensions, transposed ones too: any stride, dilation, groups.

Each sample's gradient of the weight is a product of the windows that the kernel slid over with the gradient at
every position. Which of three ways to its norm is cheapest depends on the number of positions and channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.nn import functional as F

from classrob_detectors.norms.graph import shape_at
from classrob_detectors.norms.layout import Layout
from classrob_detectors.norms.paths import spread
from classrob_detectors.norms.term import Dense, Term, dual, in_steps, norms_of

#: `dual`: products of windows with windows and of gradients with gradients, where positions are few.
#: `grouped`: one convolution's weight gradient in which every sample is a group of channels of its own.
#: `windows`: the windows laid out, times the gradient.
Way = Literal["dual", "grouped", "windows"]


def convolution(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
    """The term of a convolution's weight or bias."""
    if layout.dim != 0:
        return None
    edge = node.next_functions[operand]
    if operand == 2:
        found = spread(edge, gradient.flatten(2).sum(2), layout, n, shape_at(edge))
        return None if found is None else Dense(found[1], found[0])
    if operand == 0:
        return None
    slid, at = layout.split(node._saved_input, n).flatten(1, 2), layout.split(gradient, n).flatten(1, 2)
    shape, padding = tuple(shape_at(edge)), tuple(node._saved_padding)
    if node._saved_transposed:  # the adjoint of a convolution: what comes in and what comes out change places
        slid, at = at, slid
        if any(node._saved_output_padding):  # lies beyond the last window
            slid, padding = _reached(slid, at, node, shape), (0,) * len(padding)
    stride, dilation = tuple(node._saved_stride), tuple(node._saved_dilation)
    return Convolution(edge, slid, at, shape, stride, padding, dilation, node._saved_groups)


def _reached(slid: Tensor, at: Tensor, node: Any, shape: Sequence[int]) -> Tensor:
    """`slid` with its padding, as far as windows reach."""
    slid = F.pad(slid, [p for p in reversed(node._saved_padding) for _ in range(2)])
    steps = zip(node._saved_stride, node._saved_dilation, shape[2:], strict=True)
    for dim, (stride, dilation, kernel) in enumerate(steps, 3):
        slid = slid.narrow(dim, 0, (at.shape[dim] - 1) * stride + dilation * (kernel - 1) + 1)
    return slid


@final
@dataclass(frozen=True)
class Convolution(Term):
    """The gradient of a weight [o, c / groups, …] that slid over `slid` [n, images, c, …].

    `gradient` [n, images, o, …] is that of the result; a sample may be several images.
    """

    slid: Tensor
    gradient: Tensor
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def squared(self) -> Tensor:
        """The cheapest way, so many samples at a time as there is room for."""
        n = len(self.slid)
        each = self._room() if self.way == "dual" else self._room() + math.prod(self.shape)
        return in_steps(n, each, self._norms)

    def gradients(self, first: int, last: int) -> Tensor:
        """Multiplied out, [last - first, o, c / groups, …]."""
        part = slice(first, last)
        return self._grouped(part) if self.way == "grouped" else self._multiplied(part)

    @property
    def way(self) -> Way:
        """The cheapest way to the norms."""
        outputs, inputs = self.shape[0] // self.groups, math.prod(self.shape[1:])
        positions = self.gradient.shape[1] * math.prod(self.gradient.shape[3:])
        if positions * (inputs + outputs) < inputs * outputs:
            return "dual"
        single = self.slid.shape[1] == 1 and self.slid.device.type == "cpu"
        return "grouped" if single and math.prod(self.shape[2:]) > 1 else "windows"

    def _room(self) -> int:
        """Elements that one sample's windows take."""
        if self.way == "grouped":
            return 0
        positions = self.gradient.shape[1] * math.prod(self.gradient.shape[3:])
        room = positions * self.groups * math.prod(self.shape[1:])
        return room + 2 * self.groups * positions**2 if self.way == "dual" else room

    def _norms(self, part: slice) -> Tensor:
        if self.way == "grouped":
            return norms_of(self._grouped(part))
        if self.way == "windows":
            return norms_of(self._multiplied(part))
        windows, at = self._windows(part)
        return dual(windows.flatten(0, 1).mT, at.flatten(0, 1).mT).unflatten(0, (-1, self.groups)).sum(1)

    def _multiplied(self, part: slice) -> Tensor:
        windows, at = self._windows(part)
        return (at @ windows.mT).reshape(-1, *self.shape)

    def _windows(self, part: slice) -> tuple[Tensor, Tensor]:
        """Windows [m, groups, c / groups · kernel, positions] and gradients [m, groups, o / groups, positions]."""
        slid, at = self.slid[part], self.gradient[part]
        m, images, channels = slid.shape[:3]
        kernel, out = self.shape[2:], at.shape[3:]
        x = F.pad(slid.flatten(0, 1), [p for p in reversed(self.padding) for _ in range(2)])
        steps = x.stride()
        strides = [step * d for step, d in zip(steps[2:], self.dilation, strict=True)]
        strides += [step * s for step, s in zip(steps[2:], self.stride, strict=True)]
        seen = x.as_strided((m * images, channels, *kernel, *out), (*steps[:2], *strides), x.storage_offset())
        rows = math.prod(self.shape[1:])
        windows = _positions_last(seen.reshape(m, images, self.groups, rows, -1))
        return windows, _positions_last(at.reshape(m, images, self.groups, self.shape[0] // self.groups, -1))

    def _grouped(self, part: slice) -> Tensor:
        slid, at = self.slid[part], self.gradient[part]
        m = len(slid)
        weight = slid.new_empty(m * self.shape[0], *self.shape[1:])  # only its shape is read
        found: Sequence[Tensor] = torch.ops.aten.convolution_backward(
            at.reshape(1, m * self.shape[0], *at.shape[3:]),
            slid.reshape(1, -1, *slid.shape[3:]),
            weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            False,
            [0] * len(self.stride),
            m * self.groups,
            [False, True, False],
        )
        return found[1].reshape(m, *self.shape)


def _positions_last(x: Tensor) -> Tensor:
    """x [m, images, groups, rows, positions] as [m, groups, rows, images · positions]."""
    return x[:, 0] if x.shape[1] == 1 else x.permute(0, 2, 3, 1, 4).flatten(3)
