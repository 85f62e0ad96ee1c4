"""Convolutions whose gradient in what they are given goes ways that are faster on a processor than torch's.

The same products are summed in another order.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple, cast, final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from classrob.blocks import FEW, Kernels, image_slope

#: Blocks of pixels pay for `FEW` channels; for so many where a convolution leaves pixels out.
FEW_STRIDED = 8


@final
class LeanConvolutions(TorchFunctionMode):
    """Inside `with LeanConvolutions():` those that are given what requires a gradient pass it back faster.

    The values are untouched.

    Attributes:
        seen: how many such convolutions there were.
    """

    seen = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One call of the network."""
        kwargs = kwargs or {}
        if func is F.conv2d and (call := Convolution.of(*args, **kwargs)) and call.images.requires_grad:
            self.seen += 1
            return call.lean()
        return func(*args, **kwargs)


class Convolution(NamedTuple):
    """A call of conv2d with constant weights, whose gradient in the images has a faster way.

    `points`: it looks at single pixels, of which it leaves some out.
    """

    images: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    points: bool

    @classmethod
    def of(
        cls,
        input: Tensor,  # noqa: A002 (conv2d's own names, by which it may be called)
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: str | int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> Convolution | None:
        """Such a call; None where no way is faster."""
        channels, *kernel = weight.shape[1:]
        steps = _pair(stride)
        few = channels <= (FEW_STRIDED if min(steps) > 1 else FEW)
        sparse = kernel == [1, 1] and max(steps) > 1
        if not (few or sparse):  # as most are
            return None
        if input.ndim != 4 or input.device.type != "cpu" or groups != 1 or _pair(dilation) != (1, 1):
            return None
        if isinstance(padding, str) or weight.requires_grad or (bias is not None and bias.requires_grad):
            return None
        margins = _pair(padding)
        points = sparse and max(margins) == 0
        if not (few or points):
            return None
        return cls(input, weight, bias, steps, margins, points)

    def lean(self) -> Tensor:
        """The result as torch computes it; its gradient goes the faster way."""
        return cast(Tensor, _Lean.apply(*self, False, None, None, None))

    def leaner(
        self, kernels: Kernels, offset: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """The same, where the values may be rounded otherwise too.

        Args:
            kernels: what is kept of earlier calls with these weights.
            offset: [1, o, …], is added to the result.
            dtype: of the result and of what comes back, with the channels innermost; None: the images' own.
        """
        if self.images.requires_grad and torch.is_grad_enabled():
            return cast(Tensor, _Lean.apply(*self, True, offset, dtype, kernels))
        return _computed(*self, True, offset, dtype, None)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _computed(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    points: bool,
    leaner: bool,
    offset: Tensor | None,
    dtype: torch.dtype | None,
    kernels: Kernels | None,
) -> Tensor:
    """The result of a `Convolution`; `kernels` are for the way back alone."""
    if points and leaner and images.stride(1) != 1:
        images, stride = images[:, :, :: stride[0], :: stride[1]], (1, 1)
    found = F.conv2d(images, weight, bias, stride, padding)
    found = found if offset is None else found.add_(offset)
    return found if dtype is None else innermost(found.to(dtype))


class _Lean(torch.autograd.Function):
    """A `Convolution`; for `leaner` and what follows see there."""

    generate_vmap_rule = True

    forward = staticmethod(_computed)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        images, weight, _, ctx.stride, ctx.padding, ctx.points, *_, kernels = inputs
        ctx.kernels = {} if kernels is None else kernels  # a call may be gone back from many times
        ctx.save_for_backward(weight)
        ctx.set_materialize_grads(False)
        ctx.size, ctx.dtype = tuple(images.shape[2:]), images.dtype

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        (weight,), slope = ctx.saved_tensors, grad_outputs[0]
        if slope is None:  # nothing comes back here
            found = None
        elif ctx.points:
            found = scattered(slope, weight.to(slope.dtype), ctx.size, ctx.stride)
        else:
            found = image_slope(slope, weight, ctx.size, ctx.stride, ctx.padding, ctx.dtype, ctx.kernels)
        return found, *[None] * 9


#: torch looks the signature up at every call; found once, it costs a tenth.
_computed.__signature__ = inspect.signature(_computed)


def innermost(images: Tensor) -> Tensor:
    """Images [n, c, h, w] with the channels innermost in memory."""
    found = torch.empty_like(images, memory_format=torch.channels_last)
    found.permute(0, 2, 3, 1).copy_(images.permute(0, 2, 3, 1))  # faster than torch's own way to this order
    return found


def scattered(slope: Tensor, weight: Tensor, size: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """The gradient in images [n, c, *size] of a convolution of single pixels, whose result has the gradient `slope`.

    Args:
        slope: [n, o, …]. weight: [o, c, 1, 1]. stride: along the height and the width.
    """
    back, n = weight[:, :, 0, 0].t(), len(slope)
    if slope.stride(1) == 1:  # the channels are innermost, and stay there
        pixels = F.conv2d(slope, back[:, :, None, None])
        images = slope.new_zeros(n, *size, len(back)).permute(0, 3, 1, 2)
    else:
        pixels = (back @ slope.flatten(2)).unflatten(2, slope.shape[2:])
        images = slope.new_zeros(n, len(back), *size)
    images[:, :, :: stride[0], :: stride[1]] = pixels
    return images
