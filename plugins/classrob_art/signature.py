"""The parameters of an ART attack's constructor: their types, defaults and meaning, from its source."""

from __future__ import annotations

import ast
import math
import operator
import re
from dataclasses import dataclass
from types import NoneType
from typing import Any, Optional, Union

from classrob_art.source import Source

_PLAIN = {"int": int, "float": float, "bool": bool, "str": str}
_GENERIC = {"tuple": tuple, "Tuple": tuple, "list": list, "List": list}
_NUMBERS = {"inf": math.inf, "pi": math.pi}
_OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Unreadable(Exception):
    """A type or a default that a study file could not hold."""


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        type: its type as pydantic takes it; None where a study file cannot hold a value of it.
        required: it has no default.
        default: its default; None too where that is no plain value.
        meaning: what the docstring says of it, on one line.
    """

    name: str
    type: Any
    required: bool
    default: Any
    meaning: str


def parameters(source: Source) -> tuple[Parameter, ...]:
    """The constructor's parameters, the classifier that comes first left out."""
    init = source.method("__init__")
    if init is None:
        return ()
    meanings = _meanings(ast.get_docstring(init) or "")
    names = init.args.args[2:]
    defaults = [None] * (len(names) - len(init.args.defaults)) + init.args.defaults
    return tuple(
        _parameter(one, default, meanings.get(one.arg, ""))
        for one, default in zip(names, defaults[-len(names) :] if names else (), strict=True)
    )


def classifier_name(source: Source) -> str:
    """What the constructor calls the classifier: `estimator`, `classifier`."""
    init = source.method("__init__")
    return init.args.args[1].arg if init is not None else ""


def fixed_norm(source: Source) -> float | None:
    """The norm that the constructor hands to its base's, where it hands on a fixed one."""
    for call in ast.walk(source.method("__init__") or ast.Pass()):
        for keyword in call.keywords if isinstance(call, ast.Call) else ():
            if keyword.arg == "norm":
                try:
                    return float(_value(keyword.value))
                except Unreadable:
                    return None
    return None


def said_of(source: Source, method: str) -> dict[str, str]:
    """What a method's docstring says of each parameter, on one line."""
    found = source.method(method)
    return {} if found is None else _meanings(ast.get_docstring(found) or "")


def _parameter(node: ast.arg, default: ast.expr | None, meaning: str) -> Parameter:
    kind: Any = None
    value: Any = None
    try:
        kind = _type(node.annotation)
        value = None if default is None else _value(default)
    except Unreadable:
        kind = value = None
    return Parameter(node.arg, None if kind is NoneType else kind, default is None, value, meaning)


def _meanings(doc: str) -> dict[str, str]:
    found = re.findall(r":param (\w+):(.*?)(?=\n\s*:|\Z)", doc, re.DOTALL)
    return {name: " ".join(text.split()) for name, text in found}


def _type(node: ast.expr | None) -> Any:
    """The type that an annotation names, without those members of a union that no study file can hold."""
    match node:
        case ast.Constant(value=None):
            return NoneType
        case ast.Constant(value=str(text)):
            return _type(ast.parse(text, mode="eval").body)
        case ast.Name(id=name) if name in _PLAIN:
            return _PLAIN[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union([left, right])
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=members)):
            return _union(members)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=member):
            return Optional[_type(member)]  # noqa: UP045 - the member is known at run time only
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in _GENERIC:
            members = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return _GENERIC[name][tuple(_type(one) for one in members)]
        case ast.Name(id=name) if name in _GENERIC:
            return _GENERIC[name][(Any, ...)] if name in ("tuple", "Tuple") else list
    raise Unreadable


def _union(members: list[ast.expr]) -> Any:
    kept: list[Any] = []
    for member in members:
        try:
            kept.append(_type(member))
        except Unreadable:
            continue
    if not kept:
        raise Unreadable
    return Union[tuple(kept)]  # noqa: UP007 - the members are known at run time only


def _value(node: ast.expr) -> Any:
    """The value of a default: a constant, simple arithmetic, ∞, π, or a tuple of such."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_value(left), _value(right))
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return tuple(_value(one) for one in elements)
        case ast.Attribute(attr=name) if name in _NUMBERS:
            return _NUMBERS[name]
    raise Unreadable
