"""The rule of convolutions in one, two and three dimensions, transposed ones too: any stride, dilation, groups.

Each sample's gradient of the weight is a product of the windows that the kernel slid over with the gradient at
every position. Which of four ways to its norm is cheapest depends on the numbers of positions and channels; it is
chosen by these alone, so that the same module and images always take the same ways.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.nn import functional as F

from classrob_detectors.norms.graph import shape_at
from classrob_detectors.norms.layout import Layout
from classrob_detectors.norms.paths import spread
from classrob_detectors.norms.sliding import ELEMENT, Sliding
from classrob_detectors.norms.term import Dense, Term, in_steps, inner, norms_of, products

#: `pixels`: products of windows with windows, from those of pixels, times products of gradients with gradients.
#: `dual`: the same, with the windows laid out: where pixels are many and positions few.
#: `grouped`: one convolution's weight gradient in which every sample is a group of channels of its own.
#: `windows`: the windows laid out, times the gradient.
Way = Literal["pixels", "dual", "grouped", "windows"]

#: Multiplications and additions that take as long as laying out an element of the windows, or as what a processor's
#: convolution does with an element of its operands and of the weight before and after it multiplies.
LAID_OUT, TAKEN, GIVEN = 8, 16, 10


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
        ways: dict[Way, Callable[[slice], Tensor]] = {
            "pixels": self._by_pixels,
            "dual": self._by_windows,
            "grouped": lambda part: norms_of(self._grouped(part)),
            "windows": lambda part: norms_of(self._multiplied(part)),
        }
        way = self.way
        return in_steps(len(self.slid), self._room(way), ways[way], self.slid.device)

    def gradients(self, first: int, last: int) -> Tensor:
        """Multiplied out, [last - first, o, c / groups, …]."""
        part = slice(first, last)
        if self.way == "grouped":
            return self._grouped(part)
        found, channels, kernel = self._multiplied(part), self.shape[1], self.shape[2:]
        if self._innermost:
            found = found.unflatten(3, (*kernel, channels)).movedim(-1, 3)
        return found.reshape(-1, *self.shape)

    @property
    def way(self) -> Way:
        """The cheapest way to the norms, by a count of multiplications and additions."""
        inputs, outputs, stops = math.prod(self.shape[1:]), self.shape[0] // self.groups, self._positions
        pixels = self.slid.shape[1] * math.prod(self.slid.shape[3:])
        taken = (self.slid[0].numel() + self.gradient[0].numel()) // self.groups
        costs: dict[Way, int] = {
            "pixels": pixels**2 * self.slid.shape[2] // self.groups
            + stops**2 * outputs
            + ELEMENT * (self._sliding.elements(self.slid.shape[1]) + 2 * stops**2),
            "dual": stops**2 * (inputs + outputs) + LAID_OUT * stops * inputs + ELEMENT * 2 * stops**2,
            "windows": stops * inputs * outputs + LAID_OUT * stops * inputs,
            "grouped": stops * inputs * outputs + TAKEN * taken + GIVEN * inputs * outputs,
        }
        if self.slid.shape[1] > 1 or self.slid.device.type != "cpu" or math.prod(self.shape[2:]) == 1:
            del costs["grouped"]
        return min(costs, key=costs.__getitem__)

    @property
    def _positions(self) -> int:
        """Places in a sample's images at which the kernel stops."""
        return self.gradient.shape[1] * math.prod(self.gradient.shape[3:])

    @property
    def _innermost(self) -> bool:
        """Do the channels of a pixel lie side by side?"""
        return self.slid.stride(2) == 1 and self.slid.shape[2] > 1

    @property
    def _sliding(self) -> Sliding:
        size, out = tuple(self.slid.shape[3:]), tuple(self.gradient.shape[3:])
        return Sliding(size, out, self.shape[2:], self.stride, self.padding, self.dilation)

    def _room(self, way: Way) -> int:
        """Elements that a sample takes on this way."""
        windows, products = self._positions * math.prod(self.shape[1:]), self._positions**2
        return {
            "pixels": 3 * self.groups * max(products, (self.slid[0].numel() // self.slid.shape[2]) ** 2),
            "dual": self.groups * (windows + 2 * products),
            "grouped": self.slid[0].numel() + self.gradient[0].numel() + math.prod(self.shape),
            "windows": self.groups * windows + math.prod(self.shape),
        }[way]

    def _by_pixels(self, part: slice) -> Tensor:
        slid, at = self._in_groups(self.slid[part]), self._in_groups(self.gradient[part])
        size = slid.shape[1:2] + slid.shape[4:]
        pixels = products(_positions_last(slid.flatten(4)).flatten(0, 1))
        windows = self._sliding.windows(pixels.unflatten(2, size).unflatten(1, size))
        return self._summed(
            windows.flatten(1), products(_positions_last(at.flatten(4)).flatten(0, 1)).flatten(1)
        )

    def _by_windows(self, part: slice) -> Tensor:
        windows, at = (products(x.flatten(0, 1)).flatten(1) for x in self._windows(part))
        return self._summed(windows, at)

    def _summed(self, windows: Tensor, gradients: Tensor) -> Tensor:
        """Norms [m] from products [m · groups, …] of windows and of gradients."""
        found = inner(windows, gradients).unflatten(0, (-1, self.groups)).sum(1)
        return found.clamp_min(0)  # below 0 by rounding alone

    def _multiplied(self, part: slice) -> Tensor:
        """Gradients [m, groups, o / groups, rows of a window]."""
        windows, at = self._windows(part)
        return at @ windows.mT

    def _windows(self, part: slice) -> tuple[Tensor, Tensor]:
        """Windows [m, groups, rows, positions] and gradients [m, groups, o / groups, positions].

        The rows are those of the weight, [c / groups, *kernel], or [*kernel, c / groups] where channels are
        innermost; in memory they are innermost then too, so that what lies together stays together.
        """
        slid, at = self.slid[part], self.gradient[part]
        m, images = slid.shape[:2]
        kernel, out = self.shape[2:], at.shape[3:]
        x = F.pad(slid.flatten(0, 1), [p for p in reversed(self.padding) for _ in range(2)])
        steps = x.stride()
        strides = (steps[0], steps[1] * self.shape[1], steps[1])
        strides += tuple(step * d for step, d in zip(steps[2:], self.dilation, strict=True))
        strides += tuple(step * s for step, s in zip(steps[2:], self.stride, strict=True))
        sizes = (m * images, self.groups, self.shape[1], *kernel, *out)
        seen = x.as_strided(sizes, strides, x.storage_offset())
        gradients = _positions_last(self._in_groups(at).flatten(4))
        if not self._innermost:
            return _positions_last(
                seen.reshape(m, images, self.groups, math.prod(self.shape[1:]), -1)
            ), gradients
        seen = seen.movedim(2, -1).movedim(
            tuple(range(2, 2 + len(kernel))), tuple(range(-1 - len(kernel), -1))
        )
        seen = seen.reshape(m, images, self.groups, -1, math.prod(self.shape[1:]))
        return _positions_last(seen.mT), gradients

    def _in_groups(self, x: Tensor) -> Tensor:
        """x [m, images, channels, …] as [m, images, groups, channels / groups, …]."""
        return x.unflatten(2, (self.groups, -1))

    def _grouped(self, part: slice) -> Tensor:
        slid, at = self.slid[part].contiguous(), self.gradient[part].contiguous()
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
