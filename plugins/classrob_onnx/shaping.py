"""ONNX operators that move elements: reshape, slice, join, pad, resize; and those that compute shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from classrob_onnx.node import Node, Op


def _reshape(node: Node, x: Tensor, shape: Tensor | None = None) -> Tensor:
    wanted = node.ints("shape", shape) or []
    if not node.get("allowzero", 0):
        wanted = [x.shape[i] if size == 0 else size for i, size in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    return x.reshape(math.prod(x.shape[: axis + x.ndim if axis < 0 else axis]), -1)


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.get("perm", list(reversed(range(x.ndim)))))


def _squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    dims = node.ints("axes", axes)
    return x.squeeze() if dims is None else x.squeeze(tuple(dims))


def _unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    dims = node.ints("axes", axes) or []
    for dim in sorted(d % (x.ndim + len(dims)) for d in dims):
        x = x.unsqueeze(dim)
    return x


def _split(node: Node, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis, parts = node.get("axis", 0), len(node.outputs)
    listed = node.ints("split", sizes)
    return x.split(-(-x.shape[axis] // parts) if listed is None else listed, axis)


def _slice(node: Node, x: Tensor, *given: Tensor | None) -> Tensor:
    starts, ends, axes, steps = (*given, None, None, None, None)[:4]
    first, last = node.ints("starts", starts) or [], node.ints("ends", ends) or []
    dims = node.ints("axes", axes) or list(range(len(first)))
    by = node.ints("steps", steps) or [1] * len(first)
    for dim, a, b, step in zip(dims, first, last, by, strict=True):
        rows = range(x.shape[dim])[slice(a, None if step < 0 and b < -x.shape[dim] else b, step)]
        if step == 1:
            x = x.narrow(dim, rows.start, len(rows))
        else:
            x = x.index_select(dim, torch.tensor(list(rows), dtype=torch.int64, device=x.device))
    return x


def _gather(node: Node, x: Tensor, index: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    flat = index.flatten().to(x.device, torch.int64)
    chosen = x.index_select(axis, torch.where(flat < 0, flat + x.shape[axis], flat))
    return chosen.reshape(x.shape[:axis] + index.shape + x.shape[axis + 1 :])


def _shape(node: Node, x: Tensor) -> Tensor:
    sizes = x.shape[node.get("start", 0) : node.get("end", None)]
    return torch.tensor(sizes, dtype=torch.int64, device=x.device)  # where the file's own numbers are


def _constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    value: Tensor = node.get("value", torch.zeros(1))
    return value.to(shape.device).reshape(()).expand(shape.tolist()).clone()


def _range(node: Node, start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    return torch.arange(
        *(t.detach().item() for t in (start, end, step)), dtype=start.dtype, device=start.device
    )


def _expand(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    return x.broadcast_to(torch.broadcast_shapes(x.shape, tuple(shape.tolist())))


def _pad(
    node: Node, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    amounts = node.ints("pads", pads) or []
    half = len(amounts) // 2
    both = {
        axis % x.ndim: (amounts[i], amounts[i + half])
        for i, axis in enumerate(node.ints("axes", axes) or range(half))
    }
    mode = node.get("mode", b"constant").decode()
    if mode == "constant":
        number = node.get("value", 0.0) if value is None else value.detach().item()
        return F.pad(x, [p for dim in reversed(range(x.ndim)) for p in both.get(dim, (0, 0))], value=number)
    if mode not in ("reflect", "edge") or any(any(both.get(dim, (0, 0))) for dim in range(x.ndim - 2)):
        raise node.refuse(f"mode '{mode}' here")
    flat = [p for dim in (x.ndim - 1, x.ndim - 2) for p in both.get(dim, (0, 0))]
    return F.pad(x, flat, mode="replicate" if mode == "edge" else "reflect")


def _resize(node: Node, x: Tensor, *given: Tensor | None) -> Tensor:
    """Resize (inputs: region, scales, sizes) and the older Upsample (scales)."""
    sizes = given[2] if len(given) > 2 else None
    scales = given[0] if len(given) == 1 else given[1] if len(given) > 1 else None
    if sizes is not None:
        shape = sizes.tolist()
    else:
        factors = node.get("scales", None) if scales is None else scales.tolist()
        shape = [math.floor(size * factor) for size, factor in zip(x.shape, factors, strict=True)]
    if x.ndim != 4 or shape[:2] != list(x.shape[:2]) or "axes" in node.attributes:
        raise node.refuse("anything but the two sides of an image")
    old = node.opset < 11
    place = b"asymmetric" if old else node.get("coordinate_transformation_mode", b"half_pixel")
    rounding = b"floor" if old else node.get("nearest_mode", b"round_prefer_floor")
    match node.get("mode", b"nearest"), place, rounding:
        case b"nearest", b"asymmetric", b"floor":
            return F.interpolate(x, shape[2:], mode="nearest")
        case b"nearest", b"half_pixel", b"round_prefer_ceil":
            return F.interpolate(x, shape[2:], mode="nearest-exact")
        case b"linear", b"half_pixel" | b"pytorch_half_pixel", _:
            return F.interpolate(x, shape[2:], mode="bilinear", align_corners=False)
        case b"linear", b"align_corners", _:
            return F.interpolate(x, shape[2:], mode="bilinear", align_corners=True)
        case mode, *_:
            raise node.refuse(f"mode '{mode.decode()}' with '{place.decode()}' and '{rounding.decode()}'")


OPS: Mapping[str, Op] = {
    "Concat": lambda node, *xs: torch.cat(xs, node.attributes["axis"]),
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": lambda node, x, repeats: x.tile(repeats.tolist()),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
}
