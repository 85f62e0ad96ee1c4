"""Pictures of the most and the least robust class of every attacked condition, within a size that loads."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from classrob.reading.results import Results
from classrob.records import Drawing, Example
from classrob.report.facts import View
from classrob.report.form import budget, quoted

#: So many pictures of a class, and so many bytes of pictures on the whole page, are shown at most.
EACH = 4
BYTES = 16_000_000
#: Of a class and condition, so many on the class's page; and so many bytes for all of these.
PORTRAITS = 2
PORTRAIT_BYTES = 8_000_000
#: Narrower pictures than this are scaled up with sharp pixels.
SMALL = 96
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Maps:
    """An explanation of a sample: of the original, of the perturbed image, and what changed; data URLs."""

    explainer: str
    original: str
    perturbed: str
    difference: str


@dataclass(frozen=True)
class Picture:
    """One sample's three images as data URLs, with what is to be said of them, and its explanations."""

    original: str
    perturbed: str
    difference: str
    small: bool
    sample: str
    budget: str
    distance: str
    true: str
    predicted: str
    fooled: bool
    gain: str
    maps: tuple[Maps, ...] = ()


@dataclass
class Shelf:
    """The pictures of one class, and why the class is shown."""

    heading: str
    label: str
    accuracy: str
    pictures: list[Picture] = field(default_factory=list)
    left_out: int = 0


def galleries(results: Results, views: Sequence[View]) -> dict[int, list[Shelf]]:
    """The shelves of every attacked condition that kept pictures.

    Pictures are taken in rounds over all conditions, so that the limit on bytes thins them evenly.
    """
    attacked = [view for view in views if not view.stored.clean]
    kept = {view.index: _shelves(view, results.examples(view.stored)) for view in attacked}
    room = BYTES
    for turn in range(EACH):
        for view in attacked:
            for shelf, examples in kept[view.index]:
                if turn >= len(examples):
                    continue
                one = examples[turn]
                room -= (size := len(one.original) + len(one.perturbed) + len(one.difference))
                if room < 0:
                    room += size
                    shelf.left_out += 1
                else:
                    shelf.pictures.append(_picture(one, view.stored.classes))
    return {index: [shelf for shelf, _ in shelves] for index, shelves in kept.items()}


def portraits(results: Results, views: Sequence[View]) -> dict[tuple[int, int], list[Picture]]:
    """For a class's own page: its images that broke at the smallest distances, by condition and class."""
    found: dict[tuple[int, int], list[Picture]] = {}
    room = PORTRAIT_BYTES
    for view in views:
        kept = [] if view.stored.clean else results.examples(view.stored)
        drawn = results.drawings(view.stored) if kept else {}
        fooled = [one for one in kept if one.predicted != one.label and one.distance]
        for one in sorted(fooled, key=lambda e: e.distance or 0.0):
            mine = found.setdefault((view.index, one.label), [])
            maps = drawn.get((one.sample, one.budget), [])
            triples = [(e.original, e.perturbed, e.difference) for e in (one, *maps)]
            room -= (size := sum(len(image) for triple in triples for image in triple))
            if len(mine) < PORTRAITS and room >= 0:
                mine.append(_picture(one, view.stored.classes, maps))
            else:
                room += size
    return found


def _shelves(view: View, examples: Sequence[Example]) -> list[tuple[Shelf, list[Example]]]:
    """The least and the most robust of the classes that have pictures."""
    cut = view.cuts[view.middle]
    classes = view.stored.classes
    by_class: dict[str, list[Example]] = {}
    for one in examples:
        by_class.setdefault(classes[one.label], []).append(one)
    ranked = [row.label for row in view.ranking(cut)]
    shown = [name for name in ranked if name in by_class] or sorted(by_class)
    if not shown:
        return []
    ends = [("Least robust", shown[0], ranked[:1])]
    if len(shown) > 1:
        ends.append(("Most robust", shown[-1], ranked[-1:]))
    found: list[tuple[Shelf, list[Example]]] = []
    for kind, name, true in ends:
        heading = f"{kind} class" if [name] == true else f"{kind} of the classes with pictures"
        accuracy = view.shown("accuracy", cut, name)
        at = f"right at budget {view.labels[view.middle]}"
        said = f"{accuracy.text} {at} ({accuracy.interval}, n = {accuracy.n})"
        mine = sorted(by_class[name or ""], key=lambda e: e.predicted == e.label)  # the successful ones first
        found.append((Shelf(heading, quoted(name), said if true else ""), mine[:EACH]))
    return found


def _picture(one: Example, classes: Sequence[str], maps: Sequence[Drawing] = ()) -> Picture:
    distance = "" if one.distance is None else f"{one.distance:.4g}"
    return Picture(
        *(_url(image) for image in (one.original, one.perturbed, one.difference)),
        small=_width(one.original) < SMALL,
        sample=one.sample,
        budget="" if one.budget is None else budget(one.budget),
        distance=distance,
        true=classes[one.label],
        predicted=classes[one.predicted],
        fooled=one.predicted != one.label,
        gain=f"{one.gain:.3g}",
        maps=tuple(
            Maps(e.explainer, *(_url(image) for image in (e.original, e.perturbed, e.difference)))
            for e in maps
        ),
    )


def _url(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"


def _width(image: bytes) -> int:
    """A PNG's width, from its header; 0 for anything else."""
    return struct.unpack(">I", image[16:20])[0] if image.startswith(_PNG) and len(image) >= 20 else 0
