"""ONNX operators of linear algebra, normalisation and reduction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from classrob_onnx.node import Node, Op


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    if node.attributes.get("transB") and c is not None and c.ndim == 1 and _plain(node):
        return F.linear(a, b, c)
    a = a.mT if node.get("transA", 0) else a
    b = b.mT if node.get("transB", 0) else b
    product = a @ b
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    if alpha != 1.0:
        product = alpha * product
    if c is None:
        return product
    return product + (c if beta == 1.0 else beta * c)


def _plain(node: Node) -> bool:
    return not node.get("transA", 0) and node.get("alpha", 1.0) == node.get("beta", 1.0) == 1.0


def _batch_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    if node.get("training_mode", 0):
        raise node.refuse("training mode; export the model in eval mode: it")
    # Constants to PyTorch too, which has no derivative for them.
    return F.batch_norm(x, mean.detach(), var.detach(), scale, bias, eps=node.get("epsilon", 1e-5))


def _instance_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon", 1e-5))


def _layer_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    shape = x.shape[node.get("axis", -1) :]
    normal = F.layer_norm(x, shape, eps=node.get("epsilon", 1e-5)) * scale
    return normal if bias is None else normal + bias


def _group_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = node.get("num_groups", 1)
    if len(scale) != x.shape[1]:  # before opset 21: one number a group
        scale, bias = (t.repeat_interleave(x.shape[1] // groups) for t in (scale, bias))
    return F.group_norm(x, groups, scale, bias, node.get("epsilon", 1e-5))


def _local_response_norm(node: Node, x: Tensor) -> Tensor:
    if node.get("size", 1) % 2 == 0:  # PyTorch puts the odd channel on the other side
        raise node.refuse("an even size")
    alpha, beta, bias = node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    return F.local_response_norm(x, node.get("size", 1), alpha, beta, bias)


def _reduce(function: Any) -> Op:
    def apply(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
        dims = node.ints("axes", axes)
        if not dims and node.get("noop_with_empty_axes", 0):
            return x
        return function(x, tuple(dims or range(x.ndim)), keepdim=bool(node.get("keepdims", 1)))

    return apply


def _norm(x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    return torch.linalg.vector_norm(x, dim=dims, keepdim=keepdim)


OPS: Mapping[str, Op] = {
    "BatchNormalization": _batch_norm,
    "Einsum": lambda node, *xs: torch.einsum(node.attributes["equation"].decode(), *xs),
    "Gemm": _gemm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _local_response_norm,
    "LayerNormalization": _layer_norm,
    "MatMul": lambda node, a, b: a @ b,
    "ReduceL2": _reduce(_norm),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
}
