"""`FIELD=VALUE` as people write it on the command line."""

from __future__ import annotations

import tomllib
from typing import Any

from classrob.errors import UsageError


def assigned(text: str) -> tuple[str, Any]:
    """`budgets=[1, 2]` as a name and a TOML value; what is no TOML is a string.

    Raises:
        UsageError: there is no name, or no equals sign.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--set takes FIELD=VALUE, such as steps=10, not '{text}'")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value
