"""Which columns of a Parquet file hold the images and the labels, and what the classes are called."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from classrob.errors import StudyError, nearest, one_line


@dataclass(frozen=True)
class Columns:
    """The image column, the label column, and the class names where the file brings them."""

    image: str
    label: str
    classes: tuple[str, ...] | None


def columns_of(schema: pa.Schema, image: str | None, label: str | None, path: Path) -> Columns:
    """The columns of a file: those asked for, else the only ones that can be meant.

    The Hub's `huggingface` metadata (features of type Image and ClassLabel) goes before the types.

    Raises:
        StudyError: there is no such column, none at all, or several.
    """
    features = _features(schema, path)
    images = [field.name for field in schema if _holds_images(field.type)]
    labels = [field.name for field in schema if pa.types.is_integer(field.type)]
    chosen = _choose("image", image, images, _of_type(features, "Image"), schema, path)
    label = _choose("label", label, labels, _of_type(features, "ClassLabel"), schema, path)
    names = features.get(label, {}).get("names")
    return Columns(chosen, label, tuple(map(str, names)) if names else None)


def _features(schema: pa.Schema, path: Path) -> dict[str, dict[str, Any]]:
    raw = (schema.metadata or {}).get(b"huggingface")
    if raw is None:
        return {}
    try:
        features = json.loads(raw)["info"]["features"]
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path}: its `huggingface` metadata is damaged: {one_line(error)}") from error
    return {name: one for name, one in features.items() if isinstance(one, dict)}


def _of_type(features: dict[str, dict[str, Any]], kind: str) -> list[str]:
    return [name for name, feature in features.items() if feature.get("_type") == kind]


def _holds_images(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.StructType):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _choose(
    role: str, asked: str | None, possible: list[str], declared: list[str], schema: pa.Schema, path: Path
) -> str:
    if asked is not None:
        if asked not in schema.names:
            raise StudyError(f"{path} has no column '{asked}'{nearest(asked, schema.names)}")
        if asked not in possible:
            raise StudyError(f"{path}: column '{asked}' ({schema.field(asked).type}) cannot hold {role}s")
        return asked
    candidates = [name for name in declared if name in possible] or possible
    if len(candidates) > 1 and role in candidates:  # `label` beside `id` needs no word from anybody
        candidates = [role]
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        listed = ", ".join(f"{field.name}: {field.type}" for field in schema)
        raise StudyError(f"{path} has no column of {role}s (it has {listed})")
    raise StudyError(f"{path}: set `{role}` to one of the columns {', '.join(candidates)}")
