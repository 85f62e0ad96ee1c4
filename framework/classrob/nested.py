"""A part as a field of another part: a name or a table with `use` in the study, the part itself in the program."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from classrob.catalog import Catalog
from classrob.component import KINDS
from classrob.errors import StudyError
from classrob.loading import LOCAL, part_class_at
from classrob.parts import Part


@dataclass(frozen=True)
class Nested:
    """Marks a field that holds a part of a kind: `generator: Annotated[Generator, Nested("generator")]`.

    In a study it is written like an attack: a name, or a table with `use` and the part's fields.
    """

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._made, serialization=core_schema.plain_serializer_function_ser_schema(written)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": f"{self.kind}: a name, or a table with `use`"}

    def _made(self, value: Any, info: ValidationInfo) -> Part:
        module, _, name = KINDS[self.kind].partition(":")
        if isinstance(value, getattr(importlib.import_module(module), name)):
            return value
        table = {"use": value} if isinstance(value, str) else value
        if not isinstance(table, Mapping) or not isinstance(table.get("use"), str):
            raise ValueError(f"must be the name of a {self.kind}, or a table with `use`, not {value!r}")
        context = info.context or {}
        fields = {key: one for key, one in table.items() if key not in ("use", "name")}
        try:
            return _part(self.kind, table["use"], fields, context.get("catalog"), context.get("base"))
        except StudyError as error:  # pydantic says in which field
            raise ValueError(str(error)) from error


def _part(kind: str, use: str, fields: Mapping[str, Any], catalog: Catalog | None, base: Path | None) -> Part:
    catalog = catalog or Catalog.installed()
    if ":" in use and ".py:" not in use:  # as `written` has it
        cls = part_class_at(use, kind, importlib.import_module)
        return cls.model_validate(dict(fields), context={"base": base, "catalog": catalog})
    return catalog.make(kind, use, fields, base)


def written(part: Part) -> dict[str, Any]:
    """A part as a table with `use` and fields, from which it can be made again."""
    cls = type(part)
    local = cls.__module__.startswith(LOCAL)
    place = inspect.getfile(cls) if local else cls.__module__
    return {"use": f"{place}:{cls.__qualname__}", **part.model_dump(mode="json")}
