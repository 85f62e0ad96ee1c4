"""One operation of an ONNX graph: what it is called, its attributes, and the values it reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from classrob.errors import StudyError


@dataclass(frozen=True)
class Node:
    """An operation; `opset` is the version of the operator set that its file was written for.

    `inputs` and `outputs` are names of values; an input that is left out is an empty name.
    """

    operator: str
    name: str
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int

    @cached_property
    def kept(self) -> dict[str, Any]:
        """What an operation has worked out from the attributes, once for all calls."""
        return {}

    def get(self, name: str, default: Any) -> Any:
        """An attribute, or what the standard says where it is left out."""
        return self.attributes.get(name, default)

    def ints(self, name: str, given: Tensor | None) -> list[int] | None:
        """Whole numbers that older files hold as an attribute and newer ones as an input."""
        return self.attributes.get(name) if given is None else given.flatten().tolist()

    def refuse(self, what: str) -> StudyError:
        """The error for a variant of the operation that this importer does not know."""
        return StudyError(f"ONNX operator {self.operator} of node '{self.name}': {what} is not supported")


#: An operation in PyTorch: the node and its inputs (None where left out) to its output or outputs.
Op = Callable[..., "Tensor | tuple[Tensor, ...]"]
