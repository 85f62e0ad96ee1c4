"""ART at work without the rest of the program noticing: its import, its files, its output, its draws."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging.config
import multiprocessing
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, final

import numpy as np

from classrob.errors import StudyError, one_line
from classrob_art.source import REMEDY, root


def imported(module: str) -> ModuleType:
    """A module of ART, imported without its set-up of logging and of the home folder.

    Raises:
        StudyError: ART or something that it needs cannot be imported.
    """
    folder = root()
    try:
        if "art" not in sys.modules:
            with warnings.catch_warnings(), _without_logging_setup():
                warnings.simplefilter("ignore")
                config = _config(folder / "config.py")
                vars(importlib.import_module("art"))["config"] = config
            logging.getLogger("art").addHandler(logging.NullHandler())
        return importlib.import_module(module)
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        raise StudyError(
            f"the Adversarial Robustness Toolbox cannot be imported ({one_line(error)[:160]}): {REMEDY}"
        ) from error


def _config(path: Path) -> ModuleType:
    """Run `art.config`, which writes a folder `.art` into the home folder, with another home."""
    spec = importlib.util.spec_from_file_location("art.config", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with tempfile.TemporaryDirectory() as scratch, _environment(HOME=scratch, USERPROFILE=scratch):
        spec.loader.exec_module(module)
    own = os.path.join(os.path.expanduser("~"), ".art", "data")
    vars(module)["ART_DATA_PATH"] = own  # named, not made
    sys.modules["art.config"] = module
    return module


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_logging_setup() -> Iterator[None]:
    """`art/__init__` configures logging anew, which would close every handler that the program has."""
    before = logging.config.dictConfig
    logging.config.dictConfig = lambda config: None  # type: ignore[assignment]
    try:
        yield
    finally:
        logging.config.dictConfig = before


@contextlib.contextmanager
def secluded() -> Iterator[None]:
    """Inside, ART may show bars, write relative files and make generators; afterwards all is as it was."""
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        stack.enter_context(contextlib.chdir(scratch))  # GeoDA leaves a file in the working folder
        silence = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(contextlib.redirect_stdout(silence))
        stack.enter_context(contextlib.redirect_stderr(silence))  # AutoAttack's bars cannot be turned off
        stack.enter_context(np.errstate())
        stack.enter_context(np.printoptions())
        stack.enter_context(_with_multiprocess())
        stack.enter_context(_with_seeded_generators())
        yield


@contextlib.contextmanager
def _with_multiprocess() -> Iterator[None]:
    """ART's AutoAttack imports `multiprocess`, which ART does not declare, for a pool that is never used."""
    if importlib.util.find_spec("multiprocess") is not None:
        yield
        return
    sys.modules["multiprocess"] = multiprocessing
    try:
        yield
    finally:
        del sys.modules["multiprocess"]


@contextlib.contextmanager
def _with_seeded_generators() -> Iterator[None]:
    """Some attacks make a generator of their own, which the machine would seed."""
    before = np.random.RandomState
    np.random.RandomState = _Seeded  # type: ignore[misc]
    try:
        yield
    finally:
        np.random.RandomState = before  # type: ignore[misc]


@final
class _Seeded(np.random.RandomState):
    """A generator that takes its seed, where none is given, from NumPy's global one."""

    def __init__(self, seed: Any = None) -> None:
        super().__init__(np.random.randint(2**32, dtype=np.uint32) if seed is None else seed)


@final
class Dice:
    """Where Python's and NumPy's generators stand; tells whether anything has been drawn since.

    torch's is not watched: it moves whenever ART makes a DataLoader, which is whenever it predicts.
    """

    def __init__(self) -> None:
        self._before = self._state()

    def rolled(self) -> bool:
        """Has a generator moved?"""
        return self._state() != self._before

    def _state(self) -> tuple[Any, ...]:
        _, words, place, *gauss = np.random.get_state()
        return (random.getstate(), np.asarray(words).tobytes(), place, gauss)
