"""`classrob describe`: what a part is, and its fields, from its own schema."""

from __future__ import annotations

import inspect
import json
from typing import Any

import click

from classrob.catalog import Catalog
from classrob.cli.tabular import FORMAT, emit
from classrob.component import KINDS
from classrob.errors import ClassrobError, StudyError
from classrob.parts import Part


@click.command("describe")
@click.argument("reference")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Needed where parts of two kinds share a name.")
@FORMAT
def command(reference: str, kind: str | None, style: str) -> None:
    """Explain the part REFERENCE (art/pgd, linf, ./sign.py:Sign): what it is, and its fields."""
    found = resolve(reference, kind)
    for one, cls in found:
        if style == "table":
            click.echo(f"{reference} · {one}\n\n{inspect.getdoc(cls) or ''}\n")
        emit(_fields(cls), style, ["field", "type", "default", "meaning"])


def resolve(reference: str, kind: str | None) -> list[tuple[str, type[Part]]]:
    """The kinds and classes that a reference names; of several kinds, all.

    Raises:
        StudyError: there is none.
    """
    catalog, found = Catalog.installed(), list[tuple[str, type[Part]]]()
    errors: dict[str, ClassrobError] = {}
    for one in [kind] if kind else KINDS:
        try:
            found.append((one, catalog.part_class(one, reference)[0]))
        except ClassrobError as error:
            errors[one] = error
    if not found:
        if kind or ".py:" in reference:
            raise list(errors.values())[-1]
        family = f"{reference.partition('/')[0]}/*"
        kinds = [offer.kind for offer in catalog.offers if offer.name == family and reference != family]
        if len(kinds) == 1:  # a family knows why it has no such member
            raise errors[kinds[0]]
        raise StudyError(f"no part is called '{reference}'; 'classrob list KINDS' shows what there is")
    return found


def _fields(cls: type[Part]) -> list[dict[str, Any]]:
    properties = cls.model_json_schema()["properties"] if cls.model_fields else {}
    return [
        {
            "field": name,
            "type": _type(properties.get(name, {})),
            "default": "required" if field.is_required() else json.dumps(field.default, default=_shown),
            "meaning": field.description or "",
        }
        for name, field in cls.model_fields.items()
    ]


def _shown(value: object) -> str:
    """A default that JSON does not know; a part with its class, whose fields alone say little."""
    return repr(value) if isinstance(value, Part) else str(value)


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(_type(one) for one in schema["anyOf"])
    return str(schema.get("type", "any"))
