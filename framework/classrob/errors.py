"""The exception tree: what a person can act on, each with the exit code of the command line.

::

    ClassrobError            1   anything below; also a shard that failed
    ├── UsageError           2   the command was called wrongly
    ├── StudyError           3   the study, or a file it names, is not usable
    │   ├── NotCertifiable   3   a certifier can prove nothing about such a model or threat
    │   ├── NotExplainable   3   an explainer has no map of such a model
    │   └── NotObservable    3   a probe cannot see into such a model
    ├── PluginError          4   a plugin is broken, clashes, or does not keep its promise
    ├── StoreError           5   the run's store cannot be read or written
    └── RequirementNotMet    6   a gate's requirement failed

Every message is one line: what, where, what to do. Anything that is not a `ClassrobError` is a
defect and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class ClassrobError(Exception):
    """An error that a person can act on; its text is one line with a remedy."""

    exit_code: ClassVar[int] = 1


class UsageError(ClassrobError):
    """The command was called wrongly."""

    exit_code = 2


class StudyError(ClassrobError):
    """The study, or a model, a data set or a file that it names, is not usable."""

    exit_code = 3


class NotCertifiable(StudyError):
    """A certifier can prove nothing about such a model, or in such a space."""


class NotExplainable(StudyError):
    """An explainer has no map of such a model; the text says why, and what to take instead."""


class NotObservable(StudyError):
    """A probe or a detector finds nothing to look at in such a model; the text says why."""


class PluginError(ClassrobError):
    """A plugin is broken, clashes with another, or does not keep a promise of its kind."""

    exit_code = 4


class StoreError(ClassrobError):
    """A run's store is absent, locked, damaged or of another version."""

    exit_code = 5


class RequirementNotMet(ClassrobError):
    """A gate's requirement failed, or matched no row."""

    exit_code = 6


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of the known names, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def one_line(error: BaseException) -> str:
    """The error's text on a single line, led by its type unless it is one of ours."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, ClassrobError) else f"{type(error).__name__}: {text}"
