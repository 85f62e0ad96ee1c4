"""Objects of this process as a study can hold them: a network, or images, known by what they are made of.

A store never sees such an object, only its digest. Equal digests must mean equal results. So where it cannot
be said of what a network is made (a lambda, a hook, a class without source), its digest is one of a kind, and
nothing is ever taken over.
"""

from __future__ import annotations

import hashlib
import inspect
import types
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, model_validator
from torch import Tensor, nn

from classrob.identity import file_digest

#: What every module has, and what is looked at elsewhere: parameters, buffers and children.
_OWN = frozenset(vars(nn.Module()))
#: Hooks change what a module computes, and nothing is known of them.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Held(BaseModel):
    """An object in memory; written to JSON only its digest is left."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    value: Any = Field(exclude=True, repr=False)
    digest: str

    @model_validator(mode="wrap")
    @classmethod
    def _alive(cls, data: Any, handler: ValidatorFunctionWrapHandler) -> Self:
        if not isinstance(data, Held) and not (isinstance(data, Mapping) and "value" in data):
            raise ValueError("is an object in memory, which only classrob.evaluate can hand over")
        return handler(data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def digest_of(value: object) -> str:
    """A digest of a network with its code and weights, or of arrays; see the module's first lines."""
    found = hashlib.sha256()
    for part in _parts(value, set()):
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()[:24]


def _parts(value: object, seen: set[int]) -> Iterator[bytes]:
    """What a value is made of; a network that holds itself is walked once."""
    yield type(value).__qualname__.encode()
    match value:
        case None | bool() | int() | float() | complex() | str() | bytes():
            yield repr(value).encode()
        case Tensor():
            yield f"{value.dtype} {tuple(value.shape)} {value.requires_grad}".encode()
            yield np.ascontiguousarray(
                value.detach().cpu().contiguous().flatten().numpy(force=True)
            ).tobytes()
        case np.ndarray() if value.dtype != object:
            yield f"{value.dtype} {value.shape}".encode()
            yield np.ascontiguousarray(value).tobytes()
        case list() | tuple():
            for one in value:
                yield from _parts(one, seen)
        case dict():
            for key, one in value.items():
                yield from _parts(key, seen)
                yield from _parts(one, seen)
        case nn.Module():
            if id(value) not in seen:
                seen.add(id(value))
                yield from _module(value, seen)
        case type() | types.FunctionType() | types.BuiltinFunctionType():
            yield _code(value)
        case _:
            yield uuid.uuid4().bytes


def _module(module: nn.Module, seen: set[int]) -> Iterator[bytes]:
    yield from (_code(cls) for cls in type(module).__mro__)
    yield str(module.training).encode()
    if any(vars(module).get(name) for name in _HOOKS):
        yield uuid.uuid4().bytes
    for name in ("_parameters", "_buffers", "_modules"):
        yield name.encode()
        yield from _parts(dict(vars(module)[name]), seen)
    for name, value in vars(module).items():
        if name not in _OWN:
            yield name.encode()
            yield from _parts(value, seen)


def _code(thing: type | types.FunctionType | types.BuiltinFunctionType) -> bytes:
    """Where a class or function comes from, with the content of its file and of the neighbours it imports.

    Torch's and Python's own are known by name. One of a notebook's cell, a lambda or a closure is one of a
    kind: it may use whatever else the notebook holds.
    """
    name = f"{thing.__module__}.{thing.__qualname__}"
    if (thing.__module__ or "").partition(".")[0] in ("torch", "builtins", "abc", "typing"):
        return name.encode()
    try:
        path = Path(inspect.getfile(thing)).resolve()
    except (TypeError, OSError):
        return uuid.uuid4().bytes
    functions = vars(thing).values() if isinstance(thing, type) else (thing,)
    files = {f.__code__.co_filename for f in functions if isinstance(f, types.FunctionType)}
    elsewhere = any(Path(file).resolve() != path for file in files)
    if not path.is_file() or elsewhere or "<" in thing.__qualname__:
        return uuid.uuid4().bytes
    return f"{name} {file_digest(path)}".encode()
