"""What rows say that no single number does: whether the weak class swallows errors too, and who is surely weak."""

from __future__ import annotations

from classrob.reading.score import Row
from classrob.report.facts import View
from classrob.report.form import listed, percent, quoted
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
