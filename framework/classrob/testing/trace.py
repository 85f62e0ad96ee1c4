"""What somebody's work must leave as it was: a module's state, and the tensors that were handed over."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from classrob.testing.verdict import Broken


def tensors_of(**values: Any) -> dict[str, Tensor]:
    """The tensors among values and among the fields of values that are dataclasses, under readable names."""
    found: dict[str, Tensor] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            found[name] = value
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            inner = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            found |= {f"{name}.{key}": one for key, one in inner.items() if isinstance(one, Tensor)}
    return found


@dataclasses.dataclass(frozen=True)
class Trace:
    """A snapshot of a module and of some tensors, to compare with what they are later."""

    module: nn.Module
    inputs: Mapping[str, Tensor]
    values: Mapping[str, Any]

    @classmethod
    def of(cls, module: nn.Module, inputs: Mapping[str, Tensor] | None = None) -> Trace:
        """The state now."""
        inputs = inputs or {}
        return cls(module, inputs, dict(_state(module, inputs)))

    def changes(self) -> list[str]:
        """What is no longer as it was, in words."""
        now = dict(_state(self.module, self.inputs))
        gone = self.values.keys() ^ now.keys()
        return sorted(gone) + [
            name for name, value in self.values.items() if name in now and not _same(value, now[name])
        ]

    def ensure_unchanged(self, lead: str) -> None:
        """Raise `Broken`, led by `lead`, where something is no longer as it was."""
        if changes := self.changes():
            more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
            raise Broken(f"{lead} {changes[0]}{more}")


def _state(module: nn.Module, inputs: Mapping[str, Tensor]) -> Iterator[tuple[str, Any]]:
    for kind, named in (("weight", module.named_parameters()), ("buffer", module.named_buffers())):
        for name, tensor in named:
            yield from _tensor(f"{kind} '{name}'", tensor)
    for name, child in module.named_modules():
        yield f"the mode (train or eval) of module '{name or type(module).__name__}'", child.training
    for name, tensor in inputs.items():
        yield from _tensor(f"input '{name}'", tensor)


def _tensor(name: str, tensor: Tensor) -> Iterator[tuple[str, Any]]:
    yield name, tensor.detach().clone()
    yield f"requires_grad of {name}", tensor.requires_grad
    grad = tensor.grad if tensor.is_leaf else None
    yield f".grad of {name}", None if grad is None else grad.detach().clone()


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return before.shape == after.shape and torch.equal(before.nan_to_num(), after.nan_to_num())
    return type(before) is type(after) and before == after
