"""From a study to conditions, and from conditions to content-addressed shards. Computes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

from classrob.catalog import Catalog
from classrob.errors import StudyError, nearest
from classrob.identity import digest, engine_digest, identity
from classrob.live import Samples
from classrob.parts import Attack, Certifier, Dataset, Explainer, Metric, Model, Probe, Threat
from classrob.records import Shard
from classrob.study import Study
from classrob.subset import opened

P = TypeVar("P")

#: Keys of an entry that are the host's own and no field of the part.
_OWN = {"threat": ("attack", "certifier"), "probe": ("against", "budgets")}

#: What every study measures first, whether it says so or not: without it nothing can be compared.
CLEAN = "none"

#: At most so many pictures of one condition, however many classes there are.
PICTURES = 200


@dataclass(frozen=True)
class Named(Generic[P]):
    """A part as the study calls it."""

    name: str
    part: P


#: At which budgets of a threat a probe observes.
Observed = Literal["largest", "all"]


@dataclass(frozen=True)
class Watch:
    """A probe that observes a condition, at its largest budget or at all."""

    probe: Named[Probe]
    budgets: Observed

    def levels(self, budgets: tuple[float, ...]) -> frozenset[int]:
        """The places of the observed budgets; 0 where there is no threat."""
        n = max(1, len(budgets))
        return frozenset(range(n) if self.budgets == "all" else [n - 1])


@dataclass(frozen=True)
class Condition:
    """One model on one data set under one threat, searched by one attack."""

    model: Named[Model]
    dataset: Named[Dataset]
    threat: Named[Threat]
    attack: Named[Attack]
    certifier: Named[Certifier] | None = None
    watches: tuple[Watch, ...] = ()
    explainers: tuple[Named[Explainer], ...] = ()

    @property
    def clean(self) -> bool:
        """Are these the unperturbed images?"""
        return self.threat.name == CLEAN

    @property
    def title(self) -> str:
        """How messages call it."""
        names = [self.model.name, self.dataset.name, self.threat.name]
        return " · ".join(names if self.attack.name == "none" else [*names, self.attack.name])

    def streams_key(self) -> str:
        """What the samples' random streams are keyed by: the same for every model."""
        return f"{type(self.threat.part).__qualname__}/{type(self.attack.part).__qualname__}"

    def key(self, study: Study) -> str:
        """The content address of all that decides its records, samples apart."""
        named = (self.model, self.dataset, self.threat, self.attack, self.certifier)
        parts = [one.part for one in named if one is not None]
        settings = (study.seed, study.exhaustive, study.spot_check, study.device.partition(":")[0])
        # What is observed has to be computed beside the verdicts: such shards have addresses of their own.
        watched = [(w.probe.name, identity(w.probe.part), w.budgets) for w in self.watches]
        return digest(
            engine_digest(), [identity(part) for part in parts], settings, *([watched] if watched else [])
        )


@dataclass(frozen=True)
class Plan:
    """A study made definite: its conditions, its metrics, and every shard with its content address."""

    study: Study
    conditions: tuple[Condition, ...]
    metrics: tuple[Named[Metric], ...]
    samples: Mapping[str, Samples]
    shards: tuple[Shard, ...]

    @classmethod
    def of(cls, study: Study, catalog: Catalog, base: Path) -> Plan:
        """Resolve every name, open the data sets, cut the shards."""
        found = conditions(study, catalog, base)
        metrics = tuple(_named(study.metric, "metric", catalog, base))
        samples = {c.dataset.name: c.dataset.part for c in found}
        live = {name: opened(part, name) for name, part in samples.items()}
        for metric in metrics:
            for name, one in live.items():
                _suits(metric, name, one)
        pictured = {name: _pictured(study, part) for name, part in live.items()}
        shards = [shard for index, c in enumerate(found) for shard in _cut(study, index, c, live, pictured)]
        return cls(study, found, metrics, live, tuple(shards))


