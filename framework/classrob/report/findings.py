"""What rows say that no single number does: weak classes that swallow errors, who is surely weak, who is evaded."""

from __future__ import annotations

from collections.abc import Sequence

from classrob.reading.facing import Facing
from classrob.reading.score import Row
from classrob.report.facts import View
from classrob.report.form import area, budget, listed, percent, quoted
from classrob.statistics.intervals import ALPHA


def findings(view: View, cut: float | None, where: str = "") -> list[str]:
    """Sentences about the classes of a condition at a budget; `where` reads ` at budget 0.1`, or nothing."""
    return [s for s in (weak_and_swallowing(view, cut, where), significant(view, cut, where)) if s]


def weak_and_swallowing(view: View, cut: float | None, where: str = "") -> str:
    """How the class with the lowest accuracy stands among those that errors are taken for.

    Medi, Grabinski and Keuper, "Towards Class-wise Robustness Analysis" (2024): the two need not agree.
    """
    ranked = view.ranking(cut)
    rows = view.scores.get(("cfps", cut), {})
    shares = {label: row.value for label, row in rows.items() if label is not None and row.value is not None}
    if len(ranked) < 3 or ranked[0].value == ranked[1].value:
        return ""
    weakest = ranked[0]
    if (share := shares.get(weakest.label or "")) is None:
        return ""
    least, most = min(shares.values()), max(shares.values())
    if least == most or list(shares.values()).count(share) > 1 or least < share < most:
        return ""
    lead = f"Class {quoted(weakest.label)}, with the lowest accuracy{where} ({percent(weakest.value)}),"
    if share == most:
        return f"{lead} is also the one that most errors are taken for (CFPS {percent(share)})."
    return (
        f"{lead} is the one that fewest errors are taken for (CFPS {percent(share)}): "
        "a class that is easily lost need not be one that others are lost to."
    )


def significant(view: View, cut: float | None, where: str = "") -> str:
    """Which classes are below all others by more than chance."""
    tests = view.scores.get(("class-difference-p", cut), {})
    apart = view.scores.get(("class-difference", cut), {})
    if not tests:
        return ""

    def below(label: str | None, row: Row) -> bool:
        seen = apart.get(label)
        return row.value is not None and row.value <= ALPHA and seen is not None and (seen.value or 0.0) < 0

    names = [
        row.label for row in view.ranking(cut) if row.label in tests and below(row.label, tests[row.label])
    ]
    if not names:
        return f"No class is less accurate than the others{where} by more than chance (Holm's correction)."
    verb = "is" if len(names) == 1 else "are"
    who = listed([name or "" for name in names])
    return f"Weak{where}, by more than chance, {verb} {who} (Fisher's test against the others, Holm's correction)."


def evaded(faced: Sequence[Facing]) -> list[str]:
    """Which detectors fall under an attack that knows them: a sentence for each detector, threat and pair of attacks.

    `faced` are the figures over all classes of a model on a data set.
    """
    pairs: dict[tuple[str | None, ...], list[Facing]] = {}
    for one in faced:
        if one.attack is not None and one.adaptive_attack is not None:
            pairs.setdefault((one.detector, one.threat, one.attack, one.adaptive_attack), []).append(one)
    return [_evaded(some) for some in pairs.values()]


def _evaded(some: Sequence[Facing]) -> str:
    """How one detector stands at all budgets of a threat; its figures at the largest one that speaks."""
    told = [one for one in some if one.falls is not None]
    last = some[-1]
    who, how = f"Detector {quoted(last.detector)}", f"{quoted(last.adaptive_attack)}, which knows it,"
    if not told:
        return f"{who}: under {quoted(last.threat)} too few images were misclassified to say whether {how} evades it."
    fallen = [one for one in told if one.falls]
    shown = (fallen or told)[-1]
    at = "" if shown.budget is None else f" at budget {budget(shown.budget)}"
    figures = (
        f"{_area(shown.adaptive_auroc, shown.adaptive_low, shown.adaptive_high)}{at}, "
        f"where it is {_area(shown.auroc, shown.low, shown.high)} against {quoted(shown.attack)}"
    )
    if not fallen:
        return (
            f"{who} does not certainly fall under {quoted(last.threat)} when {how} evades it: its AUROC is {figures}. "
            "That is no proof: a stronger attack may evade it."
        )
    where = f"at {len(fallen)} of {len(told)} budgets of" if len(told) > 1 else "under"
    said = f"{who} falls {where} {quoted(last.threat)} to {how[:-1]}: its AUROC is {figures}."
    if shown.adaptive_high is not None and shown.adaptive_high < 0.5:
        return f"{said} To it, these images are less suspicious than unperturbed ones."
    return said


def _area(value: float | None, low: float | None, high: float | None) -> str:
    one = area(value, low, high, 0)
    return f"{one.text} ({one.interval})" if one.interval else one.text
