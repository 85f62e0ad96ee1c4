"""Field types that parts share: budgets, files next to the study, functions in files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo


def _number(value: Any) -> float:
    """A number, or a fraction as text: `8/255`."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"a budget is a number or a fraction such as '8/255', not {value!r}")
    try:
        number = float(Fraction(value)) if isinstance(value, str) else float(value)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"a budget is a number or a fraction such as '8/255', not {value!r}") from None
    if not 0.0 < number < float("inf"):
        raise ValueError(
            f"a budget is above 0 and finite, not {value!r} (the unperturbed images are always measured)"
        )
    return number


def _budgets(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        value = [value]
    numbers = tuple(_number(one) for one in value)
    for before, after, text in zip(numbers, numbers[1:], value[1:], strict=False):
        if after <= before:
            raise ValueError(f"budgets ascend, each larger than the one before: {text!r} comes too late")
    return numbers


#: Ascending budgets above 0; a single one may stand alone; fractions are exact until the last step.
Budgets = Annotated[tuple[float, ...], BeforeValidator(_budgets), Field(min_length=1)]


def _resolve(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    path = path.expanduser()
    full = path if path.is_absolute() or base is None else Path(base) / path
    if not full.exists():
        raise ValueError(f"no such file or folder: {full}")
    return full


#: A file or folder, relative to the study; its content is a part of the identity.
File = Annotated[Path, AfterValidator(_resolve)]


def _code(value: str, info: ValidationInfo) -> str:
    path, colon, attribute = value.rpartition(":")
    if not colon or not attribute.isidentifier() or not path.endswith(".py"):
        raise ValueError(f"must read 'file.py:name', not {value!r}")
    full = _resolve(Path(path), info)
    return f"{full}:{attribute}"


#: A function or class in a Python file, `file.py:name`, relative to the study.
Code = Annotated[str, AfterValidator(_code)]
