"""Normalisation inside a model, and the fields by which a study asks for it and for a size."""

from __future__ import annotations

from typing import Annotated, Any, Literal, final

import torch
from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from classrob.live import Around


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


def _list(value: Any) -> Any:
    return (value,) if isinstance(value, int | float) else value


Mean = Annotated[
    Annotated[tuple[float, ...], Field(min_length=1), BeforeValidator(_list)] | None,
    Field(description="normalisation: one number, or one a channel, in the scale of [0, 1]"),
]
Std = Annotated[
    Annotated[tuple[PositiveFloat, ...], Field(min_length=1), BeforeValidator(_list)] | None,
    Field(description="normalisation: one number, or one a channel, above 0"),
]
Size = Annotated[
    Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_pair)] | None,
    Field(description="side, or [height, width], that images are resized to"),
]
Channels = Annotated[Literal[1, 3] | None, Field(description="1 for grey images, 3 for colour")]


def agree(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
    """Check two fields that only make sense together.

    Raises:
        ValueError: one is missing, or they are of different lengths.
    """
    if (mean is None) != (std is None):
        raise ValueError("`mean` and `std` go together: give both or neither")
    if mean is not None and std is not None and 1 not in (len(mean), len(std)) and len(mean) != len(std):
        raise ValueError(f"`mean` has {len(mean)} numbers, `std` {len(std)}")


@final
class Normalised(Around):
    """A module behind a normalisation: images [n, c, h, w] in [0, 1] in, what the module returns out."""

    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__(module)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """The module on (images − mean) / std."""
        return self.module((images - self.mean).div_(self.std))
