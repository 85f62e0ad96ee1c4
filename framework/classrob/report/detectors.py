"""Detectors as the page shows them: AUROC under attacks that do not know them beside that under those that do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from classrob.reading.facing import Facing, facings
from classrob.reading.results import Results
from classrob.reading.score import Row
from classrob.report.facts import FEW
from classrob.report.findings import evaded
from classrob.report.form import NOTHING, Shown, area, budget

#: Of many classes so many are listed, those with the lowest AUROC of any detector.
MOST = 20


@dataclass(frozen=True)
class Line:
    """A detector at a budget: the attack that does not look at it and its AUROC, the one that does and its."""

    detector: str
    threat: str
    budget: str
    attack: str
    plain: Shown
    knowing: str
    adaptive: Shown
    falls: bool


@dataclass(frozen=True)
class Grid:
    """A threat class by class at one budget: a column a detector and kind of attack, a row a class.

    `heads` are detector, attack, and whether it evades the detector; `left_out` counts classes that are not listed.
    """

    threat: str
    budget: str
    heads: list[tuple[str, str, bool]]
    rows: list[tuple[str, str, list[Shown]]]
    left_out: int


@dataclass(frozen=True)
class Priced:
    """What a detector's score of an image costs, in milliseconds and in predictions, and of how many images."""

    detector: str
    clock: str
    processor: str
    predictions: str
    n: int


@dataclass(frozen=True)
class Sheet:
    """One model on one data set: sentences, all lines, the classes, and what the detectors cost.

    `known` says whether any attack looked.
    """

    model: str
    dataset: str
    said: list[str]
    lines: list[Line]
    grids: list[Grid]
    known: bool
    prices: list[Priced]


def sheets(results: Results, rows: Sequence[Row], places: Mapping[tuple[str, ...], int]) -> list[Sheet]:
    """The detectors of every model and data set that has any; `places` are the numbers of the data sets' classes."""
    found: dict[tuple[str, str], list[Facing]] = {}
    for one in facings(results, rows):
        found.setdefault((one.model, one.dataset), []).append(one)
    classes = {(one.model, one.dataset): one.classes for one in results.conditions}
    return [_sheet(of, mine, classes[of], places.get(classes[of], 0)) for of, mine in found.items()]


def _sheet(of: tuple[str, str], mine: Sequence[Facing], classes: tuple[str, ...], place: int) -> Sheet:
    overall = [one for one in mine if one.label is None]
    known = any(one.adaptive_attack is not None for one in overall)
    prices = [_priced(one) for one in {one.detector: one for one in overall if one.timed}.values()]
    lines = [_line(one) for one in overall]
    return Sheet(*of, evaded(overall), lines, _grids(mine, classes, place), known, prices)


def _priced(one: Facing) -> Priced:
    clock, processor = _number(one.milliseconds), _number(one.processor_milliseconds)
    return Priced(one.detector or "", clock, processor, _number(one.over_prediction), one.timed)


def _number(x: float | None) -> str:
    return "–" if x is None else f"{x:.3g}"


def _line(one: Facing) -> Line:
    plain, adaptive = _sides(one)
    at = "" if one.budget is None else budget(one.budget)
    named = (one.detector or "", one.threat or "", at, one.attack or "")
    return Line(*named, plain, one.adaptive_attack or "", adaptive, bool(one.falls))


def _sides(one: Facing) -> tuple[Shown, Shown]:
    """Both figures as the page writes them."""
    knowing = one.adaptive_attack is not None
    adaptive = area(one.adaptive_auroc, one.adaptive_low, one.adaptive_high, one.adaptive_n)
    alone = knowing and one.attack is None and not one.n
    return NOTHING if alone else area(one.auroc, one.low, one.high, one.n), adaptive if knowing else NOTHING


def _grids(mine: Sequence[Facing], classes: tuple[str, ...], place: int) -> list[Grid]:
    """A grid a threat, at its largest budget."""
    threats: dict[str, list[Facing]] = {}
    for one in mine:
        if one.label is not None:
            threats.setdefault(one.threat or "", []).append(one)
    return [_grid(threat, some, classes, place) for threat, some in threats.items()]


def _grid(threat: str, some: Sequence[Facing], classes: tuple[str, ...], place: int) -> Grid:
    top = max((one.budget for one in some if one.budget is not None), default=None)
    cells: dict[tuple[str, str, bool], dict[str, Shown]] = {}
    for one in some:
        if one.budget == top:
            for attack, shown, knows in zip(
                (one.attack, one.adaptive_attack), _sides(one), (False, True), strict=True
            ):
                if shown is not NOTHING:
                    head = (one.detector or "", attack or "", knows)
                    cells.setdefault(head, {})[one.label or ""] = shown
    heads = sorted(cells, key=lambda head: list(dict.fromkeys(name for name, *_ in cells)).index(head[0]))
    numbers = {name: i for i, name in enumerate(classes)}
    names = [name for name in classes if any(name in column for column in cells.values())]
    if len(names) > FEW:
        names = sorted(names, key=lambda name: _least(cells, name))[:MOST]
    rows = [
        (name, f"{place}-{numbers[name]}", [cells[head].get(name, NOTHING) for head in heads])
        for name in names
    ]
    listed = sum(any(name in column for column in cells.values()) for name in classes)
    return Grid(threat, "" if top is None else budget(top), heads, rows, listed - len(names))


def _least(cells: Mapping[tuple[str, str, bool], Mapping[str, Shown]], name: str) -> float:
    values = [column[name].value for column in cells.values() if name in column]
    return min((value for value in values if value is not None), default=1.0)
