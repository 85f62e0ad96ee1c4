"""Nodes that may write their result over a value that nobody else reads: one pass through memory less each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from torch import Tensor

from classrob_onnx.node import Node, Op

#: Operators whose result is a tensor of its own, and which autograd needs no more.
FRESH = frozenset(["Add", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul", "Sub"])


def overwriting(nodes: Sequence[Node], image: str, output: str) -> list[Op | None]:
    """For each node what computes it in place, or None where it must not be.

    A value may be written over where it was computed afresh from the image, where the node is all that reads
    it, and where it is not the output.
    """
    reads = Counter(name for node in nodes for name in node.inputs)
    moving, spare, found = {image}, set[str](), list[Op | None]()
    for node in nodes:
        free = [name in spare and reads[name] == 1 for name in node.inputs]
        found.append(_OPS[node.operator] if node.operator in _OPS and any(free) else None)
        if found[-1] is not None and node.operator == "Add" and not free[0]:
            found[-1] = _added_to_the_second
        if moving.intersection(node.inputs):
            moving.update(node.outputs)
            if node.operator in FRESH and output not in node.outputs:
                spare.update(node.outputs)
    return found


def _added(node: Node, x: Tensor, y: Tensor) -> Tensor:
    return x.add_(y) if x.shape == y.shape else x + y


def _added_to_the_second(node: Node, x: Tensor, y: Tensor) -> Tensor:
    return _added(node, y, x)


_OPS: Mapping[str, Op] = {"Add": _added, "Relu": lambda node, x: x.relu_()}
