"""The generators `classwise`, `conditional` and `autoencoder`: networks of a function in a file, with weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor, nn

from classrob.decoder import Decoder
from classrob.errors import StudyError, one_line
from classrob.fields import Code, File
from classrob.parts import Generator
from classrob_base.factory import module_of
from classrob_base.weights import put, state_of
from classrob_latent.classes import of_each_class

#: How a network is called: its pixels run from the first number to the second.
Range = Annotated[
    tuple[float, float], Field(description="the values that the network gives black and white, as [-1, 1]")
]


class _Decoding(nn.Module):
    """A network's method of a name, whose pixels are brought to [0, 1]; `conditional` ones get the labels too."""

    def __init__(
        self, module: nn.Module, pixels: tuple[float, float], conditional: bool, method: str = "forward"
    ) -> None:
        super().__init__()
        self.module, self.pixels, self.conditional, self.method = module, pixels, conditional, method

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        low, high = self.pixels
        decode = self.module if self.method == "forward" else getattr(self.module, self.method)
        made = decode(codes, labels) if self.conditional else decode(codes)
        return ((made - low) / (high - low)).clamp(0.0, 1.0)


class _Encoding(nn.Module):
    """A network's method `encode`, fed pixels in the range that it was trained on."""

    def __init__(self, module: nn.Module, pixels: tuple[float, float], conditional: bool) -> None:
        super().__init__()
        self.module, self.pixels, self.conditional = module, pixels, conditional

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        low, high = self.pixels
        encode: Any = self.module.encode
        scaled = low + (high - low) * images
        return encode(scaled, labels) if self.conditional else encode(scaled)


@final
class Classwise(Generator):
    """A decoder of its own for each class, such as the class-specific WGANs of Buzhinsky et al. (2023).

    The function makes one network, codes → images; the file holds the weights of all, each tensor's name led
    by its class's number and a dot (`0.model.0.weight`).
    """

    factory: Code = Field(description="the function that makes one class's network, 'file.py:function'")
    weights: File = Field(description="weights of all classes, names led by the class: '3.layer.weight'")
    code: tuple[int, ...] = Field(description="the shape of a code, such as [64]", min_length=1)
    arguments: dict[str, Any] = Field(default={}, description="keyword arguments for the function")
    pixels: Range = (-1.0, 1.0)

    def load(self, device: str) -> Decoder:
        """The networks, in eval mode.

        Raises:
            StudyError: the function fails, or the weights do not fit, or are not led by 0, 1, 2, …
        """
        states = _by_class(state_of(self.weights), self.weights)
        empty = module_of(
            self.factory, self.arguments
        )  # once: all networks must be of one class to be mapped over
        modules = [self._one(empty, state, label) for label, state in enumerate(states)]
        decoder = _Decoding(of_each_class(modules, self.code), self.pixels, conditional=True)
        return made(decoder, self.code, len(modules)).to(device)

    def _one(self, empty: nn.Module, state: Mapping[str, Tensor], label: int) -> nn.Module:
        module = copy.deepcopy(empty)
        put(state, module, self.weights, f"'{self.factory}' for class {label}")
        return module


@final
class Conditional(Generator):
    """One decoder of codes and classes: the function's network is called with codes [n, …] and labels int64 [n]."""

    factory: Code = Field(description="the function that makes the network, 'file.py:function'")
    weights: File | None = Field(default=None, description="a .safetensors file, or a saved state_dict")
    code: tuple[int, ...] = Field(description="the shape of a code, such as [64]", min_length=1)
    classes: int = Field(ge=1, description="how many classes the network knows")
    arguments: dict[str, Any] = Field(default={}, description="keyword arguments for the function")
    pixels: Range = (-1.0, 1.0)

    def load(self, device: str) -> Decoder:
        """The network, in eval mode; where it has a method `encode`, (images, labels) → codes, that encodes.

        Raises:
            StudyError: the function fails, or the weights do not fit.
        """
        module = module_of(self.factory, self.arguments)
        if self.weights is not None:
            put(state_of(self.weights), module, self.weights, f"'{self.factory}'")
        encodes = getattr(module, "encode", None) is not None
        encoder = _Encoding(module, self.pixels, conditional=True) if encodes else None
        decoder = _Decoding(module, self.pixels, conditional=True)
        return made(decoder, self.code, self.classes, encoder=encoder).to(device)


@final
class Autoencoder(Generator):
    """A network with `encode(images) → codes` and `decode(codes) → images`, which knows nothing of classes."""

    factory: Code = Field(description="the function that makes the network, 'file.py:function'")
    weights: File | None = Field(default=None, description="a .safetensors file, or a saved state_dict")
    code: tuple[int, ...] = Field(description="the shape of a code, such as [64]", min_length=1)
    arguments: dict[str, Any] = Field(default={}, description="keyword arguments for the function")
    pixels: Range = (0.0, 1.0)
    prior: bool = Field(default=False, description="do standard normal codes make images, as a VAE's do?")

    def load(self, device: str) -> Decoder:
        """The network, in eval mode.

        Raises:
            StudyError: the function fails, the network lacks a method, or the weights do not fit.
        """
        module = module_of(self.factory, self.arguments)
        if self.weights is not None:
            put(state_of(self.weights), module, self.weights, f"'{self.factory}'")
        if missing := {"encode", "decode"} - set(dir(module)):
            raise StudyError(f"'{self.factory}' makes a network without `{min(missing)}`")
        decoder = _Decoding(module, self.pixels, conditional=False, method="decode")
        encoder = _Encoding(module, self.pixels, conditional=False)
        return made(decoder, self.code, None, prior=self.prior, encoder=encoder).to(device)


def made(
    module: nn.Module,
    code: tuple[int, ...],
    classes: int | None,
    *,
    prior: bool = True,
    encoder: nn.Module | None = None,
) -> Decoder:
    """The decoder of a network, whose images' shape is seen by making one.

    Raises:
        StudyError: it makes no image [n, c, h, w] of a code.
    """
    label = torch.zeros(2, dtype=torch.int64)
    try:
        with torch.no_grad():
            image = module.eval()(torch.zeros(2, *code), label)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise StudyError(f"it takes no codes of shape {list(code)}: {one_line(error)[:200]}") from error
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[1] not in (1, 3):
        got = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise StudyError(f"it must make images [n, 1 or 3, h, w] of codes, not {got}")
    shape = (image.shape[1], image.shape[2], image.shape[3])
    return Decoder(module, code, shape, classes, prior, encoder)


def _by_class(state: Mapping[str, Tensor], path: Path) -> list[dict[str, Tensor]]:
    """The weights of each class, their names without the class."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, weight in state.items():
        label, _, rest = name.partition(".")
        found.setdefault(label, {})[rest] = weight
    if set(found) != {str(k) for k in range(len(found))}:
        raise StudyError(
            f"{path}: names must be led by their class, '0.', '1.', …; there are {sorted(found)[:4]}"
        )
    return [found[str(k)] for k in range(len(found))]
