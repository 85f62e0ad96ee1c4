"""What is checked: a part with fields that make sense, or a plugin; found by the names people write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from pydantic import ValidationError

from classrob.catalog import Catalog
from classrob.component import KINDS
from classrob.errors import PluginError, StudyError, nearest
from classrob.explain import explain
from classrob.loading import load_file
from classrob.parts import Part
from classrob.testing.verdict import Skipped

#: Values for required fields that every part of a kind has; the first that the part accepts is taken.
EXAMPLES: dict[str, tuple[Any, ...]] = {
    "budgets": ((0.1, 0.3), (1, 2)),
    "generator": ({"use": "classrob.testing.tiny:Tints"},),
}


@dataclass
class Subject:
    """A part of a kind; its class is imported, and the part made, when a check first asks for it.

    Attributes:
        name: its full name (`lp/pgd`), or the reference to a file.
        local: it lives in a file, not in a package.
        family: it stands for a family (`timm/*`), so there is no part to make.
    """

    kind: str
    name: str
    load: Callable[[], type[Part]]
    catalog: Catalog
    fields: Mapping[str, Any] = field(default_factory=dict)
    base: Path = field(default_factory=Path.cwd)
    local: bool = False
    family: bool = False

    @classmethod
    def of(cls, kind: str, name: str, part: type[Part], catalog: Catalog, **rest: Any) -> Self:
        """The subject of a class that is at hand."""
        return cls(kind, name, lambda: part, catalog, **rest)

    @property
    def context(self) -> dict[str, Any]:
        """What fields are read in: where paths start, and where names are looked up."""
        return {"base": self.base, "catalog": self.catalog}

    @cached_property
    def cls(self) -> type[Part]:
        """The part's class."""
        return self.load()

    @cached_property
    def part(self) -> Any:
        """The part with the given fields, and examples for what else it requires.

        Raises:
            Skipped: a field has no default, no value and no example; or this is a family.
            StudyError: a field is wrong.
        """
        if self.family:
            raise Skipped("stands for a family: check one of its members by name")
        required = [n for n, f in self.cls.model_fields.items() if f.is_required() and n not in self.fields]
        if missing := [name for name in required if name not in EXAMPLES]:
            raise Skipped(f"has no default for '{missing[0]}': give one by --set {missing[0]}=VALUE")
        made: Part | StudyError = self._made({name: EXAMPLES[name][0] for name in required})
        for name in required:
            for value in EXAMPLES[name][1:]:
                made = made if isinstance(made, Part) else self._made({name: value})
        if isinstance(made, StudyError):
            raise made
        return made

    def _made(self, examples: Mapping[str, Any]) -> Part | StudyError:
        try:
            return self.cls.model_validate({**examples, **self.fields}, context=self.context)
        except ValidationError as error:
            return StudyError(f"{self.kind} '{self.name}': {explain(error, list(self.cls.model_fields))}")


@dataclass
class PluginSubject:
    """A plugin by its entry-point name."""

    name: str
    catalog: Catalog
    kind: str = "plugin"

    @property
    def module(self) -> str:
        """The name of its entry module."""
        for plugin in self.catalog.plugins:
            if plugin.name == self.name:
                return plugin.module.partition(":")[0]
        registered = self.catalog.manager.get_plugin(self.name)
        return registered.__name__ if isinstance(registered, ModuleType) else type(registered).__module__


def subjects(
    reference: str, catalog: Catalog, fields: Mapping[str, Mapping[str, Any]], kind: str | None = None
) -> list[Subject | PluginSubject]:
    """What a reference names: a plugin with all its parts, a part (of several kinds: all), a class in a file.

    `fields` holds fields by the part's full name; those under the reference itself hold for all it names.

    Raises:
        StudyError: it names nothing. PluginError: it names a broken plugin.
    """
    own = fields.get(reference, {})
    if ".py:" in reference:
        return [_local(reference, catalog, own)]
    found: list[Subject | PluginSubject] = []
    if kind is None:
        found += _plugin(reference, catalog, fields)
    taken = {(one.kind, one.name) for one in found}
    named = [s for k in KINDS if kind in (None, k) for s in _parts(k, reference, catalog, own)]
    found += [one for one in named if (one.kind, one.name) not in taken]
    if not found:
        known = {p.name for p in catalog.plugins} | {o.name for o in catalog.offers}
        what = f"{kind}" if kind else "plugin or part"
        raise StudyError(
            f"no {what} is called '{reference}'{nearest(reference, known)}; see 'classrob plugins'"
        )
    return found


def _plugin(
    name: str, catalog: Catalog, fields: Mapping[str, Mapping[str, Any]]
) -> Iterator[Subject | PluginSubject]:
    if not catalog.manager.has_plugin(name):
        for plugin in catalog.plugins:
            if plugin.name == name:
                source = f"{plugin.distribution} {plugin.version}"
                raise PluginError(f"plugin '{name}' ({source}) is broken: {plugin.error}")
        return
    yield PluginSubject(name, catalog)
    for offer in catalog.offers:
        if offer.plugin == name:
            yield from _parts(offer.kind, offer.name, catalog, fields.get(offer.name, {}))


def _parts(kind: str, reference: str, catalog: Catalog, fields: Mapping[str, Any]) -> Iterator[Subject]:
    try:
        offer, filled = catalog.find(kind, reference)
    except StudyError:
        if any(o.component.name == reference for o in catalog.offers if o.kind == kind):
            raise  # ambiguous
        return
    family = offer.component.name == "*" and not filled
    name = reference if filled else offer.name

    def load() -> type[Part]:
        return catalog.part_class(kind, name)[0]

    yield Subject(kind, name, load, catalog, {**filled, **fields}, family=family)


def _local(reference: str, catalog: Catalog, fields: Mapping[str, Any]) -> Subject:
    path, _, attribute = reference.rpartition(":")
    cls = vars(load_file(path)).get(attribute)
    if not isinstance(cls, type):
        raise StudyError(f"{path} has no class '{attribute}'")
    for kind, target in KINDS.items():
        module, _, name = target.partition(":")
        if issubclass(cls, getattr(import_module(module), name)):
            found = catalog.part_class(kind, reference)[0]
            return Subject.of(kind, reference, found, catalog, fields=fields, local=True)
    raise StudyError(f"{reference} is no part: it must inherit from one of classrob's ({', '.join(KINDS)})")