def _suits(metric: Named[Metric], dataset: str, samples: Samples) -> None:
    try:
        metric.part.check(samples.classes)
    except StudyError as error:
        raise StudyError(f"metric '{metric.name}' on data set '{dataset}': {error}") from None


def conditions(study: Study, catalog: Catalog, base: Path) -> tuple[Condition, ...]:
    """Every combination that the study asks for, models slowest, so that each is loaded once.

    Raises:
        StudyError: a name is unknown, ambiguous or used twice, a field is wrong, or an attack does not
            suit its threat.
    """
    models = list(_named(study.model, "model", catalog, base))
    datasets = list(_named(study.dataset, "dataset", catalog, base))
    threats = list(_threats(study, catalog, base))
    watched = _watches(study, [threat.name for threat, *_ in threats], catalog, base)
    explainers = tuple(_named(study.explainer, "explainer", catalog, base))
    return tuple(
        Condition(
            m, d, threat, attack, proof, tuple(w for w, names in watched if threat.name in names), explainers
        )
        for m in models
        for d in datasets
        for threat, attack, proof in threats
    )


def _named(
    entries: Sequence[Mapping[str, Any]], kind: str, catalog: Catalog, base: Path
) -> Iterable[Named[Any]]:
    taken: dict[str, int] = {}
    for index, entry in enumerate(entries):
        name = _name(entry, f"[[{kind}]] {index + 1}")
        if name in taken:
            raise StudyError(
                f"[[{kind}]] {index + 1} and {taken[name]} are both called '{name}': give one a `name` of its own"
            )
        taken[name] = index + 1
        yield Named(name, _make(entry, kind, catalog, base, f"[[{kind}]] {index + 1}"))


def _name(entry: Mapping[str, Any], where: str) -> str:
    name = entry.get("name", entry["use"])
    if not isinstance(name, str) or not name or any(not c.isprintable() for c in name):
        raise StudyError(f"{where}: `name` must be printable text, not {name!r}")
    return name


def _make(entry: Mapping[str, Any], kind: str, catalog: Catalog, base: Path, where: str) -> Any:
    taken = {"use", "name", *_OWN.get(kind, ())}
    fields = {key: value for key, value in entry.items() if key not in taken}
    return catalog.make(kind, entry["use"], fields, base, where)


def _threats(
    study: Study, catalog: Catalog, base: Path
) -> Iterable[tuple[Named[Threat], Named[Attack], Named[Certifier] | None]]:
    """Every threat with each of its attacks and its certifier; the unperturbed images first, asked for or not."""
    entries: list[Mapping[str, Any]] = [{"use": CLEAN}, *study.threat]
    taken: dict[tuple[str, str], int] = {}
    for index, entry in enumerate(entries):
        where = f"[[threat]] {index}"
        threat: Threat = _make(entry, "threat", catalog, base, where)
        name = _name(entry, where) if threat.budgets else CLEAN
        proof = _certifier(entry, threat, catalog, base, f"{where} ('{entry['use']}'): certifier")
        attacks = entry.get("attack", threat.default_attack)
        for one in attacks if isinstance(attacks, list | tuple) else [attacks]:
            attack = _attack(one, threat, name, catalog, base, f"{where} ('{entry['use']}'): attack")
            if (name, attack.name) not in taken:
                taken[name, attack.name] = index
                yield Named(name, threat), attack, proof
            elif name != CLEAN:
                raise StudyError(
                    f"[[threat]] {taken[name, attack.name]} and {index} are both '{name}' with attack "
                    f"'{attack.name}': give one a `name` of its own"
                )


def _attack(
    entry: Any, threat: Threat, threat_name: str, catalog: Catalog, base: Path, where: str
) -> Named[Attack]:
    entry = _table(entry, where)
    attack: Attack = _make(entry, "attack", catalog, base, where)
    if "pixels" in attack.needs and not threat.pixels:
        raise StudyError(
            f"{where} '{entry['use']}' needs pixels, and threat '{threat_name}' is no offset of pixels"
        )
    if "gradients" in attack.needs and not threat.gradients:
        raise StudyError(
            f"{where} '{entry['use']}' needs gradients, and threat '{threat_name}' has no slope to climb"
        )
    return Named(_name(entry, where), threat.searched_by(attack))


