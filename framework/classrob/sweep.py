"""All budgets of a threat for little more than the price of one.

Two facts carry it where smaller sets lie inside larger ones. A sample broken at a budget is broken at
every larger one: exact, `found`. A sample that stood at a budget is taken to stand at every smaller
one: `implied`. So a sample is attacked at the largest budget first and, while it breaks, just below
the smallest distance found; a seeded share of the implied verdicts is attacked directly, and the
disagreement is a score (`implied-error`); an exhaustive sweep implies nothing. What a certifier has
proven to stand is not attacked, but for a seeded share that must not break.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from classrob.certification import ensure_true, proven
from classrob.ensemble import Ensemble, Member, members_of, propose
from classrob.judge import Verdict, judge
from classrob.ledger import Ledger
from classrob.live import Batch, Classifier, Meter
from classrob.parts import Attack, Certifier
from classrob.space import Space
from classrob.spotcheck import SpotChecks
from classrob.streams import Streams


@dataclass
class Sweep:
    """One threat's budgets over one shard's samples, by one attack.

    Attributes:
        space: the samples' space; its budgets are set here.
        streams: one stream a sample.
        nested: do smaller sets lie inside larger ones?
        exhaustive: go on below a budget that a sample withstood, so that nothing is implied.
        spot_check: the share of implied verdicts that is attacked directly.
        keep: the rows whose perturbed images are kept for pictures.
        watch: the levels at which every judged z is kept for probes.
        certifier: what may prove that a sample stands, where the threat is nested.
    """

    classifier: Classifier
    attack: Attack
    attack_name: str
    space: Space
    batch: Batch
    streams: Streams
    budgets: tuple[float, ...]
    nested: bool = True
    exhaustive: bool = False
    spot_check: float = 0.0
    keep: frozenset[int] = frozenset()
    watch: frozenset[int] = frozenset()
    certifier: Certifier | None = None

    def run(self) -> Ledger:
        """Judge every sample at every budget."""
        self.ledger = Ledger(self.batch.labels, self.budgets, keep=self.keep, watch=self.watch)
        self.members = members_of(self.attack, self.attack_name, self.classifier, self.space)
        self.individual = isinstance(self.attack, Ensemble) and self.attack.individual
        everyone = np.arange(len(self.batch))
        self.proof = np.full(len(self.batch), -1)  # the largest level at which each sample is certified
        if not self.budgets:
            verdict = self._judge(everyone, np.zeros(len(everyone), int), None)
            for i in range(len(everyone)):
                self.ledger.write(verdict, i, i, 0, "clean")
            return self.ledger
        if not self.nested:
            self._attack_all(everyone)
            return self.ledger
        clean = self._judge(everyone, np.zeros(len(everyone), int), None)
        broken = clean.broken.numpy()
        for i in everyone[broken].tolist():
            for level in reversed(range(len(self.budgets))):
                self.ledger.write(clean, i, i, level, "found")
        self._descend(everyone[~broken])
        return self.ledger

    # -- strategies ---------------------------------------------------------------------------------

    def _attack_all(self, samples: np.ndarray) -> None:
        """Every budget on its own, from scratch; one after the other, so that memory holds one's images."""
        for level in range(len(self.budgets)):
            verdict = self._attempt(samples, np.full(len(samples), level), None)
            for k, i in enumerate(samples.tolist()):
                self.ledger.write(verdict, k, i, level, "found" if verdict.broken[k] else "stood")

    def _descend(self, samples: np.ndarray) -> None:
        """From the largest budget down to the first that a sample withstands, or (exhaustive) to the last.

        Spot checks go along with the rounds, since a few rows take as long as many.
        """
        samples, levels, start = self._unproven(*self._scouted(samples))
        checks = SpotChecks.drawn(self.streams, len(self.budgets), self.spot_check)
        checks.expect(*self._proofs_to_check())
        while len(samples) + len((due := checks.due(self._implied(samples, levels)))[0]):
            verdict = self._round(samples, levels, start, *due)
            checks.note(*due, verdict.rows(slice(len(samples), None)))
            verdict = verdict.rows(slice(len(samples)))
            broken = verdict.broken.numpy()
            for k in np.flatnonzero(~broken).tolist():
                self.ledger.write(verdict, k, int(samples[k]), int(levels[k]), "stood")
            lowest = self._tighten(samples, levels, verdict, np.flatnonzero(broken))
            on = lowest - 1 > self.proof[samples]
            on &= self.exhaustive | broken
            for k in np.flatnonzero(~broken & ~on):
                self.ledger.basis[samples[k], self.proof[samples[k]] + 1 : levels[k]] = "implied"
            samples, levels, start = self._below(samples, lowest, verdict, on)
        checks.enter(self.ledger)
        if self.certifier is not None:
            broken = np.isin(self.ledger.basis, ("found", "refuted")) | checks.broken()
            ensure_true(self.proof, broken, self.batch, self.budgets, self.certifier)
        self._carry_upwards()

    def _scouted(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, Tensor | None]:
        """Where the descent begins: at the top, or just below the distance that a scout has found.

        A sample that no scout breaks is attacked at the top like any other: a scout's failure is no verdict.
        """
        levels = np.full(len(samples), len(self.budgets) - 1)
        if not len(samples) or not self._members(scouts=True):
            return samples, levels, None
        verdict = self._attempt(samples, levels, None, scouts=True)
        broken = verdict.broken.numpy()
        lowest = self._tighten(samples, levels, verdict, np.flatnonzero(broken))
        return self._below(samples, np.where(broken, lowest, len(self.budgets)), verdict, lowest > 0)

    def _unproven(
        self, samples: np.ndarray, levels: np.ndarray, start: Tensor | None
    ) -> tuple[np.ndarray, np.ndarray, Tensor | None]:
        """The rows that are still to be attacked, once a certifier has proven what it can below `levels`."""
        if self.certifier is None or not len(samples):
            return samples, levels, start
        batch = self.batch.select(torch.from_numpy(samples).to(self.batch.labels.device))
        proof = proven(
            self.certifier, self.classifier, batch, levels, lambda rows, at: self._space(samples[rows], at)
        )
        self.proof[samples] = proof
        for i, level in zip(samples.tolist(), proof.tolist(), strict=True):
            self.ledger.basis[i, : level + 1] = "certified"
        on = proof < levels
        rows = None if start is None else start[torch.from_numpy(on).to(start.device)]
        return samples[on], levels[on], rows

    def _below(
        self, samples: np.ndarray, lowest: np.ndarray, verdict: Verdict, on: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """The rows `on`, each one level below its lowest settled one, and where it begins there."""
        samples, levels = samples[on], lowest[on] - 1
        z = verdict.z[torch.from_numpy(on).to(verdict.z.device)]
        return samples, levels, self._drawn(z, samples, levels)

    def _tighten(
        self, samples: np.ndarray, levels: np.ndarray, verdict: Verdict, hit: np.ndarray
    ) -> np.ndarray:
        """Draw broken samples' examples towards the image as far as they stay broken; forward passes only.

        `hit` are the broken rows of the verdict, whose z moves along. Returns for every row the lowest
        level that is settled: where its smallest example fits, or where it was attacked and stood.
        """
        lowest, floor = levels.copy(), levels.copy()
        reach = np.searchsorted(self.budgets, verdict.distance.numpy()[hit], side="left")
        lowest[hit] = np.minimum(reach, levels[hit])
        for k in hit.tolist():
            for level in range(levels[k], lowest[k] - 1, -1):
                self.ledger.write(verdict, k, int(samples[k]), level, "found")
        floor[hit] = 0  # binary search in [floor, lowest] for the lowest level that still breaks
        while (open_ := np.flatnonzero(floor < lowest)).size:
            middle = (floor[open_] + lowest[open_]) // 2
            index = torch.from_numpy(open_).to(verdict.z.device)
            tried = self._judge(samples[open_], middle, self._drawn(verdict.z[index], samples[open_], middle))
            for k, j in enumerate(open_.tolist()):
                if tried.broken[k]:
                    for level in range(middle[k], lowest[j]):
                        self.ledger.write(tried, k, int(samples[j]), level, "found")
                    verdict.z[j], lowest[j] = tried.z[k], middle[k]
                else:
                    floor[j] = middle[k] + 1
        return lowest

    def _drawn(self, z: Tensor, samples: np.ndarray, levels: np.ndarray) -> Tensor:
        """z scaled to the budgets of lower levels."""
        if not len(samples):  # not every space can render nothing
            return z
        space = self._space(samples, levels)
        return space.project(
            space.shrink(z, (space.budget / space.distance(z).clamp_min(1e-12)).clamp(max=1.0))
        )

    def _implied(self, samples: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """bool [n, levels]: what is implied, or about to be by samples that are attacked at `levels`.

        Whom a scout has led below its distance, nearly always stands there.
        """
        implied = self.ledger.basis == "implied"
        if not self.exhaustive and self._members(scouts=True):
            for i, level in zip(samples.tolist(), levels.tolist(), strict=True):
                implied[i, self.proof[i] + 1 : level] = True
        return implied

    def _round(
        self,
        samples: np.ndarray,
        levels: np.ndarray,
        start: Tensor | None,
        more: np.ndarray,
        at: np.ndarray,
    ) -> Verdict:
        """Attack samples at levels and after them, from nothing, `more` samples at levels to be checked."""
        if start is not None and len(more):
            start = torch.cat([start, self._space(more, at).centre()])
        return self._attempt(np.concatenate([samples, more]), np.concatenate([levels, at]), start)

    def _proofs_to_check(self) -> tuple[np.ndarray, np.ndarray]:
        """A seeded share of the certified samples, each at its largest certified level; none may ever break."""
        draw = self.streams.fork("certified").uniform(1)[:, 0].cpu().numpy()
        rows = np.flatnonzero((self.proof >= 0) & (draw < self.spot_check))
        return rows, self.proof[rows]

    def _carry_upwards(self) -> None:
        """A sample broken at a budget is broken at every larger one."""
        ledger = self.ledger
        for level in range(1, len(self.budgets)):
            below = np.isin(ledger.basis[:, level - 1], ("found", "refuted"))
            ledger.lift(np.flatnonzero(below & ~np.isin(ledger.basis[:, level], ("found", "refuted"))), level)

    # -- work, and what it cost ---------------------------------------------------------------------

    def _space(self, samples: np.ndarray, levels: np.ndarray) -> Space:
        index = torch.from_numpy(np.asarray(samples)).to(self.batch.labels.device)
        space = self.space.select(index)
        if not self.budgets:
            return space
        budgets = torch.tensor([self.budgets[level] for level in levels], dtype=space.budget.dtype)
        return space.at(budgets.to(space.budget.device))

    def _members(self, *, scouts: bool) -> list[Member]:
        return [member for member in self.members if member.scout is scouts]

    def _attempt(
        self, samples: np.ndarray, levels: np.ndarray, start: Tensor | None, *, scouts: bool = False
    ) -> Verdict:
        """Attack samples at levels by one member after the other, and judge what each brings back."""
        verdict: Verdict | None = None
        for member in self._members(scouts=scouts):
            rows = np.arange(len(samples))
            if verdict is not None and not self.individual:
                rows = np.flatnonzero(~verdict.broken.numpy())
            if not len(rows):
                break
            begin = None if start is None else start[torch.from_numpy(rows).to(start.device)]
            one = self._ask(member, samples[rows], levels[rows], begin)
            verdict = one if verdict is None else verdict.worse(one, torch.from_numpy(rows))
        assert verdict is not None, "an ensemble without members"
        return verdict

    def _ask(self, member: Member, samples: np.ndarray, levels: np.ndarray, start: Tensor | None) -> Verdict:
        """One member's proposals, judged; a trial of an ensemble is kept."""
        meter = self.classifier.meter = Meter.of(len(samples))
        space, index = self._space(samples, levels), torch.from_numpy(np.asarray(samples))
        batch = self.batch.select(index.to(self.batch.labels.device))
        found = propose(member, self.classifier, space, batch, self.streams.select(index), start)
        self.classifier.meter = None
        self._charge(samples, levels, meter)
        verdict = self._judge(samples, levels, found)
        if len(self.members) > 1:
            self.ledger.try_out(member, samples, levels, verdict, meter)
        return verdict

    def _judge(self, samples: np.ndarray, levels: np.ndarray, z: Tensor | None) -> Verdict:
        """Judge z at levels (the unperturbed images for None)."""
        meter = self.classifier.meter = Meter.of(len(samples))
        space = self._space(samples, levels)
        batch = self.batch.select(torch.from_numpy(np.asarray(samples)).to(self.batch.labels.device))
        verdict = judge(self.classifier, space, batch, space.centre() if z is None else z)
        self.classifier.meter = None
        self._charge(samples, levels, meter)
        return verdict

    def _charge(self, samples: np.ndarray, levels: np.ndarray, meter: Meter) -> None:
        np.add.at(self.ledger.spent, (samples, levels), meter.backwards.numpy())
        np.add.at(self.ledger.queries, (samples, levels), meter.forwards.numpy())
