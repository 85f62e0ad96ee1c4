"""Generators in memory, one a process: loaded once, with the codes that were found for images."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from torch import Tensor

from classrob.decoder import Decoder
from classrob.errors import ClassrobError
from classrob.identity import identity
from classrob.parts import Generator

#: So many codes of images are remembered for the models and attacks to come.
REMEMBERED = 50_000


@dataclass
class Loaded:
    """A generator in memory.

    Attributes:
        key: names the generator by content: class, fields, files and source.
        found: by a digest of image, class and settings, the code that was found, and its error.
    """

    decoder: Decoder
    key: str
    found: dict[str, tuple[Tensor, float]] = field(default_factory=dict, repr=False)

    def remember(self, image: str, code: Tensor, error: float) -> None:
        """Keep a code for the next condition; when there are too many, begin anew."""
        if len(self.found) >= REMEMBERED:
            self.found.clear()
        self.found[image] = code, error


@dataclass(frozen=True)
class _Key:
    identity: str
    device: str
    part: Generator = field(compare=False)


def loaded(generator: Generator, device: str) -> Loaded:
    """The generator on a device, loaded when it is first asked for.

    Raises:
        StudyError: it cannot be loaded; one line that says which generator.
    """
    return _loaded(_Key(identity(generator), device, generator))


@lru_cache(maxsize=4)
def _loaded(key: _Key) -> Loaded:
    try:
        return Loaded(key.part.load(key.device), key.identity[:12])
    except ClassrobError as error:
        raise type(error)(f"generator '{type(key.part).__name__.lower()}': {error}") from error.__cause__
