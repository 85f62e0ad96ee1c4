"""From a reference's target to a class: installed modules, or a Python file beside the study."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from classrob.component import KINDS
from classrob.errors import StudyError, one_line
from classrob.parts import Part

#: How the names of modules begin that were loaded from a file.
LOCAL = "classrob_local_"


def load_file(path: str, base: Path | None = None) -> ModuleType:
    """Import a Python file by its path, relative to `base`; its neighbours can be imported by name.

    Raises:
        StudyError: the file is missing or cannot be imported.
    """
    file = Path(path).expanduser()
    file = (file if file.is_absolute() or base is None else base / file).resolve()
    if not file.is_file():
        raise StudyError(f"no such file: {file}")
    name = f"{LOCAL}{file.stem}_{abs(hash(str(file))):x}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise StudyError(f"not a Python file: {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as cause:  # the file is the user's own code and may raise anything
        del sys.modules[name]
        raise StudyError(f"{file} cannot be imported: {one_line(cause)}") from cause
    finally:
        sys.path.remove(str(file.parent))
    return module


def part_class_at(target: str, kind: str, load: Callable[[str], ModuleType]) -> type[Part]:
    """The class that `module:Class` or `file.py:Class` names, if it is a concrete part of the kind.

    Raises:
        StudyError: it is absent, abstract, or of another kind.
    """
    path, _, attribute = target.rpartition(":")
    cls = getattr(load(path), attribute, None)
    module, _, name = KINDS[kind].partition(":")
    wanted: type[Part] = getattr(importlib.import_module(module), name)
    if not isinstance(cls, type):
        raise StudyError(f"{path} has no class '{attribute}'")
    if not issubclass(cls, wanted):
        raise StudyError(f"{target} is no {kind}: '{attribute}' must inherit from classrob.{name}")
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise StudyError(f"{target} is abstract: it must define {', '.join(missing)}")
    return cls
