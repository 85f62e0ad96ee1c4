"""The audit as the page shows it: for each model which signs of gradient masking fired, and on what evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from classrob.audit.stored import Audit, read, rows_of
from classrob.audit.tally import Finding, Share
from classrob.errors import StoreError
from classrob.reading.results import Results
from classrob.report.form import NOTHING, Shown, between, budget, percent, plural

#: So many classes are listed, the ones with the most evidence first.
CLASSES = 24


@dataclass(frozen=True)
class Line:
    """One sign: how it is called, under which threat and budget, its state, its share, and its sentences."""

    title: str
    where: str
    state: str
    share: Shown
    threshold: str
    text: str
    classes: dict[str, Shown]
    unsure: bool


@dataclass(frozen=True)
class Sheet:
    """One model on one data set; `evidence` are the lines that have any, `classes` those with the most first."""

    model: str
    dataset: str
    lines: list[Line]
    images: int

    @property
    def fired(self) -> list[Line]:
        """The signs that fired."""
        return [line for line in self.lines if line.state == "fired"]

    @property
    def verdict(self) -> str:
        """What it comes to, in a sentence."""
        checked = sum(line.state != "not checked" for line in self.lines)
        left = len(self.lines) - checked
        said = f"{len(self.fired) or 'None'} of {plural(checked, 'sign')} fired, on {plural(self.images, 'image')}"
        said = f"{said}; {left} could not be checked." if left else f"{said}."
        unsure = sum(line.unsure for line in self.lines)
        if not unsure:
            return said
        more = f"{plural(unsure, 'silent sign')} counted more images than the threshold allows, but too few to be"
        return f"{said} {more} certain: classrob audit DIR --samples {4 * self.images} would tell more."

    @property
    def evidence(self) -> list[Line]:
        """The signs that count at least one image."""
        return [line for line in self.lines if line.share.value]

    @property
    def classes(self) -> list[str]:
        """The classes of the table of evidence."""
        most: dict[str, float] = {}
        for line in self.evidence:
            for name, share in line.classes.items():
                most[name] = max(most.get(name, 0.0), share.value or 0.0)
        order = sorted(most, key=lambda name: -most[name])
        kept = set(order[:CLASSES])
        return [name for name in most if name in kept]


@dataclass(frozen=True)
class Honesty:
    """All of it; `notice` is what a reader must know first."""

    sheets: list[Sheet]
    notice: str = ""
    measured: str = ""


def honesty(results: Results) -> Honesty:
    """The audit beside a run's store; where there is none, or one of other rows, it says so."""
    try:
        audit = read(results.store.path.parent)
    except StoreError as error:
        return Honesty([], f"The audit cannot be shown: {error}.")
    if audit is None:
        return Honesty([])
    stale = "This audit was made before the run's rows changed: the same command again brings it up to date."
    return Honesty(list(_sheets(audit)), "" if audit.rows == rows_of(results) else stale, audit.measured)


def _sheets(audit: Audit) -> Iterator[Sheet]:
    pairs = dict.fromkeys((one.model, one.dataset) for one in audit.findings)
    images = {(cost.model, cost.dataset): cost.images for cost in audit.costs}
    for pair in pairs:
        mine = [_line(one) for one in audit.findings if (one.model, one.dataset) == pair]
        yield Sheet(*pair, mine, images.get(pair, 0))


def _line(one: Finding) -> Line:
    where = " ".join(
        [*([] if one.threat is None else [one.threat]), *([] if one.budget is None else [budget(one.budget)])]
    )
    text = one.text
    if one.overturned:
        text = f"{text} The run itself counts {one.overturned} of these as standing."
    if one.unsure:
        text = f"{text} That is more than the threshold, on too few images to be certain: audit more of them."
    loud = _loud(one.classes, one.threshold) if one.state == "fired" else ""
    return Line(
        one.title,
        where,
        one.state,
        _shown(one.overall),
        percent(one.threshold, 0),
        f"{text}{loud}",
        {str(share.label): _shown(share) for share in one.classes},
        one.unsure,
    )


def _loud(classes: Sequence[Share], threshold: float) -> str:
    """Which classes are certain on their own."""
    names = [f"“{share.label}”" for share in classes if share.low > threshold]
    if not names or len(names) == len(classes):
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f" Certain for {'class' if len(names) == 1 else 'classes'} {', '.join(names[:3])}{more} alone."


def _shown(share: Share | None) -> Shown:
    if share is None:
        return NOTHING
    return Shown(
        percent(share.value), between(share.low, share.high), share.n, share.value, share.low, share.high
    )
