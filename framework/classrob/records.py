"""What crosses a process boundary: a shard to compute, and the outcome that comes back. Only data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from classrob.costs import Cost


@dataclass(frozen=True)
class Shard:
    """A slice of a data set under one condition.

    Attributes:
        key: content address of everything that decides its records.
        condition: index of the condition in the plan.
        indices: the samples' positions in the opened data set.
        pictures: the positions whose images are kept for the report.
    """

    key: str
    condition: int
    indices: tuple[int, ...]
    pictures: frozenset[int] = frozenset()


class Record(NamedTuple):
    """One judgement: one sample at one budget.

    Attributes:
        sample: the sample's id.
        label: its class.
        budget: the budget, None without a threat.
        predicted: the class that the model gives to the judged image.
        margin: true logit minus the largest other, of the judged image; None for an implied or certified verdict.
        distance: the judged image's distance from the original; None for an implied or certified one.
        proposed: the distance of what the attack proposed, before projection; None where nothing was.
        spent: gradient evaluations spent on this row.
        queries: forward passes spent on this row, those with a gradient included.
        basis: what the verdict rests on, see `BASES`.
    """

    sample: str
    label: int
    budget: float | None
    predicted: int
    margin: float | None
    distance: float | None
    proposed: float | None
    spent: int
    queries: int
    basis: str


class Trial(NamedTuple):
    """One member of an ensemble on one sample at one budget, as judged.

    Attributes:
        sample, label, budget: as in a record.
        attack: the member's name.
        goal: the one class that it aimed at; None where any wrong class was as good.
        predicted, margin, distance: of the judged image that it proposed.
        spent, queries: gradient evaluations and forward passes that it took.
    """

    sample: str
    label: int
    budget: float | None
    attack: str
    goal: int | None
    predicted: int
    margin: float
    distance: float
    spent: int
    queries: int


class Observation(NamedTuple):
    """What a probe recorded of a judged image.

    Attributes:
        sample: the sample's id; None for what is of the model.
        budget: the budget of the record that it belongs to, None without a threat.
        probe: what the study calls the probe, or the detector.
        name: the column.
        shape: [] for a number, [d] for a vector, [k] or [k, d] for what is of the model; as JSON.
        type: `float16` or `float32`.
        value: the numbers, little-endian.
    """

    sample: str | None
    budget: float | None
    probe: str
    name: str
    shape: str
    type: str
    value: bytes


#: What a verdict rests on.
BASES = {
    "clean": "the unperturbed image was judged",
    "foreign": "an image of another data set, of no class of this one; no verdict",
    "found": "a judged misclassified image within the budget",
    "stood": "attacked at this budget, and not broken",
    "certified": "proven at this budget or a larger one of a nested threat: no attack can break it",
    "implied": "attacked at a larger budget of a nested threat, and not broken; not attacked here",
    "confirmed": "implied, then spot-checked: attacked here too, and not broken",
    "refuted": "implied, then spot-checked: attacked here, and broken",
}


@dataclass(frozen=True)
class Example:
    """Pictures of one judged sample for the report, as PNG bytes.

    `difference` shows perturbed minus original around mid-grey, stretched by `gain` to the full range.
    """

    sample: str
    label: int
    predicted: int
    budget: float | None
    distance: float | None
    original: bytes
    perturbed: bytes
    difference: bytes
    gain: float


class Drawing(NamedTuple):
    """An explanation of a pictured sample, as PNG bytes.

    Attributes:
        sample, budget: as in the example that it belongs to.
        explainer: what the study calls the explainer.
        original, perturbed: the true class's map of either image, both on one scale; red speaks for the class,
            blue against it. Of an explainer whose maps change images, the changed images.
        difference: perturbed minus original, on a scale of its own.
    """

    sample: str
    budget: float | None
    explainer: str
    original: bytes
    perturbed: bytes
    difference: bytes


@dataclass(frozen=True)
class Outcome:
    """What came of a shard: its records, or the one line that says why there are none.

    `failures` maps sample ids to the reason why the sample has no record (a broken image). `trials` are
    the verdicts of an ensemble's members, each on its own; `observations` what probes recorded; `drawings` how
    explainers see the examples; `how` says how the model was run, `costs` what its detectors cost.
    """

    shard: Shard
    records: list[Record] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    error: str | None = None
    trace: str | None = None
    trials: list[Trial] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    drawings: list[Drawing] = field(default_factory=list)
    how: dict[str, int | bool | float] = field(default_factory=dict)
    costs: list[Cost] = field(default_factory=list)
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
