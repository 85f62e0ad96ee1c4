"""A fault that a check puts into a module, to see what is left behind when a model raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


class Fault(Exception):
    """What the module raises; of a type of its own, so that nothing takes it for something else."""


@contextmanager
def failing(module: nn.Module, at: int) -> Iterator[list[int]]:
    """Let a module raise a `Fault` at its call number `at` (never for 0); yields the calls so far."""
    calls: list[int] = []

    def count(called: nn.Module, arguments: Any) -> None:
        calls.append(len(calls) + 1)
        if calls[-1] == at:
            raise Fault

    hook = module.register_forward_pre_hook(count)
    try:
        yield calls
    finally:
        hook.remove()
