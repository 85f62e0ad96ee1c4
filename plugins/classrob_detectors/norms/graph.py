"""The autograd graph of a batch: its nodes in order, its shape, and how each parameter enters it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

#: A place in the graph that a gradient arrives at: a node, and which of its outputs.
Edge = tuple[Any, int]


@dataclass(frozen=True)
class Graph:
    """The nodes under a result, each after all that it was computed from.

    `signature` is equal for two graphs of the same operations in the same order on the same parameters.
    `edges` holds for every node the places of its inputs in `nodes`, and which output of theirs it took.
    """

    nodes: Sequence[Any]
    edges: Sequence[Sequence[tuple[int, int] | None]]
    signature: tuple[object, ...]

    def leaves(self, parameters: Sequence[Tensor]) -> Mapping[int, int]:
        """The place in `nodes` at which each parameter enters, by its place in `parameters`."""
        place = {id(p): i for i, p in enumerate(parameters)}
        found = {place.get(id(_variable(node))): i for i, node in enumerate(self.nodes)}
        return {p: i for p, i in found.items() if p is not None}


def graph_of(result: Tensor, parameters: Sequence[Tensor], images: Tensor) -> Graph:
    """The graph between the images and a result; empty where it depends on nothing that has a gradient."""
    place = {id(p): i for i, p in enumerate(parameters)}
    order: dict[Any, int] = {}
    pending: list[tuple[Node, bool]] = [] if result.grad_fn is None else [(result.grad_fn, False)]
    while pending:
        node, ready = pending.pop()
        if node in order:
            continue
        if ready:
            order[node] = len(order)
            continue
        pending.append((node, True))
        if not _made(node, images):  # what made the images is none of the module's
            pending.extend((below, False) for below, _ in node.next_functions if below is not None)
    edges = [
        ()
        if _made(node, images)
        else tuple(None if below is None else (order[below], number) for below, number in node.next_functions)
        for node in order
    ]
    names = [
        "images" if _made(node, images) else (_name(node), place.get(id(_variable(node)))) for node in order
    ]
    return Graph(tuple(order), edges, tuple(zip(names, edges, strict=True)))


def _name(node: Any) -> str:
    """What a node does; `reshape` becomes one operation or the other by who looks on."""
    name: str = node.name()
    return "ViewBackward0" if name == "ReshapeAliasBackward0" else name


def _made(node: Any, images: Tensor) -> bool:
    """Is this the node of the images themselves?"""
    return _variable(node) is images or (images.grad_fn is not None and node is images.grad_fn)


def _variable(node: Any) -> Tensor | None:
    """The tensor whose gradient a node collects; None of any other node."""
    return getattr(node, "variable", None)


def shape_at(edge: Edge) -> torch.Size:
    """The shape of what flows along an edge."""
    node, number = edge
    variable = _variable(node)
    return node._input_metadata[number].shape if variable is None else variable.shape
