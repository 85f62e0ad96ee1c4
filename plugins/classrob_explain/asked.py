"""A field that names an explainer, `cam` or a table with `use` and its fields, and the part that it stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo

from classrob.catalog import Catalog
from classrob.errors import StudyError
from classrob.parts import Explainer


def _known(value: str | dict[str, Any], info: ValidationInfo) -> str | dict[str, Any]:
    """The reference, with files relative to the study, once its explainer could be made.

    A study's errors are told at once, and not by the first shard.
    """
    table = {"use": value} if isinstance(value, str) else value
    use = table.get("use")
    if not isinstance(use, str) or not use:
        raise ValueError("an explainer is a name, or a table with `use` and fields")
    base = (info.context or {}).get("base")
    if ".py:" in use and base is not None and not Path(use).is_absolute():
        table = {**table, "use": str(Path(base) / use)}
    try:
        explainer_of(table)
    except StudyError as error:
        raise ValueError(str(error)) from None
    return table if len(table) > 1 else table["use"]


def explainer_of(value: str | dict[str, Any]) -> Explainer:
    """The explainer of a reference.

    Raises:
        StudyError: there is none of the name, or a field is wrong.
    """
    table = {"use": value} if isinstance(value, str) else value
    fields = {name: one for name, one in table.items() if name != "use"}
    return Catalog.installed().make("explainer", table["use"], fields)


#: An explainer's name, or a table with `use` and fields.
Asked = Annotated[
    str | dict[str, Any],
    AfterValidator(_known),
    Field(description="the explanation: an explainer's name, or a table with `use` and its fields"),
]
