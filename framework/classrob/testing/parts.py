"""What every part promises: to be a frozen, documented value that survives a round trip through JSON."""

from __future__ import annotations

from pydantic import ValidationError

from classrob.identity import identity
from classrob.testing.subject import Subject
from classrob.testing.verdict import Broken, Skipped, ensure


def is_frozen(subject: Subject) -> None:
    """No field can be assigned once the part is made."""
    part = subject.part
    for name in type(part).model_fields:
        try:
            setattr(part, name, getattr(part, name))
        except (ValidationError, AttributeError, TypeError):
            continue
        raise Broken(f"field '{name}' can be assigned: leave `frozen` in model_config")
    ensure(bool(type(part).model_config.get("frozen")), "model_config must leave `frozen` on")


def survives_json(subject: Subject) -> None:
    """Written to JSON and read again it is an equal part with the same identity."""
    part = subject.part
    again = type(part).model_validate_json(part.model_dump_json(), context=subject.context)
    changed = [name for name in type(part).model_fields if getattr(again, name) != getattr(part, name)]
    ensure(not changed, f"field '{', '.join(changed)}' comes back from JSON with another value")
    ensure(again == part, "it comes back from JSON as another part: state outside of its fields?")
    ensure(
        identity(again) == identity(part), "its identity changes on the way through JSON: `ingredients` vary?"
    )


def refuses_unknown_fields(subject: Subject) -> None:
    """A field that it does not have is an error, so that a typing error is never ignored."""
    stranger = "no_such_field"
    try:
        subject.cls.model_validate({**subject.fields, stranger: 1}, context=subject.context)
    except ValidationError as error:
        if any(
            fault["type"] == "extra_forbidden" and fault["loc"] == (stranger,) for fault in error.errors()
        ):
            return
        raise Skipped(
            f"its fields need values before unknown ones are looked at: {error.errors()[0]['msg']}"
        ) from None
    raise Broken("a field that it does not have is accepted: leave `extra` in model_config")


def has_a_docstring(subject: Subject) -> None:
    """The class has a docstring of its own, whose first line says what the part is."""
    text = (vars(subject.cls).get("__doc__") or "").strip()
    ensure(bool(text), f"class {subject.cls.__name__} has no docstring of its own")
    ensure(
        len(text.splitlines()[0]) > 10,
        f"the docstring's first line says too little: '{text.splitlines()[0]}'",
    )


def describes_its_fields(subject: Subject) -> None:
    """Every field has a description, which `classrob describe` shows; not asked of a class in a lone file."""
    if subject.local:
        raise Skipped("a class in a lone file need not describe its fields")
    bare = [name for name, field in subject.cls.model_fields.items() if not (field.description or "").strip()]
    ensure(not bare, f"no description for field '{', '.join(bare)}': write Field(…, description='…')")


CHECKS = (is_frozen, survives_json, refuses_unknown_fields, has_a_docstring, describes_its_fields)
