"""What a part is, as a digest: its class, its fields, the files it names and the source that runs.

Equal identities mean equal results, so a run may take over what another run has computed.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from classrob.parts import Part

#: The modules of the host that decide what a row holds; a change of any makes old rows stale.
ENGINE = (
    "certification",
    "decoder",
    "detecting",
    "ensemble",
    "images",
    "judge",
    "ledger",
    "live",
    "observing",
    "pool",
    "search",
    "space",
    "streams",
    "sweep",
    "worker",
)


def digest(*parts: object) -> str:
    """A short content address of JSON-able values."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def identity(part: Part) -> str:
    """The part's content address."""
    fields = part.model_dump(mode="json", exclude=set(part.passive))
    files = {name: (file_digest(path), inside) for name, (path, inside) in _files(part).items()}
    inner = {name: [identity(one) for one in found] for name, found in _nested(part)}
    fields = {
        n: value for n, value in fields.items() if n not in files and n not in inner
    }  # content, not place
    own = [inner] if inner else []
    return digest(type(part).__qualname__, fields, files, _source(type(part)), dict(part.ingredients()), *own)


@lru_cache(maxsize=1)
def engine_digest() -> str:
    """The content address of the host's own computing modules."""
    folder = Path(__file__).parent
    return digest([(folder / f"{name}.py").read_text("utf-8") for name in ENGINE])


def _nested(part: Part) -> Iterator[tuple[str, list[Part]]]:
    """The part's fields that hold parts, with these."""
    for name in type(part).model_fields:
        value: Any = getattr(part, name)
        several = value if isinstance(value, tuple) else (value,)
        several = list(value.values()) if isinstance(value, dict) else several
        if found := [one for one in several if isinstance(one, Part)]:
            yield name, found


def _files(part: Part) -> dict[str, tuple[Path, str]]:
    """The part's fields that are files or `file.py:name`, recognised by their values, and the name in the file."""
    found: dict[str, tuple[Path, str]] = {}
    for name in type(part).model_fields:
        value: Any = getattr(part, name)
        if isinstance(value, Path):
            found[name] = value, ""
        elif isinstance(value, str) and ".py:" in value and Path(value.rpartition(":")[0]).is_file():
            place, _, inside = value.rpartition(":")
            found[name] = Path(place), inside
    return found


def file_digest(path: Path) -> str:
    """The content address of a file, of a Python file with what it imports, or of a folder's listing."""
    if path.is_dir():
        entries = sorted(p for p in path.rglob("*") if p.is_file())
        return digest([(str(p.relative_to(path)), (s := p.stat()).st_size, s.st_mtime_ns) for p in entries])
    if path.suffix == ".py":
        return digest([p.read_text("utf-8") for p in _local_modules(path)])
    return _content(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=256)
def _content(path: Path, mtime: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _local_modules(path: Path) -> list[Path]:
    """A Python file and every module beside it that it imports, however far."""
    seen: dict[Path, None] = {}
    todo = [path.resolve()]
    while todo:
        if (file := todo.pop()) in seen:
            continue
        seen[file] = None
        try:
            tree = ast.parse(file.read_text("utf-8"))
        except SyntaxError:
            continue  # importing it will say so, with the line
        for name in _imported(tree):
            stem = file.parent.joinpath(*name.split("."))
            todo += [p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()]
    return sorted(seen)


def _imported(tree: ast.AST) -> Iterator[str]:
    """The modules that a syntax tree imports, by their absolute names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


@lru_cache(maxsize=256)
def _source(cls: type) -> str:
    """The source of the class's file or whole package, of its bases, and of the plugins they build on."""
    files: set[Path] = set()
    todo = [base.__module__.partition(".")[0] for base in cls.__mro__]
    seen = {"classrob", "pydantic", "builtins", "abc", "typing"}  # the host's part is `engine_digest`
    while todo:
        if (package := todo.pop()) in seen:
            continue
        seen.add(package)
        module = importlib.import_module(package)
        folders = getattr(module, "__path__", None)
        if folders is None:
            fresh = _local_modules(Path(inspect.getfile(module)))
        else:
            fresh = [path for folder in folders for path in Path(folder).rglob("*.py")]
        files.update(fresh)
        names = {
            name.partition(".")[0] for path in fresh for name in _imported(ast.parse(path.read_text("utf-8")))
        }
        todo += [name for name in names if name.startswith("classrob_")]  # plugins that the plugin imports
    return digest(
        [(path.name, path.read_text("utf-8")) for path in sorted(files, key=lambda p: (p.name, str(p)))]
    )
