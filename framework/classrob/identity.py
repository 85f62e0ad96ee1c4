"""What a part is, as a digest: its class, its fields, the files it names and the source that runs.

Equal identities mean equal results, so a run may take over what another run has computed.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from classrob.parts import Part

#: The modules of the host that decide what a row holds; a change of any makes old rows stale.
ENGINE = ("images", "judge", "ledger", "live", "search", "space", "streams", "sweep", "worker")


def digest(*parts: object) -> str:
    """A short content address of JSON-able values."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def identity(part: Part) -> str:
    """The part's content address."""
    fields = part.model_dump(mode="json", exclude=set(part.passive))
    files = {name: file_digest(value) for name, value in _files(part).items()}
    fields = {name: value for name, value in fields.items() if name not in files}  # content, not place
    return digest(type(part).__qualname__, fields, files, _source(type(part)), dict(part.ingredients()))


@lru_cache(maxsize=1)
def engine_digest() -> str:
    """The content address of the host's own computing modules."""
    folder = Path(__file__).parent
    return digest([(folder / f"{name}.py").read_text("utf-8") for name in ENGINE])


def _files(part: Part) -> dict[str, Path]:
    """The part's fields that are files or `file.py:name`, recognised by their values."""
    found: dict[str, Path] = {}
    for name in type(part).model_fields:
        value: Any = getattr(part, name)
        if isinstance(value, Path):
            found[name] = value
        elif isinstance(value, str) and ".py:" in value and Path(value.rpartition(":")[0]).is_file():
            found[name] = Path(value.rpartition(":")[0])
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
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                stem = file.parent.joinpath(*name.split("."))
                todo += [p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()]
    return sorted(seen)


@lru_cache(maxsize=256)
def _source(cls: type) -> str:
    """The source of the class's whole package (or its file), and of its bases outside the host."""
    texts: list[str] = []
    for base in cls.__mro__:
        package = base.__module__.partition(".")[0]
        if package in ("classrob", "pydantic", "builtins", "abc", "typing"):
            continue  # the host's computing modules are in `engine_digest`
        root = getattr(sys.modules.get(package), "__path__", None)
        if root is None:
            texts += [p.read_text("utf-8") for p in _local_modules(Path(inspect.getfile(base)))]
        else:
            texts += [p.read_text("utf-8") for folder in root for p in sorted(Path(folder).rglob("*.py"))]
    return digest(texts)
