"""A study: what to measure, as data. TOML in, a validated value out."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from classrob.errors import StudyError, UsageError
from classrob.explain import explain


class Study(BaseModel):
    """A study file's content. Entries name a part with `use`; their other keys are the part's fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100, description="names the run's folder"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of every random stream")
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?|mps)$", description="where models run")
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=65536,
        description="the most images one forward pass sees; None: found by timing",
    )
    shard_size: int = Field(
        default=256, ge=1, le=65536, description="samples of one unit of work and of resume"
    )
    pictures: int = Field(default=4, ge=0, le=100, description="images kept a class for the report")
    exhaustive: bool = Field(default=False, description="attack every budget; nothing is implied")
    spot_check: float = Field(
        default=0.02, ge=0.0, le=1.0, description="share of implied verdicts attacked directly"
    )
    model: tuple[dict[str, Any], ...] = Field(min_length=1)
    dataset: tuple[dict[str, Any], ...] = Field(min_length=1)
    threat: tuple[dict[str, Any], ...] = ()
    probe: tuple[dict[str, Any], ...] = ()
    detector: tuple[dict[str, Any], ...] = ()
    explainer: tuple[dict[str, Any], ...] = ()
    metric: tuple[dict[str, Any], ...] = ()

    @field_validator("model", "dataset", "threat", "probe", "detector", "explainer", "metric", mode="before")
    @classmethod
    def _tables(cls, value: Any) -> Any:
        if isinstance(value, dict):
            raise ValueError("write it as a list of tables, [[…]]")
        for entry in value if isinstance(value, list | tuple) else ():
            if not isinstance(entry, dict) or not isinstance(entry.get("use"), str) or not entry["use"]:
                raise ValueError("every entry is a table with `use`, the name of a part")
        return value


def read_study(path: Path, changes: tuple[str, ...] = ()) -> Study:
    """Read and validate a study file, with `PATH=VALUE` changes applied.

    Raises:
        StudyError: the file is absent, no TOML, or no study; one line that says where.
        UsageError: a change does not read PATH=VALUE.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise StudyError(f"no such study: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path} is not valid TOML: {error}") from None
    for change in changes:
        _apply(data, change)
    return make_study(data, str(path))


def make_study(data: dict[str, Any], where: str = "study") -> Study:
    """Validate a study given as plain data."""
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        raise StudyError(f"{where}: {explain(error, list(Study.model_fields))}") from None


def _apply(data: dict[str, Any], change: str) -> None:
    """Set one value by a dotted path, `dataset.0.limit=100`."""
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise UsageError(f"--set takes PATH=VALUE, such as dataset.0.limit=100, not '{change}'")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = path.split(".")
    node: Any = data
    try:
        for step in parents:
            node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
        node[int(last) if isinstance(node, list) else last] = value
    except (ValueError, IndexError, TypeError, AttributeError):
        raise UsageError(f"--set {path}: the study has no such place") from None
