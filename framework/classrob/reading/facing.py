"""Detectors against attacks that know them: their AUROC beside that under attacks that do not look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from classrob.reading.pricing import Price, prices
from classrob.reading.results import Results
from classrob.reading.score import Row

#: The metric that is compared.
AREA = "auroc"


class Facing(NamedTuple):
    """The AUROC of one detector at one budget: under an attack that does not look at it, and one that evades it.

    `attack` and the four figures after it are of the first, None where there is none; those that begin with
    `adaptive` are of the second. `falls` says whether the whole interval of the second lies below that of the
    first; as both rest on the same unperturbed images, chance alone does that more rarely than once in twenty.
    The last four are what a score cost, over all of the model's images of the data set that were scored: time and
    processor time an image, how many times that of a prediction, and how many images (`pricing.Price`).
    """

    model: str
    dataset: str
    threat: str | None
    budget: float | None
    detector: str | None
    label: str | None
    attack: str | None
    auroc: float | None
    low: float | None
    high: float | None
    n: int
    adaptive_attack: str | None
    adaptive_auroc: float | None
    adaptive_low: float | None
    adaptive_high: float | None
    adaptive_n: int
    falls: bool | None
    milliseconds: float | None = None
    processor_milliseconds: float | None = None
    over_prediction: float | None = None
    timed: int = 0


def facings(results: Results, rows: Sequence[Row]) -> list[Facing]:
    """Every AUROC of a run, in the order of its rows; one under each attack beside each that evades the detector.

    An attack without an adaptive one beside it stands alone, and the other way round.
    """
    knowing = {
        (one.model, one.dataset, one.threat, one.attack)
        for one in results.conditions
        if any(name.startswith("detector ") and part.get("evaded") for name, part in one.parts.items())
    }
    found: dict[tuple[object, ...], tuple[list[Row], list[Row]]] = {}
    for row in rows:
        if row.detector is not None and row.metric == AREA:
            key = (row.model, row.dataset, row.threat, row.budget, row.detector, row.label)
            sides = found.setdefault(key, ([], []))
            sides[(row.model, row.dataset, row.threat, row.attack) in knowing].append(row)
    known = prices(results)
    return [
        _facing(one, other, known)
        for plain, adaptive in found.values()
        for one in plain or [None]
        for other in adaptive or [None]
    ]


def _facing(plain: Row | None, adaptive: Row | None, known: Mapping[tuple[str, str, str], Price]) -> Facing:
    """One beside the other; one of the two is there."""
    row = plain or adaptive
    assert row is not None, "an AUROC of no attack"
    falls = None
    if plain is not None and adaptive is not None and plain.low is not None and adaptive.high is not None:
        falls = adaptive.high < plain.low
    return Facing(
        *(row.model, row.dataset, row.threat, row.budget, row.detector, row.label),
        *_figures(plain),
        *_figures(adaptive),
        falls,
        *known.get((row.model, row.dataset, row.detector or ""), (None, None, None, 0)),
    )


def _figures(row: Row | None) -> tuple[str | None, float | None, float | None, float | None, int]:
    if row is None:
        return None, None, None, None, 0
    return row.attack, row.value, row.low, row.high, row.n
