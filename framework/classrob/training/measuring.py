"""The study that measures a trained model: its weights, held-out data, the threats of its recipe."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from classrob.parts import Part

#: What a reference to a local class, or a function in a file, begins with.
_CODE = re.compile(r"(.+\.py):(\w+)")


def table_of(reference: str, part: Part, filled: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """A part as a table of a study in a folder: fields that differ from their defaults, paths relative.

    `filled` are the fields that the reference itself fills.
    """
    fields = {
        name: _portable(value, folder)
        for name, value in part
        if name not in filled and value is not None and value != type(part).model_fields[name].default
    }
    return {"use": _portable(reference, folder, local=True), **fields}


def _portable(value: Any, folder: Path, *, local: bool = False) -> Any:
    """The value as TOML holds it, a path in it as seen from the folder."""
    match value:
        case Path():
            return os.path.relpath(value, folder)
        case str() if (found := _CODE.fullmatch(value)) and Path(found[1]).is_file():
            path = os.path.relpath(found[1], folder)
            return f"{'' if not local or path.startswith('.') else './'}{path}:{found[2]}"
        case Mapping():
            return {str(key): _portable(one, folder) for key, one in value.items() if one is not None}
        case list() | tuple():
            return [_portable(one, folder) for one in value]
        case _:
            return value


def toml(study: Mapping[str, Any]) -> str:
    """A study as TOML: lists of tables under [[…]], everything inside a table on its line."""
    plain = [f"{key} = {_value(value)}\n" for key, value in study.items() if not _tables(value)]
    tables = [
        f"\n[[{key}]]\n" + "".join(f"{_key(name)} = {_value(one)}\n" for name, one in table.items())
        for key, several in study.items()
        if _tables(several)
        for table in several
    ]
    return "".join([*plain, *tables])


def _tables(value: Any) -> bool:
    return (
        isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(v, dict) for v in value)
    )


def inline(table: Mapping[str, Any]) -> str:
    """A table on one line."""
    return "{ " + ", ".join(f"{_key(name)} = {_value(value)}" for name, value in table.items()) + " }"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case int() | float():
            return repr(value)
        case Mapping():
            return inline(value)
        case _:
            return f"[{', '.join(_value(one) for one in value)}]"


def named(text: str) -> str:
    """A name that a study may have, from any text."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:100] or "model"
