"""A generator in memory: codes and classes in, images out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from classrob.errors import StudyError, one_line
from classrob.images import Fit
from classrob.live import ROWS, constant
from classrob.streams import Streams

#: How many images are decoded at once: more than the caches of a processor hold are slower each.
_AT_ONCE = 256


@dataclass
class Decoder:
    """A generator in memory: codes float32 [n, *code] and labels int64 [n] to images float32 [n, c, h, w] in [0, 1].

    Its networks are constant and in eval mode; an image's gradient in its code is theirs. Like a model's
    they are called on a multiple of `ROWS` rows, so that an image does not depend on those beside it.

    Attributes:
        module: (codes, labels) → images.
        code: the shape of one code.
        shape: (channels, height, width) of an image.
        classes: how many classes it makes images of; None: the label changes nothing.
        prior: do standard normal codes make images? Where they do not, it can only encode.
        encoder: (images, labels) → codes, where there is one.
    """

    module: nn.Module
    code: tuple[int, ...]
    shape: tuple[int, int, int]
    classes: int | None = None
    prior: bool = True
    encoder: nn.Module | None = None
    name: str = "generator"
    device: str = "cpu"

    def __post_init__(self) -> None:
        for module in (self.module, self.encoder):
            if module is not None:
                module.eval().requires_grad_(False)

    def to(self, device: str) -> Self:
        """The same generator on another device."""
        encoder = None if self.encoder is None else self.encoder.to(device)
        return replace(self, module=self.module.to(device), encoder=encoder, device=device)

    @property
    def fit(self) -> Fit:
        """What images its encoder takes, and what it makes."""
        return Fit(self.shape[1:], self.shape[0])

    @contextmanager
    def frozen(self) -> Iterator[Self]:
        """Eval mode and constant weights inside, also of a generator that is being trained."""
        with constant(self.module):
            yield self

    @contextmanager
    def learning(self) -> Iterator[nn.Module]:
        """The module to train, its weights free inside; constant and in eval mode afterwards.

        The module's weights are all that it has: where it has an encoder, those of the encoder too.
        """
        self.module.requires_grad_(True)
        try:
            yield self.module
        finally:
            self.module.eval().requires_grad_(False)

    def __call__(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Images float32 [n, c, h, w] in [0, 1], differentiable in the codes.

        Raises:
            StudyError: the networks fail, or give images of another shape; a label is none of its classes.
        """
        self._known(labels)
        return self._in_parts(self.module, codes, labels, self.shape)

    def encode(self, images: Tensor, labels: Tensor) -> Tensor | None:
        """Codes [n, *code] by the encoder; None where there is none.

        Raises:
            StudyError: as for a call.
        """
        if self.encoder is None:
            return None
        self._known(labels)
        with torch.no_grad():
            return self._in_parts(self.encoder, images, labels, self.code)

    def error(self, images: Tensor, labels: Tensor) -> Tensor:
        """How far off the images of images' own codes are, [n]: root mean square over pixels in [0, 1].

        Raises:
            StudyError: it has no encoder; or as for a call.
        """
        codes = self.encode(images, labels)
        if codes is None:
            raise StudyError(f"generator '{self.name}' has no encoder")
        with torch.no_grad():
            return (self(codes, labels) - images).flatten(1).square().mean(1).sqrt()

    def draw(self, streams: Streams) -> Tensor:
        """Codes from the prior, [n, *code].

        Raises:
            StudyError: it has none.
        """
        if not self.prior:
            raise StudyError(f"generator '{self.name}' has no prior to draw codes from: encode images")
        return streams.normal(*self.code)

    def _known(self, labels: Tensor) -> None:
        if self.classes is not None and len(labels) and int(labels.max()) >= self.classes:
            raise StudyError(
                f"generator '{self.name}' knows {self.classes} classes, and an image is of class {int(labels.max())}"
            )

    def _in_parts(self, module: nn.Module, x: Tensor, labels: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A network on some rows at a time, [n, *shape]."""
        if not len(x):
            return x.new_zeros(0, *shape)
        parts = zip(x.split(_AT_ONCE), labels.split(_AT_ONCE), strict=True)
        made = [self._run(module, *part, shape) for part in parts]
        return made[0] if len(made) == 1 else torch.cat(made)

    def _run(self, module: nn.Module, x: Tensor, labels: Tensor, shape: tuple[int, ...]) -> Tensor:
        n = len(x)
        if short := -n % ROWS:
            x = torch.cat([x, x[:1].detach().expand(short, *x.shape[1:])])
            labels = torch.cat([labels, labels[:1].expand(short)])
        try:
            made = module(x, labels)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
            raise StudyError(
                f"generator '{self.name}' cannot take {list(x.shape[1:])}: {one_line(error)[:200]}"
            ) from error
        if not isinstance(made, Tensor) or made.shape != (len(x), *shape):
            got = list(made.shape[1:]) if isinstance(made, Tensor) else type(made).__name__
            raise StudyError(f"generator '{self.name}' must give {list(shape)} a row, not {got}")
        return (made[:n] if short else made).float()
