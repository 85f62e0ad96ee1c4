"""Gradients of convolutions in what they are given, by ways that are faster on a processor than torch's.

The same products are summed in another order; the forward pass is untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from classrob.blocks import image_slope

#: Blocks of pixels pay where a convolution is given at most so many channels; and where it leaves pixels out.
FEW, FEW_STRIDED = 4, 8


@final
class LeanConvolutions(TorchFunctionMode):
    """Inside `with LeanConvolutions():` those that are given what requires a gradient pass it back faster.

    Attributes:
        seen: how many such convolutions there were.
    """

    seen = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One call of the network."""
        if func is F.conv2d and (result := _lean(*args, **(kwargs or {}))) is not None:
            self.seen += 1
            return result
        return func(*args, **(kwargs or {}))


def _lean(
    input: Tensor,  # noqa: A002 (conv2d's own names, by which it may be called)
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor | None:
    """conv2d with another gradient in its input; None where there is none that is faster."""
    if not input.requires_grad or input.ndim != 4 or input.device.type != "cpu" or groups != 1:
        return None
    constant = not weight.requires_grad and (bias is None or not bias.requires_grad)
    if not constant or isinstance(padding, str) or _pair(dilation) != (1, 1):
        return None
    steps, margins = _pair(stride), _pair(padding)
    points = weight.shape[2:] == (1, 1) and max(steps) > 1 and max(margins) == 0
    if not points and weight.shape[1] > (FEW_STRIDED if min(steps) > 1 else FEW):
        return None
    return _Lean.apply(input, weight, bias, steps, margins, points)  # pyright: ignore[reportReturnType]


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


class _Lean(torch.autograd.Function):
    """A convolution with constant weights; `points`: of single pixels, of which it leaves some out."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        points: bool,
    ) -> Tensor:
        return F.conv2d(images, weight, bias, stride, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        images, weight, _, ctx.stride, ctx.padding, ctx.points = inputs
        ctx.save_for_backward(weight)
        ctx.set_materialize_grads(False)
        ctx.size = tuple(images.shape[2:])

    @staticmethod
    def backward(
        ctx: Any, *grad_outputs: Tensor | None
    ) -> tuple[Tensor | None, None, None, None, None, None]:
        (weight,), slope = ctx.saved_tensors, grad_outputs[0]
        if slope is None:  # nothing comes back here
            found = None
        elif ctx.points:
            found = scattered(slope, weight, ctx.size, ctx.stride)
        else:
            found = image_slope(slope, weight, ctx.size, ctx.stride, ctx.padding)
        return found, None, None, None, None, None


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
