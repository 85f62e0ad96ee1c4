"""What the run itself has measured: which samples stand, and which fell to queries but not to gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from classrob.audit.tally import Tally
from classrob.reading.results import Results, Stored
from classrob.table import Table

#: (sample, budget), and whether each was broken by any of some attacks.
Verdicts = dict[tuple[str, float], bool]


@dataclass(frozen=True)
class Recorded:
    """The run's records of one model under one threat, by every attack that searched there."""

    results: Results
    conditions: Sequence[Stored]

    def standing(self, budgets: Iterable[float]) -> dict[float, frozenset[str]]:
        """For each budget that has rows, the samples that the run counts as standing under all of its attacks."""
        tables = [table for c in self.conditions if len(table := self.results.table(c))]
        return {
            budget: frozenset.intersection(*(_standing(table.at(budget)) for table in tables))
            for budget in (budgets if tables else ())
        }

    def tallies(self, gradients: Mapping[str, bool]) -> list[Tally]:
        """One comparison a budget at which attacks of both kinds were asked.

        `gradients` says of every attack, also of an ensemble's members, whether it uses gradients.
        """
        kinds: dict[bool, Verdicts] = {True: {}, False: {}}
        for condition in self.conditions:
            table = self.results.table(condition)
            for name, rows in _by_attack(condition, table):
                if name not in gradients:
                    continue  # a member that the attack had when the run was made, and has no more
                verdicts = kinds[gradients[name]]
                broken = (rows["predicted"] != rows["label"]).tolist()
                for sample, budget, hit in zip(rows["sample"], rows["budget"].tolist(), broken, strict=True):
                    verdicts[sample, budget] = verdicts.get((sample, budget), False) or hit
        if not kinds[True] or not kinds[False]:
            return []
        clean = self.results.table(self.results.clean_of(self.conditions[0]))
        right = clean.where(clean["predicted"] == clean["label"])
        return [_tally(right, budget, kinds) for budget in self.conditions[0].budgets]


def _standing(table: Table) -> frozenset[str]:
    return frozenset(table["sample"][table["predicted"] == table["label"]])


def _by_attack(condition: Stored, table: Table) -> Iterable[tuple[str, Table]]:
    """An ensemble's trials by member; else the condition's records."""
    if table.trials is None:
        return [(str(condition.attack), table)]
    names = dict.fromkeys(table.trials["attack"])
    return [(name, table.trials.where(table.trials["attack"] == name)) for name in names]


def _tally(right: Table, budget: float, kinds: dict[bool, Verdicts]) -> Tally:
    """Images that gradients were tried on at a budget and left standing, and that fell to queries."""
    samples = right["sample"]
    hits = [
        kinds[True].get((sample, budget)) is False and kinds[False].get((sample, budget), False)
        for sample in samples
    ]
    says = (
        "In the run itself, of {n} images that are classified right, {hits} withstood every attack by gradients "
        "and fell to one without"
    )
    return Tally(says, samples, right["label"], np.array(hits, bool), budget)
