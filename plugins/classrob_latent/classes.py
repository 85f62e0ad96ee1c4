"""A network for each class, all of them at once: one batched call instead of one for each class.

Rows are dealt into slots [class, place]; the weights of all networks lie stacked, and `torch.func.vmap` turns
their convolutions into one grouped convolution. Of 64 rows in ten classes that takes a quarter of the time that
ten calls take (tests/benchmarks/latent.py).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from classrob.live import ROWS

#: Below so many rows a class the kernels of a CPU change with the number of rows.
FEWEST = 4


@final
class Stacked(nn.Module):
    """Networks of one architecture, one a class; codes [n, …] and labels int64 [n] to what those networks make."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        parameters, buffers = torch.func.stack_module_state([module.eval() for module in modules])
        self.names = (tuple(parameters), tuple(buffers))
        for i, weight in enumerate((*parameters.values(), *buffers.values())):
            self.register_buffer(f"stacked_{i}", weight.detach().clone())
        self.classes = len(modules)
        # as a list, so that moving this module to a device leaves alone what has no numbers of its own
        self.base = [copy.deepcopy(modules[0]).to("meta")]

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        """[n, …], in the order of the rows."""
        count = torch.bincount(labels, minlength=self.classes)
        places = max(FEWEST, int(count.max()))
        order = labels.argsort(stable=True)
        first = count.cumsum(0) - count
        label = labels[order]
        place = torch.arange(len(labels), device=labels.device) - first[label]
        slots = codes.new_zeros(self.classes, places, *codes.shape[1:]).index_put(
            (label, place), codes[order]
        )
        weights = list(self.buffers())
        split = len(self.names[0])
        parameters = dict(zip(self.names[0], weights[:split], strict=True))
        buffers = dict(zip(self.names[1], weights[split:], strict=True))
        made = torch.func.vmap(self._one)(parameters, buffers, slots)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return made[label, place][back]

    def _one(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], codes: Tensor) -> Tensor:
        return torch.func.functional_call(self.base[0], (parameters, buffers), (codes,))


@final
class InTurn(nn.Module):
    """The same by one call a class, for networks that cannot be mapped over."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.of_class = nn.ModuleList(modules)

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        """[n, …], in the order of the rows; each call is of a multiple of `ROWS` rows."""
        order = labels.argsort(stable=True)
        made: list[Tensor] = []
        for rows in order.split(torch.bincount(labels).tolist()):
            if len(rows):
                filled = torch.cat([rows, rows[:1].expand(-len(rows) % ROWS)])
                made.append(self.of_class[int(labels[rows[0]])](codes[filled])[: len(rows)])
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return torch.cat(made)[back]


def of_each_class(modules: Sequence[nn.Module], code: tuple[int, ...]) -> nn.Module:
    """One module of several networks of one architecture, at once where they can be mapped over, else in turn."""
    try:
        stacked = Stacked(modules)
        with torch.no_grad():
            stacked(torch.zeros(2, *code), torch.zeros(2, dtype=torch.int64))
    except (
        RuntimeError,
        ValueError,
        NotImplementedError,
    ):  # what vmap cannot do; the networks' own faults show next
        return InTurn(modules)
    return stacked
