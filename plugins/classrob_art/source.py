"""ART's classes read from its source, so that naming and describing an attack imports neither ART nor torch."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from classrob.errors import StudyError

#: Where ART exports its evasion attacks.
EVASION = "art.attacks.evasion"

REMEDY = "pip install adversarial-robustness-toolbox"


@dataclass(frozen=True)
class Source:
    """A class in ART's source: its name, its module, its syntax tree, and what its module imports.

    `imports` maps a name in the module to the dotted name of what it stands for.
    """

    name: str
    module: str
    node: ast.ClassDef
    imports: Mapping[str, str]

    @property
    def doc(self) -> str:
        """The class's docstring."""
        return ast.get_docstring(self.node) or ""

    def method(self, name: str) -> ast.FunctionDef | None:
        """A method that the class defines or inherits."""
        for source in lineage(self):
            for one in source.node.body:
                if isinstance(one, ast.FunctionDef) and one.name == name:
                    return one
        return None

    def attribute(self, name: str) -> ast.expr | None:
        """What the class or the nearest of its bases assigns to a name in its body."""
        for source in lineage(self):
            for one in source.node.body:
                targets = one.targets if isinstance(one, ast.Assign) else ()
                if isinstance(one, ast.AnnAssign):
                    targets = (one.target,)
                if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                    return one.value  # type: ignore[union-attr]
        return None


def root() -> Path:
    """The folder of the package `art`.

    Raises:
        StudyError: ART is not installed, or another package is called `art`.
    """
    found = importlib.util.find_spec("art")
    for place in (found.submodule_search_locations or ()) if found else ():
        if (Path(place) / "attacks" / "evasion" / "__init__.py").is_file():
            return Path(place)
    why = "is not installed" if found is None else "is hidden by another package called 'art'"
    raise StudyError(f"'art/…' needs the Adversarial Robustness Toolbox, which {why}: {REMEDY}")


def exported() -> dict[str, str]:
    """{class: module} of what ART's evasion package exports here, given the packages that are installed."""
    tree = _parsed(_file(root(), EVASION))
    return {
        alias.name: str(node.module)
        for node in _running(tree.body)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(EVASION)
        for alias in node.names
    }


def read(module: str, name: str) -> Source | None:
    """The class of a module of ART; None where the module defines no such class."""
    tree = _parsed(_file(root(), module))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return Source(name, module, node, _imports(tree))
    return None


def bases(source: Source) -> Iterator[Source]:
    """The class's bases that lie in ART."""
    for base in source.node.bases:
        if isinstance(base, ast.Name):
            module, _, name = source.imports.get(base.id, f"{source.module}.{base.id}").rpartition(".")
            if module.startswith("art.") and (found := read(module, name)):
                yield found


def lineage(source: Source) -> list[Source]:
    """The class and its bases in ART, the nearest first."""
    found = [source]
    for base in bases(source):
        found += [one for one in lineage(base) if one not in found]
    return found


def _file(folder: Path, module: str) -> Path:
    place = folder.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@lru_cache(maxsize=256)
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _imports(tree: ast.Module) -> dict[str, str]:
    """Names that a module imports from ART, at its top or inside a function."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("art")
        for alias in node.names
    }


def _running(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run here: those under `if find_spec("numba") …` only where there is a numba."""
    for node in body:
        if not isinstance(node, ast.If):
            yield node
            continue
        calls = [one for one in ast.walk(node.test) if isinstance(one, ast.Call) and one.args]
        wanted = [str(one.args[0].value) for one in calls if isinstance(one.args[0], ast.Constant)]
        if all(importlib.util.find_spec(name) for name in wanted):
            yield from _running(node.body)
