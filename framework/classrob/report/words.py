"""The summary in plain sentences; what is not certain is said to be so."""

from __future__ import annotations

from collections.abc import Sequence

from classrob.report.facts import View
from classrob.report.form import between, listed, percent, plural, quoted
from classrob.results import Failure
from classrob.score import Row


def reading(view: View, at: int) -> list[str]:
    """What a condition says at its budget number `at`."""
    cut = view.cuts[at]
    return [s for s in (overall(view, [at]), worst(view, cut), swallower(view, cut)) if s]


def overall(view: View, places: Sequence[int]) -> str:
    """The accuracy over all classes, at one budget or several."""
    found = [(place, row) for place in places if (row := view.row("accuracy", view.cuts[place])) is not None]
    parts = [(place, row) for place, row in found if row.value is not None]
    if not parts:
        return ""
    said = [f"{percent(r.value)} at {_at(view, place)} ({between(r.low, r.high)})" for place, r in parts]
    count = plural(parts[0][1].n, "image")
    if view.stored.clean:
        row = parts[0][1]
        return f"{percent(row.value)} of {count} are classified right (95 % interval {between(row.low, row.high)})."
    return f"Of {count}, still right are {' and '.join(said)}."


def _at(view: View, place: int) -> str:
    largest = len(view.cuts) > 1 and place == len(view.cuts) - 1
    return f"{'the largest budget, ' if largest else 'budget '}{view.labels[place]}"


def worst(view: View, cut: float | None) -> str:
    """Which class fares worst, and how sure that is."""
    rows = view.ranking(cut)
    if len(rows) < 2:
        return ""
    lowest = rows[0]
    ties = [row for row in rows if row.value == lowest.value]
    if len(ties) == len(rows):
        return f"All {len(rows):,} classes are alike at {percent(lowest.value)}."
    reach = max(row.high if row.high is not None else 1.0 for row in ties)
    rivals = [r for r in rows[len(ties) :] if r.low is not None and r.low <= reach]
    if len(ties) > 1:
        names = listed([row.label or "" for row in ties])
        return f"Lowest are {names}, each at {percent(lowest.value)}{_unsure(rivals, 'none of them is certainly the worst')}"
    said = (
        f"Class {quoted(lowest.label)} is lowest: {percent(lowest.value)} of its {plural(lowest.n, 'image')} "
        f"(95 % interval {between(lowest.low, lowest.high)})"
    )
    if not rivals:
        return f"{said}; no other class's interval overlaps with this one, so the finding is clear."
    return f"{said}{_unsure(rivals, 'that it is the worst is not certain')}"


def _unsure(rivals: Sequence[Row], so: str) -> str:
    if not rivals:
        return f"; {so}."
    whose = f"the interval of {listed([r.label or '' for r in rivals])} overlaps"
    if len(rivals) > 1:
        whose = f"the intervals of {plural(len(rivals), 'other class', 'other classes')} overlap"
    return f"; {whose}, so {so}."


def swallower(view: View, cut: float | None) -> str:
    """Which class most misclassified images are taken for."""
    at = view.scores.get(("cfps", cut), {})
    rows = [row for row in at.values() if row.label is not None]
    if not rows:
        return ""
    rated = sorted(((row.value, row) for row in rows if row.value is not None), key=lambda item: -item[0])
    if not rated:
        return "No image is misclassified, so there is no class that errors land in."
    share, most = rated[0]
    ties = [row for value, row in rated if value == share]
    count = plural(most.n, "misclassified image")
    if len(ties) > 1:
        names = listed([row.label or "" for row in ties])
        return f"Of {count}, equally many ({percent(share)} each) are taken for {names} (CFPS)."
    rivals = [r for _, r in rated[1:] if r.high is not None and most.low is not None and r.high >= most.low]
    sure = "" if not rivals else f"; the interval of {listed([r.label or '' for r in rivals], 2)} overlaps with it"
    return (
        f"Of {count}, {percent(share)} (interval {between(most.low, most.high)}) are taken for {quoted(most.label)}, "
        f"the largest share of any class (CFPS){sure}."
    )


def attacked(view: View) -> list[str]:
    """The sentences of an attacked condition: the middle and the largest budget."""
    if view.empty:
        return ["Nothing of this condition is finished yet."]
    last = len(view.cuts) - 1
    places = list(dict.fromkeys([view.middle, last]))
    cut = view.cuts[view.middle]
    lead = f"At budget {view.labels[view.middle]}: " if last else ""
    said = [overall(view, places)]
    said += [f"{lead}{_lower(text) if lead else text}" for text in (worst(view, cut), swallower(view, cut)) if text]
    return [*(s for s in said if s), *([implied(view)] if implied(view) else [])]


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def implied(view: View) -> str:
    """How far verdicts that were carried over from a larger budget can be trusted."""
    row = view.row("implied-error", None)
    carried = view.bases["implied"]
    if row is None or row.value is None:
        return f"{plural(carried, 'verdict')} carried over from a larger budget; none was checked." if carried else ""
    wrong = round(row.value * row.n)
    return (
        f"{plural(carried, 'verdict')} carried over from a larger budget without a further attack; of {row.n:,} such "
        f"verdicts checked by a direct attack, {wrong:,} did not hold (implied error {percent(row.value)}, "
        f"interval {between(row.low, row.high)})."
    )


def state(views: Sequence[View], failures: Sequence[Failure]) -> list[str]:
    """What a reader must know before any number: what is missing, what failed."""
    said: list[str] = []
    open_ = [v for v in views if v.done < v.planned]
    if open_:
        done, planned = sum(v.done for v in views), sum(v.planned for v in views)
        said.append(
            f"This run is not finished: {done:,} of {planned:,} shards are there, and "
            f"{plural(len(open_), 'condition')} of {len(views):,} {'is' if len(open_) == 1 else 'are'} incomplete. "
            "The numbers below rest on what is there."
        )
    if failures:
        samples = sum(f.sample is not None for f in failures)
        shards = len(failures) - samples
        what = [plural(samples, "image")] if samples else []
        what += [plural(shards, "shard")] if shards else []
        said.append(f"{' and '.join(what)} could not be measured and {'is' if samples + shards == 1 else 'are'} left out.")
    if not views:
        said.append("The run has no conditions yet.")
    elif all(v.stored.clean for v in views):
        said.append("No threat was measured: the numbers describe unperturbed images only.")
    return said
