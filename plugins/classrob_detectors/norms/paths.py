"""From a parameter to the operations in which it meets the samples.

On the way up from a parameter come operations on parameters alone: a transpose, a chunk, the standardisation of
a weight. The first operation whose result belongs to samples is where the parameter, or what was made of it,
is an operand; a rule for that operation gives each sample's gradient of the operand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from classrob_detectors.norms.graph import Edge, Graph
from classrob_detectors.norms.layout import Layout
from classrob_detectors.norms.probe import Free, Places

#: Operations that move the elements of their one operand, every one to one place.
_MOVES = frozenset(
    f"{name}Backward{number}"
    for name in (
        "T",
        "Transpose",
        "Permute",
        "View",
        "UnsafeView",
        "ReshapeAlias",
        "Unsqueeze",
        "Squeeze",
        "Alias",
        "Clone",
        "Contiguous",
    )
    for number in range(3)
)


#: By node and output: the nodes that take it, and as which operand.
Consumers = Mapping[tuple[int, int], Sequence[tuple[int, int]]]


@dataclass(frozen=True)
class Meeting:
    """Operand `operand` of the operation at `node` is a parameter, or made of parameters.

    `layout` says where the samples lie in the operation's result.
    """

    node: int
    operand: int
    layout: Layout


def meetings(graph: Graph, consumers: Consumers, leaf: int, places: Places) -> list[Meeting] | None:
    """Where the parameter at `leaf` meets samples; None where it is used in a way that cannot be told."""
    found: dict[tuple[int, int], Meeting] = {}
    pending, seen = [(leaf, 0)], {(leaf, 0)}
    while pending:
        edge = pending.pop()
        for node, operand in consumers.get(edge, ()):
            outputs = range(len(graph.nodes[node]._input_metadata))
            known = {number: places[node, number] for number in outputs if (node, number) in places}
            first = known.get(0)
            if isinstance(first, Layout):
                found[node, operand] = Meeting(node, operand, first)
            elif (
                not known or len(known) < len(outputs) or not all(isinstance(k, Free) for k in known.values())
            ):
                return None
            elif node == len(graph.nodes) - 1:
                return None  # the losses themselves, of no sample
            else:
                above = {(node, number) for number in outputs} - seen
                seen |= above
                pending.extend(above)
    return list(found.values())


def consumers_in(graph: Graph) -> Consumers:
    """Who takes each result, and as which operand."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for node, edges in enumerate(graph.edges):
        for operand, edge in enumerate(edges):
            if edge is not None:
                found.setdefault(edge, []).append((node, operand))
    return found


def moved(edge: Edge, parameter: Tensor) -> bool:
    """Is what flows along an edge the parameter itself, its elements at most in other places?"""
    node = edge[0]
    while getattr(node, "variable", None) is None:
        if node.name() not in _MOVES:
            return False
        node = node.next_functions[0][0]
    return node.variable is parameter


def pulled(edge: Edge, gradients: Tensor, parameter: Tensor) -> Tensor:
    """Gradients [m, …] of what flows along an edge, as gradients [m, …] of the parameter below it."""
    node, number = edge
    if getattr(node, "variable", None) is parameter:
        return gradients
    (result,) = torch.autograd.grad(
        torch.autograd.graph.GradientEdge(node, number),
        [parameter],
        [gradients],
        retain_graph=True,
        is_grads_batched=True,
    )
    return result


def spread(
    edge: Edge, gradient: Tensor, layout: Layout, n: int, shape: Sequence[int]
) -> tuple[Tensor, Edge] | None:
    """Each sample's gradient of an operand that the samples share, or have a copy of each.

    `gradient` is that of the operand after broadcasting, of all samples, and `shape` is the operand's own.
    Gives the gradients [n, …] and the edge that they belong to: the same one, or, where every sample has its
    own copy, the one below the copying. None where the operand is neither.
    """
    node = edge[0]
    lead = gradient.ndim - len(shape)
    own = 1 if layout.dim < lead else shape[layout.dim - lead]
    if own == 1:
        return _summed(gradient, layout, n, [1] * lead + list(shape)).reshape(n, *shape), edge
    name: Any = node.name()
    if own != gradient.shape[layout.dim] or name not in ("ExpandBackward0", "RepeatBackward0"):
        return None
    below = list(node._saved_self_sym_sizes)
    sizes = [1] * (gradient.ndim - len(below)) + below
    size = sizes[layout.dim]
    if layout.inner % size:
        return None
    return _summed(gradient, layout, n, sizes).reshape(n, *below), node.next_functions[0]


def _summed(gradient: Tensor, layout: Layout, n: int, sizes: Sequence[int]) -> Tensor:
    """Each sample's gradient [n, …] of a tensor of these sizes, copied to the gradient's; before reshaping."""
    for dim in reversed(range(gradient.ndim)):
        size = sizes[dim]
        if dim == layout.dim or gradient.shape[dim] == size:
            continue
        gradient = (
            gradient.unflatten(dim, (-1, size)).sum(dim) if size > 1 else gradient.sum(dim, keepdim=True)
        )
    size = sizes[layout.dim]
    rows = layout.split(gradient, n)  # [n, …, outer, inner, …]
    at = layout.dim + 1
    return rows.unflatten(at + 1, (-1, size)).sum((at, at + 1))
