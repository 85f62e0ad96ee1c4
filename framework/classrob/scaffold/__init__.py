"""What `classrob new` writes: a plugin package with one small working part of a kind, from templates."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from string import Template

from classrob.catalog import GROUP
from classrob.component import KINDS
from classrob.errors import UsageError, nearest

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write_package(name: str, kind: str, folder: Path) -> list[Path]:
    """Write the package `classrob-<name>` into a new folder; returns its files.

    Raises:
        UsageError: the name or the kind is no good, or the folder is there already.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' is no name for a plugin: use lower-case letters, digits and single dashes, such as 'my-attack'"
        )
    if kind not in KINDS:
        raise UsageError(f"no kind is called '{kind}'{nearest(kind, KINDS)} (known: {', '.join(KINDS)})")
    if taken := next((point for point in entry_points(group=GROUP) if point.name == name), None):
        raise UsageError(f"a plugin called '{name}' is installed already ({taken.value}): take another name")
    if folder.exists():
        raise UsageError(f"{folder} is there already: take another --out, or remove it")
    written = []
    for path, text in _package(name, kind).items():
        file = folder / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        except OSError as error:
            raise UsageError(f"{file} cannot be written: {error.strerror}") from None
        written.append(file)
    return written


def class_of(name: str) -> str:
    """The class's name: `MyAttack` for `my-attack`."""
    return "".join(word.capitalize() for word in name.split("-"))


def _package(name: str, kind: str) -> dict[str, str]:
    """The files of the package by their path in it."""
    package = f"classrob_{name.replace('-', '_')}"
    words = {"name": name, "kind": kind, "package": package, "cls": class_of(name)}

    def filled(template: str) -> str:
        source = files(__name__) / "templates" / f"{template}.tmpl"
        return Template(source.read_text("utf-8")).substitute(words)

    return {
        "pyproject.toml": filled("pyproject.toml"),
        "README.md": filled("README.md"),
        f"{package}/__init__.py": filled("declaration.py"),
        f"{package}/{kind}.py": filled(f"{kind}.py"),
        "tests/test_conformance.py": filled("test_conformance.py"),
    }
