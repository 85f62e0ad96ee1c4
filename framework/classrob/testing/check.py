"""A check is a plain function; its module is its kind, its name is its id, its docstring is the promise."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classrob.component import KINDS
from classrob.errors import ClassrobError, one_line
from classrob.testing.verdict import Broken, Result, Skipped

#: The kinds of subject, in the order in which checks are listed.
SUBJECTS = ("plugin", "part", *KINDS)


@dataclass(frozen=True)
class Check:
    """One promise of a kind, and the function that holds a subject to it."""

    id: str
    promise: str
    function: Callable[[Any], None]

    def __call__(self, subject: Any) -> Result:
        """The verdict on a subject; whatever the part raises is a broken promise."""
        try:
            self.function(subject)
        except Skipped as reason:
            return Result(self.id, subject.name, "skipped", str(reason))
        except (Broken, ClassrobError) as error:
            return Result(self.id, subject.name, "FAILED", " ".join(str(error).split()))
        except Exception as error:  # a part may raise anything, and that is the finding
            return Result(self.id, subject.name, "FAILED", f"raised {one_line(error)} {_place(error)}")
        return Result(self.id, subject.name, "ok")


def checks(kind: str) -> tuple[Check, ...]:
    """The checks of one kind of subject; those of every part are of kind `part`."""
    module = importlib.import_module(f"classrob.testing.{kind}s")
    return tuple(
        Check(f"{kind}/{one.__name__}", " ".join((one.__doc__ or "").split()), one) for one in module.CHECKS
    )


def everything() -> Iterator[Check]:
    """Every check that there is."""
    for kind in SUBJECTS:
        yield from checks(kind)


def _place(error: BaseException) -> str:
    """Where an error was raised, as `(sign.py, line 12)`: the last place outside the kit."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if Path(frame.filename).parent != Path(__file__).parent]
    frame = (outside or frames)[-1]
    return f"({Path(frame.filename).name}, line {frame.lineno})"
