"""The summary in plain sentences; what is not certain is said to be so."""

from __future__ import annotations

from collections.abc import Sequence

from classrob.reading.results import Failure
from classrob.report.facts import View
from classrob.report.findings import findings
from classrob.report.form import between, listed, percent, plural, quoted


def reading(view: View, at: int) -> list[str]:
    """What a condition says at its budget number `at`."""
    cut = view.cuts[at]
    return [s for s in (overall(view, [at]), worst(view, cut), swallower(view, cut)) if s]


def overall(view: View, places: Sequence[int]) -> str:
    """The accuracy over all classes, at one budget or several."""
    found = [(place, view.row("accuracy", view.cuts[place])) for place in places]
    said: list[str] = []
    for place, row in found:
        if row is None or row.value is None:
            continue
        rate, interval = percent(row.value), between(row.low, row.high)
        images = plural(row.n, "image")
        if view.stored.clean:
            return f"{rate} of {images} are classified right (95 % interval {interval})."
        first = f" of {images} are still classified right (95 % interval {interval})"
        said.append(f"{_at(view, place)}, {rate}{f' ({interval})' if said else first}")
    return f"{_upper('; '.join(said))}." if said else ""


def _at(view: View, place: int) -> str:
    largest = len(view.cuts) > 1 and place == len(view.cuts) - 1
    return f"at {'the largest budget, ' if largest else 'budget '}{view.labels[place]}"


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def worst(view: View, cut: float | None, where: str = "") -> str:
    """Which class fares worst, and how sure that is; `where` reads ` at budget 0.1`, or nothing."""
    rows = view.ranking(cut)
    if len(rows) < 2:
        return ""
    lowest = rows[0]
    ties = [row.label or "" for row in rows if row.value == lowest.value]
    if len(ties) == len(rows):
        return f"All {len(rows):,} classes are alike{where}: {percent(lowest.value)}."
    if len(ties) > 1:
        each = f"each at {percent(lowest.value)}"
        return f"Lowest{where} are {listed(ties)}, {each}, so no class is certainly the worst."
    reach = 1.0 if lowest.high is None else lowest.high
    rivals = [row.label or "" for row in rows[1:] if row.low is not None and row.low <= reach]
    picked = view.row("worst-class-accuracy", cut)
    sure = f"95 % interval {between(lowest.low, lowest.high)}"
    if picked is not None:
        choice = f"allowing for the choice among {len(rows):,} classes"
        sure = f"95 % interval {between(picked.low, picked.high)}, {choice}"
    share = f"{percent(lowest.value)} of its {plural(lowest.n, 'image')}"
    said = f"Lowest{where} is class {quoted(lowest.label)}: {share} ({sure})."
    if not rivals:
        return f"{said} No other class's interval overlaps, so the finding is clear."
    return f"{said} {_overlap(rivals)}, so which class is worst is not certain."


def _overlap(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"The interval of {quoted(names[0])} overlaps"
    return f"The intervals of {len(names):,} other classes ({listed(names)}) overlap"


def swallower(view: View, cut: float | None, where: str = "") -> str:
    """Which class most misclassified images are taken for."""
    rows = [row for row in view.scores.get(("cfps", cut), {}).values() if row.label is not None]
    if not rows:
        return ""
    rated = sorted(((row.value, row) for row in rows if row.value is not None), key=lambda item: -item[0])
    if not rated:
        return f"No image is misclassified{where}, so there is no class that errors land in."
    share, most = rated[0]
    ties = [row.label or "" for value, row in rated if value == share]
    lead = f"Of {plural(most.n, 'image')} misclassified{where},"
    if len(ties) > 1:
        return f"{lead} equally many are taken for {listed(ties)}: {percent(share)} each (CFPS)."
    taken = f"{percent(share)} ({between(most.low, most.high)}) are taken for {quoted(most.label)}"
    said = f"{lead} {taken}, most of any class (CFPS)."
    floor = 0.0 if most.low is None else most.low
    rivals = [row.label or "" for _, row in rated[1:] if row.high is not None and row.high >= floor]
    return f"{said} {_overlap(rivals)}, so that order is not certain." if rivals else said


def attacked(view: View) -> list[str]:
    """The sentences of an attacked condition: the middle and the largest budget."""
    if view.empty:
        return ["Nothing of this condition is finished yet."]
    cut = view.cuts[view.middle]
    places = list(dict.fromkeys([view.middle, len(view.cuts) - 1]))
    where = f" at budget {view.labels[view.middle]}" if len(places) > 1 else ""
    said = (
        overall(view, places),
        worst(view, cut, where),
        swallower(view, cut, where),
        *findings(view, cut, where),
        bracket(view, places),
    )
    said += (implied(view),)
    return [s for s in said if s]


def bracket(view: View, places: Sequence[int]) -> str:
    """Between what is proven and what was found: where robust accuracy lies."""
    said = []
    for i in places:
        proof, found = view.row("certified-accuracy", view.cuts[i]), view.row("accuracy", view.cuts[i])
        if proof is not None and found is not None:
            where = f" at budget {view.labels[i]}" if len(view.cuts) > 1 else ""
            said.append(f"between {percent(proof.value)} and {percent(found.value)}{where}")
    if not said:
        return ""
    return (
        f"On these images robust accuracy lies {', and '.join(said)}: the one is proven, the other is what the "
        "attacks left."
    )


def implied(view: View) -> str:
    """How far verdicts that were carried over from a larger budget can be trusted."""
    row = view.row("implied-error", None)
    carried = view.bases["implied"]
    lead = f"{plural(carried, 'verdict')} rest{'s' if carried == 1 else ''} on an attack at a larger budget"
    if row is None or row.value is None:
        return f"{lead}; none was checked by a direct attack." if carried else ""
    wrong = round(row.value * row.n)
    return (
        f"{lead}; of {row.n:,} such verdicts that were checked by a direct attack, "
        f"{wrong or 'none'} turned out wrong "
        f"(implied error {percent(row.value)}, interval {between(row.low, row.high)})."
    )


def state(views: Sequence[View], failures: Sequence[Failure]) -> list[str]:
    """What a reader must know before any number: what is missing, what failed."""
    said: list[str] = []
    open_ = [v for v in views if v.done < v.planned]
    if open_:
        done, planned = sum(v.done for v in views), sum(v.planned for v in views)
        said.append(
            f"This run is not finished: {done:,} of {planned:,} shards are there, and "
            f"{plural(len(open_), 'condition')} of {len(views):,} {'is' if len(open_) == 1 else 'are'} "
            "incomplete. The numbers below rest on what is there."
        )
    if failures:
        samples = sum(f.sample is not None for f in failures)
        shards = len(failures) - samples
        what = [plural(samples, "image")] if samples else []
        what += [plural(shards, "shard")] if shards else []
        left = "is left out" if samples + shards == 1 else "are left out"
        said.append(f"{' and '.join(what)} could not be measured and {left}.")
    if not views:
        said.append("The run has no conditions yet.")
    elif all(v.stored.clean for v in views):
        said.append("No threat was measured: the numbers describe unperturbed images only.")
    return said
