"""What each attack of an ensemble did on its own: asked, broke, and what that cost, class by class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from classrob.reading.results import Results, Stored
from classrob.statistics.intervals import rate


@dataclass(frozen=True)
class Summary:
    """One member at one budget, on all samples it was asked about or (label) on those of a class.

    A member is asked about the samples that those before it left standing, so `value` (with its 95 %
    interval) is a share of these; with `individual` it is asked about all.
    """

    model: str
    dataset: str
    threat: str
    budget: float
    attack: str
    member: str
    label: str | None
    asked: int
    broken: int
    value: float
    low: float
    high: float
    spent: int
    queries: int


def summaries(results: Results, condition: Stored) -> Iterator[Summary]:
    """By budget, then member in the order they were asked, then class; none where the attack is a single one."""
    trials = results.trials(condition)
    if trials is None or condition.attack is None:
        return
    for budget in condition.budgets:
        here = trials.at(budget)
        for member in dict.fromkeys(here["attack"]):
            own = here.where(here["attack"] == member)
            for label, part in ((None, own), *own.by_class()):
                broken, asked = int((part["predicted"] != part["label"]).sum()), len(part)
                low, high = rate(broken, asked)
                yield Summary(
                    condition.model,
                    condition.dataset,
                    condition.threat,
                    budget,
                    condition.attack,
                    member,
                    label,
                    asked,
                    broken,
                    broken / asked,
                    low,
                    high,
                    int(part["spent"].sum()),
                    int(part["queries"].sum()),
                )
