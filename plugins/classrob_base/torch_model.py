"""The model `torch`: whatever module a function in a Python file returns, with weights from a file."""

from __future__ import annotations

from typing import Annotated, Any, Self, final

import torch
from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from classrob.catalog import load_file
from classrob.errors import StudyError, nearest, one_line
from classrob.fields import Code, File
from classrob.images import Fit
from classrob.live import Classifier
from classrob.parts import Model
from classrob_base.weights import put, state_of


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


def _list(value: Any) -> Any:
    return (value,) if isinstance(value, int | float) else value


@final
class TorchModel(Model):
    """A function in a Python file, and its weights.

    The function is called with `arguments` and returns an `nn.Module` that takes float32 [n, c, h, w]
    and returns logits [n, k]. Where `mean` and `std` are given, the module receives (x − mean) / std;
    otherwise it receives x in [0, 1]. Without `weights` it keeps those that it starts with, drawn from
    seed 0.
    """

    factory: Code = Field(description="the function (or class) that makes the module, 'file.py:function'")
    weights: File | None = Field(default=None, description="a .safetensors file, or a saved state_dict")
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments for the function")
    mean: Annotated[tuple[float, ...] | None, BeforeValidator(_list)] = Field(
        default=None, description="normalisation: one number, or one a channel, in the scale of [0, 1]"
    )
    std: Annotated[tuple[PositiveFloat, ...] | None, BeforeValidator(_list)] = Field(
        default=None, description="normalisation: one number, or one a channel, above 0"
    )
    size: Annotated[tuple[PositiveInt, PositiveInt] | None, BeforeValidator(_pair)] = Field(
        default=None, description="side, or [height, width], that images are resized to; default: as they are"
    )
    channels: int | None = Field(default=None, description="1 or 3; default: as `mean` has, else as they are")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("`mean` and `std` go together: give both or neither")
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise ValueError(f"`mean` has {len(self.mean)} numbers, `std` {len(self.std)}")
        if self.channels not in (None, 1, 3):
            raise ValueError(f"`channels` is 1 or 3, not {self.channels}")
        return self

    def load(self, device: str) -> Classifier:
        """The module with its weights, in the mode in which the function returned it.

        Raises:
            StudyError: the function fails or returns no module, or the weights do not fit.
        """
        module = self._made()
        if self.weights is not None:
            put(state_of(self.weights), module, self.weights, f"'{self.factory}'")
        channels = self.channels
        if self.mean is not None and self.std is not None:
            module = Normalised(module, self.mean, self.std)
            channels = channels or (len(self.mean) if len(self.mean) > 1 else None)
        return Classifier(module.to(device), fit=Fit(size=self.size, channels=channels), device=device)

    def _made(self) -> nn.Module:
        path, _, name = self.factory.rpartition(":")
        names = vars(load_file(path))
        if name not in names:
            raise StudyError(f"{path} has no '{name}'{nearest(name, names)}")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # what the weights do not set is the same every time
            try:
                module = names[name](**self.arguments)
            except Exception as error:  # the function is the user's own code and may raise anything
                raise StudyError(f"'{self.factory}' raised {one_line(error)}") from error
        if not isinstance(module, nn.Module):
            raise StudyError(f"'{self.factory}' must return a torch.nn.Module, not a {type(module).__name__}")
        return module


@final
class Normalised(nn.Module):
    """A module behind a normalisation: images [n, c, h, w] in [0, 1] in, what the module returns out."""

    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """The module on (images − mean) / std."""
        return self.module((images - self.mean) / self.std)