def _certifier(
    entry: Mapping[str, Any], threat: Threat, catalog: Catalog, base: Path, where: str
) -> Named[Certifier] | None:
    if "certifier" not in entry:
        return None
    table = _table(entry["certifier"], where)
    if not threat.nested:
        raise StudyError(f"{where}: a certificate holds at smaller budgets only where a threat is nested")
    return Named(_name(table, where), _make(table, "certifier", catalog, base, where))


def _watches(
    study: Study, threats: Sequence[str], catalog: Catalog, base: Path
) -> list[tuple[Watch, frozenset[str]]]:
    """Every probe with the names of the threats that it observes; the unperturbed images always."""
    found: list[tuple[Watch, frozenset[str]]] = []
    named = _named(study.probe, "probe", catalog, base)
    for index, (entry, probe) in enumerate(zip(study.probe, named, strict=True)):
        where = f"[[probe]] {index + 1} ('{entry['use']}')"
        budgets, against = entry.get("budgets", "largest"), entry.get("against", list(threats))
        if budgets not in get_args(Observed):
            raise StudyError(f"{where}: `budgets` must be 'largest' or 'all', not {budgets!r}")
        if not isinstance(against, list | tuple):
            raise StudyError(f"{where}: `against` must be a list of names of threats, not {against!r}")
        for name in against:
            if name not in threats:
                raise StudyError(f"{where}: no threat is called {name!r}{nearest(str(name), threats)}")
        found.append((Watch(probe, budgets), frozenset([CLEAN, *against])))
    return found


def _table(entry: Any, where: str) -> Mapping[str, Any]:
    """An attack's or a certifier's entry: a table, or a name that stands for one."""
    table = {"use": entry} if isinstance(entry, str) else entry
    if not isinstance(table, dict) or not isinstance(table.get("use"), str):
        raise StudyError(f"{where} must be a name, or a table with `use` and fields, not {entry!r}")
    return table


def _cut(
    study: Study,
    index: int,
    condition: Condition,
    live: Mapping[str, Samples],
    pictures: Mapping[str, set[int]],
) -> Iterable[Shard]:
    samples = live[condition.dataset.name]
    key = condition.key(study)
    pictured = set() if condition.clean else pictures[condition.dataset.name]
    for start in range(0, len(samples), study.shard_size):
        indices = tuple(range(start, min(start + study.shard_size, len(samples))))
        ids = [samples.id(i) for i in indices]
        kept = frozenset(i for i in indices if i in pictured)
        # What a probe records of the model stands in the shard of the first samples alone.
        first = ["first"] if holds_constants(condition, indices) else []
        explained = [(e.name, identity(e.part)) for e in condition.explainers] if kept else []
        pictures_of = sorted(samples.id(i) for i in kept)
        address = digest(key, ids, pictures_of, *first, *([explained] if explained else []))
        yield Shard(address, index, indices, kept)


def holds_constants(condition: Condition, indices: Sequence[int]) -> bool:
    """Is this the one shard of a model and a data set that holds what probes record of the model?"""
    return condition.clean and bool(condition.watches) and indices[0] == 0


def _pictured(study: Study, samples: Samples) -> set[int]:
    """The first few samples of every class: the same whatever comes after them, however they are sliced."""
    share = min(study.pictures, max(1, PICTURES // len(samples.classes)))
    taken: Counter[int] = Counter()
    chosen: set[int] = set()
    wanted = min(PICTURES, share * len(samples.classes))
    for i in range(len(samples)):
        if len(chosen) >= wanted:
            break
        if taken[label := samples.label(i)] < share:
            taken[label] += 1
            chosen.add(i)
    return chosen
