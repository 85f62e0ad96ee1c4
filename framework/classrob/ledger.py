"""What is known of some samples at some budgets while they are swept, and the records that come of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from classrob.ensemble import Member
from classrob.judge import Verdict
from classrob.live import Meter
from classrob.records import Record, Trial


@dataclass
class Ledger:
    """What is known of n samples at b budgets; NaN and an empty basis where nothing is yet.

    For the samples in `keep`, `kept` holds the level and z of the smallest example that broke them, or
    of the last one that did not. For the levels in `watch`, `judged` holds the z that each sample's
    judgement there rests on, by level and sample.
    """

    labels: Tensor
    budgets: tuple[float, ...]
    predicted: np.ndarray = field(init=False)
    margin: np.ndarray = field(init=False)
    distance: np.ndarray = field(init=False)
    proposed: np.ndarray = field(init=False)
    spent: np.ndarray = field(init=False)
    queries: np.ndarray = field(init=False)
    basis: np.ndarray = field(init=False)
    keep: frozenset[int] = frozenset()
    kept: dict[int, tuple[int, Tensor]] = field(default_factory=dict)
    tried: dict[tuple[int, int, str, int | None], Trial] = field(default_factory=dict)
    watch: frozenset[int] = frozenset()
    judged: dict[int, dict[int, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.labels), max(1, len(self.budgets)))
        self.predicted = np.repeat(self.labels.cpu().numpy()[:, None], shape[1], 1)
        self.margin, self.distance, self.proposed = (np.full(shape, np.nan) for _ in range(3))
        self.spent, self.queries = (np.zeros(shape, np.int64) for _ in range(2))
        self.basis = np.full(shape, "", dtype=object)

    def write(self, verdict: Verdict, row: int, sample: int, level: int, basis: str) -> None:
        """Enter row `row` of a verdict as the judgement of a sample at a level."""
        at = (sample, level)
        self.predicted[at] = int(verdict.predicted[row])
        self.margin[at] = float(verdict.margin[row])
        self.distance[at] = float(verdict.distance[row])
        self.proposed[at] = float(verdict.proposed[row])
        self.basis[at] = basis
        if level in self.watch or (verdict.broken[row] and self._may_lift(sample, level)):
            self.judged.setdefault(level, {})[sample] = verdict.z[row].clone()
        if sample in self.keep:
            before = self.kept[sample][0] if sample in self.kept else None
            if (
                before is None
                or not self._broken(sample, before)
                or (verdict.broken[row] and level <= before)
            ):
                self.kept[sample] = (level, verdict.z[row])

    def lift(self, samples: np.ndarray, level: int) -> None:
        """A sample's judgement holds one level higher too."""
        for column in (self.predicted, self.margin, self.distance, self.proposed):
            column[samples, level] = column[samples, level - 1]
        self.basis[samples, level] = "found"
        below = self.judged.get(level - 1, {})
        self.judged.setdefault(level, {}).update({i: below[i] for i in samples.tolist() if i in below})

    def _may_lift(self, sample: int, level: int) -> bool:
        """Is there a watched level above at which the sample stands, so far?"""
        return any(above > level and not self._broken(sample, above) for above in self.watch)

    def _broken(self, sample: int, level: int) -> bool:
        return bool(self.predicted[sample, level] != int(self.labels[sample]))

    def try_out(
        self, member: Member, samples: np.ndarray, levels: np.ndarray, verdict: Verdict, meter: Meter
    ) -> None:
        """Enter what one member of an ensemble made of samples at levels."""
        for k, (i, level) in enumerate(zip(samples.tolist(), levels.tolist(), strict=True)):
            trial = Trial(
                "",
                int(self.labels[i]),
                self.budgets[level] if self.budgets else None,
                member.name,
                member.goal,
                int(verdict.predicted[k]),
                float(verdict.margin[k]),
                float(verdict.distance[k]),
                int(meter.backwards[k]),
                int(meter.forwards[k]),
            )
            self.tried[i, level, member.name, member.goal] = trial

    def trials(self, ids: tuple[str, ...]) -> list[Trial]:
        """The members' own verdicts as rows, by sample, then by budget, in the order they were asked."""
        return [
            trial._replace(sample=ids[i])
            for (i, *_), trial in sorted(self.tried.items(), key=lambda tried: tried[0][:2])
        ]

    def records(self, ids: tuple[str, ...]) -> list[Record]:
        """The ledger as rows, by sample and then by budget."""

        def number(x: float) -> float | None:
            return None if np.isnan(x) else float(x)

        return [
            Record(
                ids[i],
                int(self.labels[i]),
                self.budgets[j] if self.budgets else None,
                int(self.predicted[i, j]),
                number(self.margin[i, j]),
                number(self.distance[i, j]),
                number(self.proposed[i, j]),
                int(self.spent[i, j]),
                int(self.queries[i, j]),
                self.basis[i, j],
            )
            for i in range(self.basis.shape[0])
            for j in range(self.basis.shape[1])
        ]
