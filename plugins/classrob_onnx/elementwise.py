"""ONNX operators that work on every element alone: arithmetic, comparisons, activations, casts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from classrob_onnx.node import Node, Op

#: ONNX's numbers for element types (TensorProto.DataType).
DTYPES: Mapping[int, torch.dtype] = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}


def _each(function: Callable[[Tensor], Tensor]) -> Op:
    return lambda node, x: function(x)


def _pair(function: Callable[[Tensor, Tensor], Tensor]) -> Op:
    return lambda node, x, y: function(x, y)


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Op:
    return lambda node, *xs: reduce(function, xs)


def _divide(node: Node, x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    if low is None and high is None:  # before opset 11: attributes
        return x.clamp(node.get("min", -torch.inf), node.get("max", torch.inf))
    return torch.clamp(x, low, high)


def _cast(node: Node, x: Tensor) -> Tensor:
    if node.get("to", None) not in DTYPES:
        raise node.refuse(f"element type {node.get('to', None)}")
    return x.to(DTYPES[node.get("to", None)])


def _p_relu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    return x.clamp_min(0) + slope * x.clamp_max(0)


def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    return (node.get("alpha", 0.2) * x + node.get("beta", 0.5)).clamp(0.0, 1.0)


def _gelu(node: Node, x: Tensor) -> Tensor:
    kind = node.get("approximate", b"none")
    return F.gelu(x, approximate=kind.decode())


def _softmax(node: Node, x: Tensor) -> Tensor:
    return _along(node, x, lambda values, axis: values.softmax(axis))


def _log_softmax(node: Node, x: Tensor) -> Tensor:
    return _along(node, x, lambda values, axis: values.log_softmax(axis))


def _along(node: Node, x: Tensor, function: Callable[[Tensor, int], Tensor]) -> Tensor:
    if node.opset >= 13:
        return function(x, node.get("axis", -1))
    axis = node.get("axis", 1) % x.ndim  # before opset 13: over everything from the axis on
    return function(x.flatten(axis), axis).reshape(x.shape)


OPS: Mapping[str, Op] = {
    "Abs": _each(torch.abs),
    "Add": _pair(torch.add),
    "And": _pair(torch.logical_and),
    "Cast": _cast,
    "Ceil": _each(torch.ceil),
    "Celu": lambda node, x: F.celu(x, node.get("alpha", 1.0)),
    "Clip": _clip,
    "Cos": _each(torch.cos),
    "Div": _divide,
    "Dropout": lambda node, x, *_: x,
    "Elu": lambda node, x: F.elu(x, node.get("alpha", 1.0)),
    "Equal": _pair(torch.eq),
    "Erf": _each(torch.erf),
    "Exp": _each(torch.exp),
    "Floor": _each(torch.floor),
    "Gelu": _gelu,
    "Greater": _pair(torch.gt),
    "GreaterOrEqual": _pair(torch.ge),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _each(F.hardswish),
    "Identity": _each(lambda x: x),
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01)),
    "Less": _pair(torch.lt),
    "LessOrEqual": _pair(torch.le),
    "Log": _each(torch.log),
    "LogSoftmax": _log_softmax,
    "Max": _fold(torch.maximum),
    "Min": _fold(torch.minimum),
    "Mish": _each(F.mish),
    "Mul": _pair(torch.mul),
    "Neg": _each(torch.neg),
    "Not": _each(torch.logical_not),
    "Or": _pair(torch.logical_or),
    "PRelu": _p_relu,
    "Pow": lambda node, x, y: torch.pow(x, y.to(x.dtype)),
    "Reciprocal": _each(torch.reciprocal),
    "Relu": _each(torch.relu),
    "Round": _each(torch.round),
    "Selu": _each(F.selu),
    "Sigmoid": _each(torch.sigmoid),
    "Sign": _each(torch.sign),
    "Sin": _each(torch.sin),
    "Softmax": _softmax,
    "Softplus": _each(F.softplus),
    "Sqrt": _each(torch.sqrt),
    "Sub": _pair(torch.sub),
    "Sum": _fold(torch.add),
    "Tanh": _each(torch.tanh),
    "Where": lambda node, condition, x, y: torch.where(condition, x, y),
}
