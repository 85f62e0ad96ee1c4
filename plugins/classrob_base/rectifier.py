"""A smooth rectifier in the place of a network's ReLUs, and the field by which a study asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from classrob.live import Around

Rectifier = Annotated[
    Literal["relu", "half-huber"],
    Field(description="`half-huber`: a smooth rectifier takes the place of every ReLU"),
]
#: Where the parabola ends and the line begins.
D = 0.5
_RELUS = (torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, nn.functional.relu)


def half_huber(x: Tensor) -> Tensor:
    """0 below 0, x² / (2 d) up to d, x − d / 2 above; d is 0.5 (Woods et al., Nature Machine Intelligence 2019).

    Its slope, clamp(x, 0, d) / d, is continuous, so that a penalty on gradients has gradients of its own.
    """
    bent = x.clamp(0.0, D)
    return bent * (x - bent / 2) / D


@final
class Rectified(Around):
    """A module in which every ReLU, be it a layer or a call, is a half-Huber rectifier."""

    def forward(self, images: Tensor) -> Tensor:
        """The module's output."""
        with _Replaced():
            return self.module(images)


class _Replaced(TorchFunctionMode):
    """Calls `half_huber` wherever a rectifier of torch is called."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _RELUS:
            return half_huber(args[0] if args else (kwargs or {})["input"])
        return func(*args, **(kwargs or {}))
