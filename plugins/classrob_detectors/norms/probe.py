"""Which part of every intermediate result belongs to which sample: found by spoiling one image of three.

Autograd's graph tells how a parameter enters, not along which dimension of a result the samples lie: tokens
may be flattened into rows, or come first. So three images go through the module, the middle one all NaN. What
is NaN afterwards depends on that image; what is not does not. A module that lets samples mix, as batch
normalisation in training mode does, is found out by the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from classrob_detectors.norms.graph import Graph, graph_of
from classrob_detectors.norms.layout import Layout, find

#: Images in a probe, and the one that is spoiled: it has a neighbour on either side.
COUNT, SPOILED = 3, 1


@dataclass(frozen=True)
class Free:
    """What no image decides: a parameter, or something computed from parameters alone."""


#: By node and output: where the samples lie; `Free`; or missing, where that could not be told.
Places = Mapping[tuple[int, int], Layout | Free]


@dataclass(frozen=True)
class Probe:
    """The signature of the module's graph, and where its samples lie."""

    signature: tuple[object, ...]
    places: Places


def probe(
    module: nn.Module, images: Tensor, loss: Callable[[Any], Tensor], parameters: Sequence[Tensor]
) -> Probe | None:
    """Probe a module with the first image of a batch; None where samples mix or cannot be told apart."""
    slope, images = images.requires_grad, images.detach()
    three = torch.cat([images[:1]] * COUNT)
    if images.is_floating_point():
        three[SPOILED] = torch.nan
        try:
            found = _watch(module, three.requires_grad_(slope), loss, parameters, None)
        except (RuntimeError, IndexError, ValueError):  # of what cannot bear NaN, such as a table look-up
            found = None
        if found is not None:
            return found
    three = torch.cat([images[:1]] * COUNT)
    values = _Watch(None)
    with values:
        loss(module(three))
    shuffled = images.flatten()[torch.randperm(images.numel(), device=images.device)]
    three[SPOILED] = shuffled[: three[SPOILED].numel()].reshape(three[SPOILED].shape)
    return _watch(module, three.requires_grad_(slope), loss, parameters, values.seen)


def _watch(
    module: nn.Module,
    three: Tensor,
    loss: Callable[[Any], Tensor],
    parameters: Sequence[Tensor],
    unspoiled: list[Tensor] | None,
) -> Probe | None:
    watch = _Watch(unspoiled, nan=unspoiled is None)
    with watch:
        losses = loss(module(three))
    watch.settle()
    touched = watch.touched.get((losses.grad_fn, losses.output_nr))
    expected = torch.arange(COUNT, device=three.device) == SPOILED
    if touched is None or not torch.equal(touched, expected):
        return None
    graph = graph_of(losses, parameters, three)
    return Probe(graph.signature, dict(_placed(graph, watch.touched)))


def _placed(graph: Graph, touched: Mapping[tuple[Any, int], Tensor]) -> Any:
    place = {node: i for i, node in enumerate(graph.nodes)}
    for (node, number), mask in touched.items():
        if node in place:
            layout = find(mask, COUNT, SPOILED) if bool(mask.any()) else Free()
            if layout is not None:
                yield (place[node], number), layout


@final
class _Watch(TorchDispatchMode):
    """Notes for every result of every operation what the spoiled image touched.

    That is what is NaN, or with `unspoiled` (the results of the same run before) what has changed.
    An operation's result gets its node after this mode has seen it; so each is looked at again at the next.
    """

    def __init__(self, unspoiled: list[Tensor] | None, nan: bool = False) -> None:
        super().__init__()
        self.unspoiled, self.nan = unspoiled, nan
        self.seen: list[Tensor] = []
        self.number = 0
        self.touched: dict[tuple[Any, int], Tensor] = {}
        self._pending: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.settle()
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and x.is_floating_point():
                self._note(x)
        return result

    def _note(self, x: Tensor) -> None:
        if self.nan:
            self._pending.append((x, torch.isnan(x)))
        elif self.unspoiled is None:
            self.seen.append(x.detach().clone())
        else:
            before = self.unspoiled[self.number] if self.number < len(self.unspoiled) else None
            self.number += 1
            if before is not None and before.shape == x.shape:
                self._pending.append((x, before != x))

    def settle(self) -> None:
        """Note the results of the last operation under the nodes that autograd has given them since."""
        for x, touched in self._pending:
            if x.grad_fn is not None:
                self.touched.setdefault((x.grad_fn, x.output_nr), touched)
        self._pending.clear()
