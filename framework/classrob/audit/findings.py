"""A sign's finding in words and numbers: what was counted, whether it fired, and what to do."""

from __future__ import annotations

from classrob.audit.signs import SIGNS, Sign
from classrob.audit.subject import Subject
from classrob.audit.tally import Finding, Tally, weigh
from classrob.condition import Condition
from classrob.statistics.intervals import ALPHA


def weighed(subject: Subject, threat: str | None, name: str, sign: Sign, tallies: list[Tally]) -> Finding:
    """The finding that comes of a sign's comparisons."""
    found = weigh(tallies, sign.threshold, subject.classes, ALPHA / subject.looks)
    tally, overall = found.tally, found.overall
    counted = tally.says.replace("{hits}", str(overall.hits)).replace("{n}", str(overall.n))
    said = f"{counted}{_where(threat, tally.budget)}."
    if found.loud:
        said = f"{said} {sign.means} {sign.remedy}"
    overturned = None if tally.stands is None else int((tally.hits & tally.stands).sum())
    c = subject.condition
    return Finding(
        c.model.name,
        c.dataset.name,
        threat,
        tally.budget,
        name,
        sign.title,
        "fired" if found.loud else "silent",
        sign.threshold,
        overall,
        found.classes,
        overturned,
        said,
    )


def _where(threat: str | None, budget: float | None) -> str:
    return "" if threat is None or budget is None else f" ({threat} {budget:.4g})"


def unchecked(c: Condition, threat: str | None, budget: float | None, name: str, reason: str) -> Finding:
    """A sign that could not be looked for."""
    names = (c.model.name, c.dataset.name, threat, budget, name, SIGNS[name].title)
    return Finding(*names, "not checked", SIGNS[name].threshold, None, (), None, reason)
