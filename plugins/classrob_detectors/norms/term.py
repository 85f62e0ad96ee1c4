"""What one use of a parameter adds to each sample's gradient, held in factors rather than multiplied out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from classrob_detectors.norms.graph import Edge
from classrob_detectors.norms.layout import Layout

#: Elements that a step of a rule may hold beside what the batch holds anyway: on a processor for each thread, about
#: what its cache holds (2 MiB of float32), so that steps take the memory of the ones before; elsewhere in all.
STEP, STEP_ELSEWHERE = 1 << 19, 1 << 24


@dataclass(frozen=True)
class Term(ABC):
    """Each sample's gradient of what flows along `edge`, a parameter or made of parameters."""

    edge: Edge

    @abstractmethod
    def squared(self) -> Tensor:
        """The squared L2 norm of each sample's gradient, [n]."""

    @abstractmethod
    def gradients(self, first: int, last: int) -> Tensor:
        """The gradients of samples first … last - 1, [last - first, …]."""


#: For the operand of an operation (node, operand, gradient of its result, layout of its result, samples): its
#: term, or None where the rule does not cover this use.
Rule = Callable[[Any, int, Tensor, Layout, int], "Term | None"]


@final
@dataclass(frozen=True)
class Dense(Term):
    """Gradients [n, …] that are small enough to be had: of a bias, a scale, a class token."""

    held: Tensor

    def squared(self) -> Tensor:
        """Of what is held."""
        return norms_of(self.held)

    def gradients(self, first: int, last: int) -> Tensor:
        """What is held."""
        return self.held[first:last]


@final
@dataclass(frozen=True)
class Product(Term):
    """The gradient of a weight [a, b] in rows [t, a] times weight: rowsᵀ · gradient, for `rows` [n, t, a].

    Its squared norm is Σ_{s, t} (x_s · x_t)(g_s · g_t) (Goodfellow 2015, arXiv 1510.01799, for one row;
    Rochette, Manoel and Tramel 2019, arXiv 1912.06015, and Li et al. 2021, arXiv 2110.05679, for more),
    which is the cheaper way where rows are few.
    """

    rows: Tensor
    gradient: Tensor
    scale: float = 1.0

    def squared(self) -> Tensor:
        """From products of rows, or from the gradients, whichever needs fewer operations."""
        n, t, a = self.rows.shape
        b, device = self.gradient.shape[2], self.rows.device
        if t == 1:
            found = self.rows.square().sum((1, 2)) * self.gradient.square().sum((1, 2))
        elif t * (a + b) < a * b:
            found = in_steps(n, 2 * t * t, lambda part: dual(self.rows[part], self.gradient[part]), device)
        else:
            found = in_steps(
                n, a * b, lambda part: norms_of(self.rows[part].mT @ self.gradient[part]), device
            )
        return found * self.scale**2

    def gradients(self, first: int, last: int) -> Tensor:
        """Multiplied out, [last - first, a, b]."""
        return self.scale * (self.rows[first:last].mT @ self.gradient[first:last])


@final
@dataclass(frozen=True)
class Lookup(Term):
    """The gradient of a table [size, d] of which rows `indices` [n, t] were taken, with gradient [n, t, d]."""

    indices: Tensor
    gradient: Tensor
    size: int

    def squared(self) -> Tensor:
        """Over the rows that each sample took, each row's gradients summed."""
        n, _, d = self.gradient.shape
        sample = torch.arange(n, device=self.indices.device)[:, None]
        entries, place = (sample * self.size + self.indices).flatten().unique(return_inverse=True)
        sums = self.gradient.new_zeros(len(entries), d).index_add_(0, place, self.gradient.flatten(0, 1))
        return sums.new_zeros(n).index_add_(0, entries // self.size, sums.square().sum(1))

    def gradients(self, first: int, last: int) -> Tensor:
        """Of the whole table, [last - first, size, d]."""
        part, indices = self.gradient[first:last], self.indices[first:last]
        m, _, d = part.shape
        place = (torch.arange(m, device=indices.device)[:, None] * self.size + indices).flatten()
        return part.new_zeros(m * self.size, d).index_add_(0, place, part.flatten(0, 1)).reshape(m, -1, d)


def dual(x: Tensor, g: Tensor) -> Tensor:
    """Squared norms [m] of xᵀ · g for x [m, t, a] and g [m, t, b], from products of rows."""
    return inner(products(x.mT).flatten(1), products(g.mT).flatten(1)).clamp_min(
        0
    )  # below 0 by rounding alone


def products(x: Tensor) -> Tensor:
    """Products [m, t, t] of all columns of x [m, a, t]."""
    return x.mT @ x


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner products [m] of rows [m, k]."""
    return (a * b).sum(1)


def norms_of(gradients: Tensor) -> Tensor:
    """Squared norms [m] of gradients [m, …]."""
    return torch.linalg.vector_norm(gradients.reshape(len(gradients), -1), dim=1).square()  # no copy of them


def in_steps(n: int, each: int, found: Callable[[slice], Tensor], device: torch.device) -> Tensor:
    """What `found` gives for all n samples, some at a time, where one needs `each` elements of room."""
    room = STEP * torch.get_num_threads() if device.type == "cpu" else STEP_ELSEWHERE
    many = max(1, room // max(1, each))
    if many >= n:
        return found(slice(0, n))
    return torch.cat([found(slice(first, min(n, first + many))) for first in range(0, n, many)])
