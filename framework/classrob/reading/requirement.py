"""A gate's requirement, `METRIC[key=value, …] OP NUMBER`: read from text, and held against rows of scores."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Never

from classrob.errors import UsageError, nearest
from classrob.reading.score import Row

#: The keys by which rows are chosen, as `show` has them.
KEYS = ("model", "dataset", "threat", "budget", "attack", "detector", "label")
#: Budgets that are this close are the same.
SAME = 1e-9

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_SPACE = re.compile(r"\s*")
_METRIC = re.compile(r"[^\s\[\]<>=!,\"']+")
_KEY = re.compile(r"[A-Za-z_-]+")
_BARE = re.compile(r"[^,=\]\"']+")
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")
_OPERATOR = re.compile(r">=|<=|==|>|<")
_NUMBER = re.compile(r"[^\s]+")

On = Literal["value", "low", "high"]


@dataclass(frozen=True)
class Choice:
    """What one key must be: a text, a pattern in which `*` stands for anything, a number, or null."""

    key: str
    wanted: str | float | None
    pattern: bool = False

    def admits(self, row: Row) -> bool:
        """Is the row's key so?"""
        found = getattr(row, self.key)
        if self.pattern:
            parts = map(re.escape, str(self.wanted).split("*"))
            return found is not None and re.fullmatch(".*".join(parts), str(found), re.DOTALL) is not None
        if isinstance(self.wanted, float):
            return found is not None and abs(found - self.wanted) <= SAME
        return found == self.wanted


@dataclass(frozen=True)
class Checked:
    """A requirement held against one row, or against none.

    Attributes:
        state: `met`, `failed`, `undefined` where the row has no such number, `no row` where none matches.
        measured: the number that was looked at; `short` by how much it misses what is required.
    """

    requirement: Requirement
    row: Row | None
    state: Literal["met", "failed", "undefined", "no row"]
    measured: float | None = None
    short: float | None = None


@dataclass(frozen=True)
class Requirement:
    """A comparison that every matching row must stand, and at least one row must match."""

    text: str
    metric: str
    choices: tuple[Choice, ...]
    compare: str
    number: float

    @classmethod
    def read(cls, text: str) -> Requirement:
        """Read a requirement.

        Raises:
            UsageError: it does not follow the grammar; one line that says at which column.
        """
        return _Reader(text).requirement()

    def check(self, rows: Sequence[Row], on: On = "value") -> Iterator[Checked]:
        """Every matching row, by its value or by an end of its interval."""
        matching = [r for r in rows if r.metric == self.metric and all(c.admits(r) for c in self.choices)]
        if not matching:
            yield Checked(self, None, "no row")
        for row in matching:
            measured: float | None = getattr(row, on)
            if measured is None:
                yield Checked(self, row, "undefined")
            elif _COMPARE[self.compare](measured, self.number):
                yield Checked(self, row, "met", measured)
            else:
                yield Checked(self, row, "failed", measured, abs(measured - self.number))

    def why_none(self, rows: Sequence[Row]) -> str:
        """Why no row matches: the first part that nothing has, and what is nearest to it."""
        left = [row for row in rows if row.metric == self.metric]
        if not left:
            return f"there is no metric '{self.metric}'{nearest(self.metric, _texts(rows, 'metric'))}"
        for choice in self.choices:
            kept = [row for row in left if choice.admits(row)]
            if not kept:
                known = _texts(left, choice.key)
                said = "null" if choice.wanted is None else f"{choice.wanted}"
                there = ", ".join(known[:6]) + (", …" if len(known) > 6 else "") if known else "null"
                return f"no row with {choice.key}={said}{nearest(said, known)} (there is {there})"
            left = kept
        return "no row matches"


def _texts(rows: Iterable[Row], key: str) -> list[str]:
    """The different values of a key, as text, in their order."""
    return list(dict.fromkeys(str(v) for row in rows if (v := getattr(row, key)) is not None))


def choices(text: str) -> tuple[Choice, ...]:
    """Read `key=value, …`, which chooses rows as in the brackets of a requirement.

    Raises:
        UsageError: it does not follow the grammar.
    """
    return _Reader(f"[{text}]", "choice").chosen()


class _Reader:
    """Reads one requirement, or one choice of rows, from left to right."""

    def __init__(self, text: str, what: str = "requirement") -> None:
        self.text, self.what = " ".join(text.split("\n")), what
        self.at = 0

    def chosen(self) -> tuple[Choice, ...]:
        self._next("[")
        found = tuple(self._choices())
        if self._skip() < len(self.text):
            self._stop("the end")
        return found

    def requirement(self) -> Requirement:
        metric = self._quoted() or self._need(_METRIC, "the name of a metric")
        choices = tuple(self._choices()) if self._next("[") else ()
        compare = self._need(
            _OPERATOR, "'[' or one of >=, <=, >, <, ==" if not choices else ">=, <=, >, < or =="
        )
        place = self._skip()
        number = self._fraction(
            self._need(_NUMBER, "a number such as 0.3"), place, "a number such as 0.3 or 3/10"
        )
        if self._skip() < len(self.text):
            self._stop("the end")
        return Requirement(self.text.strip(), metric, choices, compare, number)

    def _choices(self) -> Iterator[Choice]:
        taken: set[str] = set()
        if self._next("]"):
            return
        while True:
            place = self._skip()
            key = self._need(_KEY, "a key")
            if key not in KEYS or key in taken:
                known = [one for one in KEYS if one not in taken]
                self._stop(f"one of {', '.join(known)}", place, nearest(key, known))
            taken.add(key)
            if not self._next("="):
                self._stop("'='")
            yield self._choice(key)
            if self._next("]"):
                return
            if not self._next(","):
                self._stop("',' or ']'")

    def _choice(self, key: str) -> Choice:
        place = self._skip()
        text = self._quoted()
        if text is not None:
            bare = False
        else:
            text, bare = self._need(_BARE, "a value").strip(), True
        if bare and text == "null":
            return Choice(key, None)
        if bare and "*" in text:
            return Choice(key, text, pattern=True)
        if key == "budget":
            return Choice(key, self._fraction(text, place, "a budget such as 8/255 or 0.1"))
        return Choice(key, text)

    def _fraction(self, text: str, place: int, what: str) -> float:
        try:
            return float(Fraction(text))
        except (ValueError, ZeroDivisionError, OverflowError):
            self._stop(what, place)

    # -- the text ----------------------------------------------------------------------------------

    def _skip(self) -> int:
        self.at = _SPACE.match(self.text, self.at).end()  # pyright: ignore[reportOptionalMemberAccess]
        return self.at

    def _next(self, sign: str) -> bool:
        found = self.text.startswith(sign, self._skip())
        self.at += found
        return found

    def _need(self, pattern: re.Pattern[str], what: str) -> str:
        match = pattern.match(self.text, self._skip())
        if match is None:
            self._stop(what)
        self.at = match.end()
        return match[0]

    def _quoted(self) -> str | None:
        match = _QUOTED.match(self.text, self._skip())
        if match is None:
            if self.text[self.at : self.at + 1] in ("'", '"'):
                self._stop("a closing quote")
            return None
        self.at = match.end()
        return re.sub(r"\\(.)", r"\1", match[0][1:-1])

    def _stop(self, what: str, place: int | None = None, hint: str = "") -> Never:
        place = self.at if place is None else place
        here = f"'{self.text[place : place + 12]}'" if place < len(self.text) else "its end"
        raise UsageError(f"{self.what} {self.text!r}, column {place + 1}: expected {what} at {here}{hint}")
