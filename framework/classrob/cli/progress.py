"""Progress on standard error: images a second, time left, the worst class so far; quiet when not a terminal."""

from __future__ import annotations

import time
from collections import Counter
from typing import TextIO

from classrob.plan import Plan
from classrob.records import Outcome, Shard


class Progress:
    """One line that is drawn over itself; notes and failures stay above it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.live = stream.isatty()
        self.plan: Plan | None = None
        self.images = self.total = 0
        self.begin = time.monotonic()
        self.right: Counter[tuple[int, int]] = Counter()
        self.seen: Counter[tuple[int, int]] = Counter()

    def note(self, line: str) -> None:
        """A line that stays."""
        self._clear()
        print(f"note: {line}", file=self.stream, flush=True)

    def started(self, plan: Plan, todo: list[Shard], done: int, adopted: int) -> None:
        """What is to do, and what need not be done."""
        self.plan, self.begin = plan, time.monotonic()
        self.total = sum(len(shard.indices) for shard in todo)
        taken = f", {adopted} taken over from neighbouring runs" if adopted else ""
        print(
            f"{done} shards done{taken}, {len(todo)} to do on {plan.study.device}",
            file=self.stream,
            flush=True,
        )

    def finished(self, outcome: Outcome) -> None:
        """Count a shard, and say how things stand."""
        if outcome.error is not None:
            self._clear()
            print(f"failed: {outcome.error}", file=self.stream, flush=True)
            if outcome.trace:
                print(outcome.trace, file=self.stream, flush=True)
        for sample, reason in outcome.failures.items():
            self.note(f"sample '{sample}' cannot be read: {reason}")
        self.images += len(outcome.shard.indices)
        self._count(outcome)
        if self.live:
            self._draw(outcome)

    def close(self) -> None:
        """Leave a clean line."""
        self._clear()

    def _count(self, outcome: Outcome) -> None:
        """Rows at the largest budget of the shard's condition, by class."""
        top = max((r.budget for r in outcome.records if r.budget is not None), default=None)
        for record in outcome.records:
            if record.budget == top and record.label >= 0:
                key = (outcome.shard.condition, record.label)
                self.seen[key] += 1
                self.right[key] += record.predicted == record.label

    def _draw(self, outcome: Outcome) -> None:
        assert self.plan is not None
        seconds = max(1e-9, time.monotonic() - self.begin)
        left = (self.total - self.images) * seconds / max(1, self.images)
        condition = self.plan.conditions[outcome.shard.condition]
        line = (
            f"{self.images / max(1, self.total):4.0%}  {self.images / seconds:.0f} images/s  {_clock(left)} left  "
            f"{condition.title}{self._worst(outcome.shard.condition)}"
        )
        self._clear()
        self.stream.write(line[:150])
        self.stream.flush()

    def _worst(self, condition: int) -> str:
        rates = {label: self.right[c, label] / n for (c, label), n in self.seen.items() if c == condition}
        if not rates or self.plan is None:
            return ""
        worst = min(rates, key=lambda label: rates[label])
        names = self.plan.samples[self.plan.conditions[condition].dataset.name].classes
        return f"  worst class so far: {names[worst]} {rates[worst]:.0%}"

    def _clear(self) -> None:
        if self.live:
            self.stream.write("\r\x1b[2K")
            self.stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
