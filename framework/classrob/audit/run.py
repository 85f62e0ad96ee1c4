"""One audit: every model of a run on its images, sign by sign, the ones that need other models last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

from classrob.audit.findings import unchecked, weighed
from classrob.audit.recorded import Recorded
from classrob.audit.setting import Setting, looked_at
from classrob.audit.signs import MODEL, SIGNS, THREAT, ModelSign, ThreatSign
from classrob.audit.stored import Audit, Cost, read, rows_of, write
from classrob.audit.subject import Subject
from classrob.audit.tally import Finding, NotChecked
from classrob.catalog import Catalog
from classrob.condition import Condition
from classrob.ensemble import Ensemble, members_of
from classrob.errors import ClassrobError, StoreError, one_line
from classrob.identity import digest
from classrob.live import ROWS
from classrob.plan import Plan
from classrob.reading.results import Results, Stored
from classrob.study import make_study
from classrob.worker import Worker

UNSEARCHED = "the run searched no threat whose smaller budgets lie inside larger ones: add one, such as linf"


def audit(folder: Path, samples: int = 100, note: Callable[[str], None] = lambda line: None) -> Audit:
    """Audit every model of the run in a folder, and keep what was found beside its store.

    Where nothing has changed since the last audit, that one is returned. `samples` are looked at of each
    data set, as many of every class; `note` takes lines that people should see.

    Raises:
        StoreError: there is no run, or the audit cannot be written.
        StudyError: the run's study no longer describes something that can be measured.
    """
    with Results.open(folder) as results:
        if "study" not in results.meta:
            raise StoreError(f"the run in {folder} has not begun: 'classrob run' begins it")
        catalog, base = Catalog.installed(), Path(results.meta["base"])
        plan = Plan.of(make_study(results.meta["study"], f"the study of {folder}"), catalog, base)
        keys = [condition.key(plan.study) for condition in plan.conditions]
        asked = digest(
            samples, keys, [p.read_text("utf-8") for p in sorted(Path(__file__).parent.glob("*.py"))]
        )
        before = read(folder)
        if before is not None and (before.asked, before.rows) == (asked, rows_of(results)):
            note(f"nothing has changed since the audit of {before.measured} UTC")
            return before
        if missing := len(results.store.missing(plan.shards)):
            note(
                f"{missing} of {len(plan.shards)} shards are missing, or were measured before something changed"
            )
        auditor = Auditor(results, catalog, Worker(plan.study, base), plan.conditions, samples, note)
        findings = auditor.findings()
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        made = Audit(now, rows_of(results), asked, tuple(findings), tuple(auditor.costs()))
    write(made, folder)
    return made


@dataclass
class Auditor:
    """One audit at work; `subjects` holds those whose models could be loaded."""

    results: Results
    catalog: Catalog
    worker: Worker
    conditions: tuple[Condition, ...]
    samples: int
    note: Callable[[str], None]
    subjects: list[Subject] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)

    def findings(self) -> list[Finding]:
        """Every sign of every model and threat, in the study's order."""
        found: list[Finding] = []
        for first in (c for c in self.conditions if c.clean):
            found += self._subject(first)
        for setting in reversed(self.settings):  # the last model is still in memory
            found += self._late(setting)
        pairs = [(c.model.name, c.dataset.name) for c in self.conditions]
        threats = [None, *dict.fromkeys(c.threat.name for c in self.conditions)]
        order = list(SIGNS)
        return sorted(
            found,
            key=lambda f: (pairs.index((f.model, f.dataset)), threats.index(f.threat), order.index(f.sign)),
        )

    def costs(self) -> Iterator[Cost]:
        """What each model took."""
        for s in self.subjects:
            c = s.condition
            yield Cost(c.model.name, c.dataset.name, len(s.batch), round(s.seconds, 2), s.spent, s.queries)

    def _subject(self, first: Condition) -> Iterator[Finding]:
        """All signs of one model on one data set but the late ones."""
        self.note(f"audit of {first.model.name} on {first.dataset.name}")
        mine = self._searched(first)
        try:
            subject = Subject.of(self.worker, first, self.samples)
        except ClassrobError as error:
            for name in SIGNS if mine else MODEL:
                threats = list(mine) if name in THREAT else [None]
                yield from (unchecked(first, t, None, name, one_line(error)) for t in threats)
            return
        self.subjects.append(subject)
        subject.looks = _looks(len(mine))
        with _timed(subject):
            for name, sign in MODEL.items():
                yield self._finding(subject, None, name, sign)
            for conditions in mine.values():
                setting = self._setting(subject, conditions)
                self.settings.append(setting)
                for name, sign in THREAT.items():
                    if not sign.late:
                        yield self._finding(subject, setting, name, sign)
        if not mine:
            yield from (unchecked(first, None, None, name, UNSEARCHED) for name in THREAT)

    def _searched(self, first: Condition) -> Mapping[str, list[Condition]]:
        """The conditions of a model and data set that searched a nested threat, by threat."""
        found: dict[str, list[Condition]] = {}
        pair = (first.model.name, first.dataset.name)
        for c in self.conditions:
            searched = c.threat.part.nested and c.threat.part.budgets and c.attack.name != "none"
            if (c.model.name, c.dataset.name) == pair and searched:
                found.setdefault(c.threat.name, []).append(c)
        return found

    def _setting(self, subject: Subject, conditions: list[Condition]) -> Setting:
        """A model under a threat, with what the run's records say of it."""
        threat = conditions[0].threat
        setting = Setting(subject, threat, self.catalog, looked_at(threat.part.budgets))
        recorded = Recorded(self.results, [s for c in conditions for s in self._stored(c)])
        if recorded.conditions:
            setting.standing = recorded.standing(setting.budgets)
            setting.recorded = recorded.tallies(_gradients(conditions, setting))
        return setting

    def _stored(self, c: Condition) -> Iterator[Stored]:
        names = (c.model.name, c.dataset.name, c.threat.name, c.attack.name)
        for stored in self.results.conditions:
            if (stored.model, stored.dataset, stored.threat, stored.attack) == names:
                yield stored

    def _late(self, setting: Setting) -> Iterator[Finding]:
        """The signs that need what other models were broken by."""
        subject = setting.subject
        mine = (subject.condition.dataset.name, setting.threat.name)
        for other in self.settings:
            theirs = other.subject
            same = (theirs.condition.dataset.name, other.threat.name) == mine and theirs is not subject
            if same and other.examples is not None and torch.equal(theirs.batch.images, subject.batch.images):
                setting.donors.append(other.examples)
        with _timed(subject):
            for name, sign in THREAT.items():
                if sign.late:
                    yield self._finding(subject, setting, name, sign)

    def _finding(
        self, subject: Subject, setting: Setting | None, name: str, sign: ModelSign | ThreatSign
    ) -> Finding:
        """One sign; where a batch does not fit into memory, again with half of it."""
        threat = None if setting is None else setting.threat.name
        while True:
            try:
                with subject.at_work():
                    if isinstance(sign, ModelSign):
                        tallies = sign.look(subject)
                    else:
                        assert setting is not None, "a threat's sign without a threat"
                        tallies = sign.look(setting)
                return weighed(subject, threat, name, sign, tallies)
            except (NotChecked, ClassrobError) as reason:
                text = str(reason) if isinstance(reason, NotChecked) else one_line(reason)
                return unchecked(subject.condition, threat, None, name, text)
            except torch.OutOfMemoryError:
                if subject.batch_size <= ROWS:
                    raise
                subject.batch_size = max(ROWS, subject.batch_size // 2)


def _gradients(conditions: list[Condition], setting: Setting) -> dict[str, bool]:
    """Of every attack of the run under a threat, and of every member: does it use gradients?"""
    found: dict[str, bool] = {}
    with setting.subject.at_work():
        for c in conditions:
            attack = c.attack.part
            members = members_of(attack, c.attack.name, setting.subject.classifier, setting.space)
            needs = {member.name: member.attack.needs for member in members}
            if not isinstance(attack, Ensemble) or len(members) < 2:
                needs = {c.attack.name: members[0].attack.needs}
            found |= {name: "gradients" in need for name, need in needs.items()}
    return found


def _looks(threats: int) -> int:
    """How many signs of a model share its level: those that a single image does not prove."""
    each = [1] * len(MODEL) + [threats] * len(THREAT)
    signs = [*MODEL.values(), *THREAT.values()]
    return sum(n for sign, n in zip(signs, each, strict=True) if sign.threshold)


@contextmanager
def _timed(subject: Subject) -> Iterator[None]:
    begin = time.perf_counter()
    try:
        yield
    finally:
        subject.seconds += time.perf_counter() - begin
