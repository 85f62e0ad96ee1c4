"""One model under one threat: the audit's own attacks, each through the same sweep and judge as a run's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from classrob.audit.subject import Subject
from classrob.audit.tally import NoGradient, NotChecked, Tally
from classrob.catalog import Catalog
from classrob.ensemble import Member, propose
from classrob.errors import ClassrobError
from classrob.judge import judge
from classrob.live import Meter
from classrob.named import Named
from classrob.parts import Attack, Threat
from classrob.space import Space
from classrob.streams import Streams
from classrob.sweep import Sweep


class Probe(NamedTuple):
    """An attack of the audit: a reference, its fields, and how sentences call it."""

    attack: str
    fields: Mapping[str, Any]
    title: str


#: What the others are compared with: the plain gradient attack, from the image itself.
GRADIENTS = Probe("lp/pgd", {"steps": 40}, "40 steps of PGD")

#: At most so many of the run's budgets are looked at: evenly over its list, the largest among them.
BUDGETS = 4


@dataclass
class Setting:
    """A subject under one threat of the run.

    Attributes:
        budgets: those of the run that are looked at.
        standing: for each of them, the ids of the samples that the run counts as standing.
        recorded: what the run's own records say about black box and white box.
        donors: what other models of the study were broken by, filled in after all were looked at.
        examples: what this one was broken by, [n, …] on the CPU, once that is known.
        plain: how sentences call the plain gradient attack.
    """

    subject: Subject
    threat: Named[Threat]
    catalog: Catalog
    budgets: tuple[float, ...]
    standing: Mapping[float, frozenset[str]] = field(default_factory=dict)
    recorded: list[Tally] = field(default_factory=list)
    donors: list[Tensor] = field(default_factory=list)
    examples: Tensor | None = None
    plain: str = GRADIENTS.title

    @property
    def right(self) -> np.ndarray:
        """bool [n], the images that are classified right."""
        return self.subject.right

    def streams(self, use: str) -> Streams:
        """One stream a sample, the same for every model."""
        source = type(self.subject.condition.dataset.part).__qualname__
        key = f"audit/{type(self.threat.part).__qualname__}/{use}"
        drawn = Streams.keyed(self.subject.worker.study.seed, source, self.subject.batch.ids, key)
        return drawn.to(self.subject.batch.images.device)

    @cached_property
    def space(self) -> Space:
        """The threat's space around every image."""
        subject = self.subject
        return self.threat.part.open(subject.batch, subject.classifier, self.streams("threat"))

    def at(self, rows: np.ndarray, budget: float) -> Space:
        """The space of some rows at one budget."""
        index = torch.from_numpy(np.flatnonzero(rows)).to(self.subject.batch.labels.device)
        space = self.space.select(index)
        return space.at(torch.full_like(space.budget, budget))

    @cached_property
    def stood(self) -> np.ndarray:
        """bool [n, budgets]: images classified right that the plain gradient attack left standing."""
        try:
            broken, self.examples = self.attacked(GRADIENTS, self.right)
        except NoGradient:  # such an attack never leaves the image
            self.plain = "PGD, which finds no gradient to follow,"
            return np.repeat(self.right[:, None], len(self.budgets), 1)
        return self.right[:, None] & ~broken

    def attacked(self, probe: Probe, rows: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """What a probe breaks of the rows that a mask [n] keeps, budget by budget.

        Returns:
            bool [n, budgets], and the nearest examples (or last points) [n, …] on the CPU; a row that was
            not asked is not broken, and its example is the image.

        Raises:
            NotChecked: the attack is not installed, or the model gives it nothing to work with.
        """
        subject = self.subject
        broken = np.zeros((len(rows), len(self.budgets)), bool)
        examples = self.space.centre().cpu().clone()
        attack = self._attack(probe)
        index = torch.from_numpy(np.flatnonzero(rows)).to(subject.batch.labels.device)
        if not len(index):
            return broken, examples
        sweep = Sweep(
            subject.classifier,
            attack,
            probe.attack,
            self.space.select(index),
            subject.batch.select(index),
            self.streams(probe.title).select(index),
            self.budgets,
            keep=frozenset(range(len(index))),
        )
        ledger = sweep.run()
        subject.spent += int(ledger.spent.sum())
        subject.queries += int(ledger.queries.sum())
        broken[rows] = ledger.predicted != ledger.labels.cpu().numpy()[:, None]
        for i, (_, z) in ledger.kept.items():
            examples[index[i]] = z.detach().cpu()
        return broken, examples

    def walked(self, probe: Probe, rows: np.ndarray, budget: float, start: Tensor) -> np.ndarray:
        """What a probe breaks at one budget, whatever the run's, when it begins at `start`.

        Returns:
            bool [m], of the m rows that a mask [n] keeps, as `start` [m, …] is.

        Raises:
            NotChecked: as for `attacked`.
        """
        subject, attack = self.subject, self._attack(probe)
        index = torch.from_numpy(np.flatnonzero(rows)).to(subject.batch.labels.device)
        space, batch = self.at(rows, budget), subject.batch.select(index)
        classifier = subject.classifier
        meter = classifier.meter = Meter.of(len(index))
        streams = self.streams(probe.title).select(index)
        z = propose(Member(probe.attack, attack), classifier, space, batch, streams, start)
        broken = judge(classifier, space, batch, z).broken.numpy()
        classifier.meter = None
        subject.spent += int(meter.backwards.sum())
        subject.queries += int(meter.forwards.sum())
        return broken

    def _attack(self, probe: Probe) -> Attack:
        try:
            attack: Attack = self.catalog.make("attack", probe.attack, probe.fields)
        except ClassrobError as error:
            raise NotChecked(
                f"it takes the attack '{probe.attack}', which is not to be had: {error}"
            ) from error
        if "pixels" in attack.needs and not self.threat.part.pixels:
            raise NotChecked(f"attack '{probe.attack}' needs pixels, and this threat is no offset of pixels")
        if "gradients" in attack.needs:
            try:
                _ = self.subject.slope
            except NoGradient as reason:
                raise NoGradient(f"no gradient attack can run: {reason} (see 'zero-gradients')") from reason
        return attack

    def tallies(self, says: str, hits: np.ndarray) -> list[Tally]:
        """One comparison a budget, on the images classified right; `hits` is bool [n, budgets]."""
        right, ids = self.right, np.array(self.subject.batch.ids, dtype=object)[self.right]
        labels = self.subject.batch.labels.cpu().numpy()[right]
        found = []
        for level, budget in enumerate(self.budgets):
            said = self.standing.get(budget)
            stands = None if said is None else np.array([sample in said for sample in ids], bool)
            found.append(Tally(says, ids, labels, hits[right, level], budget, stands))
        return found


def looked_at(budgets: tuple[float, ...]) -> tuple[float, ...]:
    """At most `BUDGETS` of ascending budgets, evenly spread, the largest among them."""
    n = len(budgets)
    places = {n - 1 - round(k * (n - 1) / max(1, BUDGETS - 1)) for k in range(BUDGETS)}
    return tuple(budgets[i] for i in sorted(places))
