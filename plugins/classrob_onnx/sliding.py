"""ONNX operators that slide a window over an image: convolutions and pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from classrob_onnx.node import Node, Op

_CONV: Mapping[int, Any] = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}
_TRANSPOSED: Mapping[int, Any] = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}


def _pads(node: Node, x: Tensor, kernel: list[int]) -> tuple[list[int], list[int]]:
    """Padding before and after every spatial dimension."""
    sides = len(kernel)
    automatic = node.get("auto_pad", b"NOTSET").decode()
    if automatic == "NOTSET":
        pads = node.get("pads", [0] * 2 * sides)
        return pads[:sides], pads[sides:]
    if automatic == "VALID":
        return [0] * sides, [0] * sides
    strides, dilations = node.get("strides", [1] * sides), node.get("dilations", [1] * sides)
    total = [
        max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        for size, stride, k, dilation in zip(x.shape[2:], strides, kernel, dilations, strict=True)
    ]
    less, more = [t // 2 for t in total], [-(-t // 2) for t in total]
    return (less, more) if automatic == "SAME_UPPER" else (more, less)


def _padded(node: Node, x: Tensor, kernel: list[int], value: float, pool: bool) -> tuple[Tensor, list[int]]:
    """x and the padding that is left to do: PyTorch's is symmetric, and its pools' at most half a kernel."""
    before, after = _pads(node, x, kernel)
    fits = not pool or all(p <= k // 2 for p, k in zip(before, kernel, strict=True))
    if before == after and fits:
        return x, before
    flat = [p for pair in zip(reversed(before), reversed(after), strict=True) for p in pair]
    return F.pad(x, flat, value=value), [0] * len(kernel)


def _conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if "call" not in node.kept:
        node.kept["call"] = _symmetric(node)
    if (call := node.kept["call"]) is not None:
        conv, *rest = call
        return conv(x, weight, bias, *rest)
    shape = weight.shape
    sides = len(shape) - 2
    x, padding = _padded(node, x, list(shape[2:]), 0.0, pool=False)
    strides, dilations = node.get("strides", [1] * sides), node.get("dilations", [1] * sides)
    return _CONV[len(shape)](x, weight, bias, strides, padding, dilations, node.get("group", 1))


def _symmetric(node: Node) -> tuple[Any, ...] | None:
    """The convolution, and all it is called with but tensors; None where that depends on these."""
    sides = len(node.get("kernel_shape", []))
    pads = node.get("pads", [0] * 2 * sides)
    if (
        not sides
        or pads[:sides] != pads[sides:]
        or node.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    ):
        return None
    ones = [1] * sides
    padding = pads[:sides] if node.get("auto_pad", b"NOTSET") == b"NOTSET" else [0] * sides
    strides, dilations = node.get("strides", ones), node.get("dilations", ones)
    return _CONV[sides + 2], strides, padding, dilations, node.get("group", 1)


def _conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    sides = weight.ndim - 2
    pads = node.get("pads", [0] * 2 * sides)
    if node.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in node.attributes:
        raise node.refuse("`auto_pad` or `output_shape`")
    if pads[:sides] != pads[sides:]:
        raise node.refuse("padding that differs between the sides")
    strides, dilations = node.get("strides", [1] * sides), node.get("dilations", [1] * sides)
    extra = node.get("output_padding", [0] * sides)
    group = node.get("group", 1)
    return _TRANSPOSED[x.ndim](x, weight, bias, strides, pads[:sides], extra, group, dilations)


def _max_pool(node: Node, x: Tensor) -> Tensor:
    kernel = _kernel(node, x)
    x, padding = _padded(node, x, kernel, -torch.inf, pool=True)
    strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
    return F.max_pool2d(x, kernel, strides, padding, dilations, bool(node.get("ceil_mode", 0)))


def _average_pool(node: Node, x: Tensor) -> Tensor:
    kernel, strides = _kernel(node, x), node.get("strides", [1, 1])
    if node.get("dilations", [1, 1]) != [1, 1]:
        raise node.refuse("dilation")
    ceil, counted = bool(node.get("ceil_mode", 0)), bool(node.get("count_include_pad", 0))
    wide, padding = _padded(node, x, kernel, 0.0, pool=True)
    if wide is x or counted:
        return F.avg_pool2d(wide, kernel, strides, padding, ceil, counted)
    inside, _ = _padded(node, torch.ones_like(x[:1, :1]), kernel, 0.0, pool=True)
    share = F.avg_pool2d(inside, kernel, strides, 0, ceil)  # of every window that lies on the image
    return F.avg_pool2d(wide, kernel, strides, 0, ceil) / share


def _kernel(node: Node, x: Tensor) -> list[int]:
    kernel: list[int] = node.get("kernel_shape", [])
    if x.ndim != 4 or len(kernel) != 2 or len(node.outputs) > 1:
        raise node.refuse("a pool of anything but images, or one that returns indices")
    return kernel


def _global(reduced: Any) -> Op:
    return lambda node, x: reduced(x, tuple(range(2, x.ndim)), keepdim=True)


OPS: Mapping[str, Op] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GlobalAveragePool": _global(torch.mean),
    "GlobalMaxPool": _global(torch.amax),
    "MaxPool": _max_pool,
}
