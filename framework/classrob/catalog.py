"""Every part by name: entry points and local files in, parts out; says what is broken and why.

A plugin's entry-point name is the namespace of its parts. A bare name serves while exactly one plugin
offers it. Entry points are loaded one by one, so a broken plugin never takes down the others.
"""

from __future__ import annotations

import fnmatch
import importlib
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
from pydantic import ValidationError

from classrob import hookspecs
from classrob.component import KINDS, Component
from classrob.errors import ClassrobError, PluginError, StudyError, nearest, one_line
from classrob.explain import explain
from classrob.loading import load_file, part_class_at
from classrob.parts import Part

GROUP = "classrob"


@dataclass(frozen=True)
class Plugin:
    """One entry point: what it is called, where it comes from, and what is wrong with it, if anything."""

    name: str
    module: str
    distribution: str
    version: str
    error: str | None = None
    trace: str | None = None


@dataclass(frozen=True)
class Offer:
    """A component as a plugin offers it."""

    kind: str
    plugin: str
    component: Component

    @property
    def name(self) -> str:
        """The full name, `art/pgd`."""
        return f"{self.plugin}/{self.component.name}"


@dataclass
class Catalog:
    """All offers of all plugins; build it with `Catalog.installed()`.

    `named` holds, by kind and name, the entries of the study at hand: parts may refer to these too.
    """

    plugins: list[Plugin] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    manager: pluggy.PluginManager = field(default_factory=lambda: _manager())
    named: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)

    @classmethod
    def installed(cls) -> Catalog:
        """The catalogue of everything installed here."""
        catalog = cls()
        points = entry_points(group=GROUP)

        def rank(point: EntryPoint) -> tuple[bool, str, str]:
            own = point.dist is not None and point.dist.name == "classrob"
            return (not own, point.dist.name if point.dist else "", point.name)

        for point in sorted(points, key=rank):
            catalog._load(point)
        return catalog

    # -- loading ------------------------------------------------------------------------------------

    def _load(self, point: EntryPoint) -> None:
        distribution = point.dist.name if point.dist else "?"
        version = point.dist.version if point.dist else "?"
        error = trace = None
        clash = next((p for p in self.plugins if p.name == point.name), None)
        if clash is not None:
            error = f"name clash: '{point.name}' is already offered by {clash.distribution} {clash.version}"
        else:
            try:
                self.add(point.name, point.load())
            except Exception as cause:  # any fault of a plugin is that plugin's alone
                error, trace = one_line(cause), traceback.format_exc()
        self.plugins.append(Plugin(point.name, point.value, distribution, version, error, trace))

    def add(self, namespace: str, module: ModuleType | object) -> None:
        """Register a plugin's module under a namespace.

        Raises:
            PluginError: a hook is unknown, does not return components, or offers a name twice.
        """
        for name in dir(module):
            if name.startswith("classrob_") and callable(getattr(module, name)):
                known = [h for h in dir(hookspecs) if h.startswith("classrob_")]
                if name not in known:
                    raise PluginError(
                        f"plugin '{namespace}' has no hook '{name}' to implement{nearest(name, known)}"
                    )
        offers = [o for kind in KINDS for o in self._declared(namespace, module, kind)]
        self.manager.register(module, namespace)
        self.offers += offers

    def _declared(self, namespace: str, module: object, kind: str) -> Iterator[Offer]:
        hook = getattr(module, f"classrob_{kind}s", None)
        seen: set[str] = set()
        for component in hook() if hook is not None else ():
            if not isinstance(component, Component):
                raise PluginError(
                    f"plugin '{namespace}': classrob_{kind}s must return Components, not {component!r}"
                )
            if component.name in seen:
                raise PluginError(f"plugin '{namespace}' offers two {kind}s called '{component.name}'")
            seen.add(component.name)
            yield Offer(kind, namespace, component)

    # -- looking up ---------------------------------------------------------------------------------

    def list(self, kind: str, pattern: str = "*") -> list[Offer]:
        """The offers of a kind whose full or bare name matches a pattern; families are opened up by one."""
        found: list[Offer] = []
        for offer in (o for o in self.offers if o.kind == kind):
            component = offer.component
            if component.name == "*" and pattern.startswith(f"{offer.plugin}/"):
                names = (f"{offer.plugin}/{m}" for m in self._class(offer).members())
                members = (Component(n.partition("/")[2], component.target, component.summary) for n in names)
                found += [
                    o
                    for m in members
                    if fnmatch.fnmatchcase((o := Offer(kind, offer.plugin, m)).name, pattern)
                ]
            elif fnmatch.fnmatchcase(offer.name, pattern) or fnmatch.fnmatchcase(component.name, pattern):
                found.append(offer)
        return found

    def find(self, kind: str, reference: str) -> tuple[Offer, dict[str, str]]:
        """The offer that a reference names, and the fields that the reference itself fills.

        Raises:
            StudyError: nothing, or more than one thing, is called that.
            PluginError: the plugin it names is broken.
        """
        offers = [o for o in self.offers if o.kind == kind]
        namespace, _, rest = reference.partition("/")
        exact = [o for o in offers if o.name == reference or o.component.name == reference != "*"]
        if len(exact) > 1 and (full := [o for o in exact if o.name == reference]):
            exact = full
        if len(exact) > 1:
            names = ", ".join(sorted(o.name for o in exact))
            raise StudyError(f"{kind} '{reference}' is ambiguous: write one of {names}")
        if exact:
            return exact[0], {}
        for offer in offers:
            if offer.component.name == "*" and offer.plugin == namespace and rest:
                return offer, {str(offer.component.field): rest}
        for plugin in self.plugins:
            if plugin.error is not None and plugin.name == namespace and rest:
                raise PluginError(
                    f"{kind} '{reference}': plugin '{plugin.name}' ({plugin.distribution} {plugin.version}) "
                    f"is broken: {plugin.error}"
                )
        known = [o.name for o in offers] + [o.component.name for o in offers]
        elsewhere = sorted({o.kind for o in self.offers if reference in (o.name, o.component.name)})
        hint = f" (it names a part of kind '{elsewhere[0]}')" if elsewhere else nearest(reference, known)
        raise StudyError(f"no {kind} is called '{reference}'{hint}; 'classrob list {kind}s' shows all")

    def _class(self, offer: Offer) -> type[Part]:
        try:
            return part_class_at(offer.component.target, offer.kind, importlib.import_module)
        except ClassrobError:
            raise
        except Exception as cause:  # a plugin's import may fail in any way
            raise PluginError(f"{offer.kind} '{offer.name}' cannot be imported: {one_line(cause)}") from cause

    def part_class(
        self, kind: str, reference: str, base: Path | None = None
    ) -> tuple[type[Part], dict[str, str]]:
        """The class of a reference (`lp/linf`, `linf`, `./sign.py:Sign`), and the fields it fills."""
        if ".py:" in reference:
            return part_class_at(reference, kind, lambda path: load_file(path, base)), {}
        offer, fields = self.find(kind, reference)
        cls = self._class(offer)
        for name in fields.values():  # one at most: the rest of the reference
            cls = cls.member(name)
        return cls, fields

    def make(
        self, kind: str, reference: str, fields: Mapping[str, Any], base: Path | None = None, where: str = ""
    ) -> Any:
        """The part of a reference with its fields.

        Raises:
            StudyError: the reference or a field is wrong; one line, led by `where`.
        """
        cls, filled = self.part_class(kind, reference, base)
        try:
            return cls.model_validate({**filled, **fields}, context={"base": base, "catalog": self})
        except ValidationError as error:
            lead = f"{where} ('{reference}')" if where else f"{kind} '{reference}'"
            raise StudyError(f"{lead}: {explain(error, list(cls.model_fields))}") from None


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("classrob")
    manager.add_hookspecs(hookspecs)
    return manager
