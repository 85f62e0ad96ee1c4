"""From a study to conditions, and from conditions to content-addressed shards. Computes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from classrob.catalog import Catalog
from classrob.condition import CLEAN, Condition, Watch, holds_constants
from classrob.detection import Guard, Observed, Outliers, default_reference, guards
from classrob.errors import StudyError, nearest
from classrob.identity import digest, identity
from classrob.live import Samples
from classrob.named import Named, make, name_of, named, table_of
from classrob.parts import Attack, Certifier, Metric, Threat
from classrob.records import Shard
from classrob.study import Study
from classrob.subset import opened

#: At most so many pictures of one condition, however many classes there are.
PICTURES = 200


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
        metrics = tuple(named(study.metric, "metric", catalog, base))
        samples = {c.dataset.name: c.dataset.part for c in found}
        live = {name: opened(part, name) for name, part in samples.items()}
        strangers = {c.stranger.name: c.stranger.part for c in found if c.stranger is not None}
        if taken := next((name for name in strangers if name in samples), None):
            raise StudyError(f"two data sets are called '{taken}': give one a `name` of its own")
        for metric in metrics:
            for name, one in live.items():
                _suits(metric, name, one)
        pictured = {name: _pictured(study, part) for name, part in live.items()}
        live |= {name: opened(part, name) for name, part in strangers.items()}
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
    models = list(named(study.model, "model", catalog, base))
    own = {str(entry.get("name", entry["use"])): entry for entry in study.model}
    catalog = replace(catalog, named={"model": own})  # which parts may refer to
    datasets = list(named(study.dataset, "dataset", catalog, base))
    threats = list(_threats(study, catalog, base))
    names = list(dict.fromkeys(threat.name for threat, *_ in threats))
    watched = _watches(study, names, catalog, base)
    guarded = guards(study.detector, [name for name in names if name != CLEAN], catalog, base)
    explainers = tuple(named(study.explainer, "explainer", catalog, base))
    return tuple(
        replace(c, watches=tuple(w for w, names in watched if c.threat.name in names), explainers=explainers)
        for m in models
        for d in datasets
        for c in _guarded([Condition(m, d, *one) for one in threats], guarded)
    )


def _guarded(found: Sequence[Condition], guarded: Sequence[Guard]) -> Iterable[Condition]:
    """The conditions of a model on a data set with their detectors, and those of other data sets behind them.

    An attack that needs a detector searches once against each that judges the threat.
    """
    clean = found[0]
    reference = default_reference(clean.dataset) if guarded else None
    ood = {name: one for guard in guarded for name, one in guard.ood.items()}
    known = {name: Outliers(name, dataset=one) for name, one in ood.items()}
    for c in reversed(found[1:]):  # of several attacks on a threat the first one counts
        if "detector" not in c.attack.part.needs:
            known[c.threat.name] = Outliers(c.threat.name, threat=c.threat, attack=c.attack)
    here = {g.detector.name: partial(g.detection, reference=reference, known=known) for g in guarded}
    every = {
        one.column: one for g in guarded for n in (*g.against, *g.ood) for one in [here[g.detector.name](n)]
    }
    yield replace(clean, detections=tuple(every.values()))
    for c in found[1:]:
        mine = [here[g.detector.name](c.threat.name) for g in guarded if c.threat.name in g.against]
        if "detector" not in c.attack.part.needs:
            yield replace(c, detections=tuple(mine))
            continue
        if not mine:
            raise StudyError(
                f"attack '{c.attack.name}' evades a detector, and none judges threat '{c.threat.name}': "
                "add a [[detector]], or leave the attack out"
            )
        for one in mine:
            attack = Named(f"{c.attack.name}/{one.detector.name}", c.attack.part)
            yield replace(c, attack=attack, detections=(one,), evaded=one)
    for name, stranger in ood.items():
        mine = tuple(here[g.detector.name](name) for g in guarded if name in g.ood)
        yield replace(clean, threat=Named(name, clean.threat.part), stranger=stranger, detections=mine)


def _threats(
    study: Study, catalog: Catalog, base: Path
) -> Iterable[tuple[Named[Threat], Named[Attack], Named[Certifier] | None]]:
    """Every threat with each of its attacks and its certifier; the unperturbed images first, asked for or not."""
    entries: list[Mapping[str, Any]] = [{"use": CLEAN}, *study.threat]
    taken: dict[tuple[str, str], int] = {}
    for index, entry in enumerate(entries):
        where = f"[[threat]] {index}"
        threat: Threat = make(entry, "threat", catalog, base, where)
        name = name_of(entry, where) if threat.budgets else CLEAN
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
    entry = table_of(entry, where)
    attack: Attack = make(entry, "attack", catalog, base, where)
    if "pixels" in attack.needs and not threat.pixels:
        raise StudyError(
            f"{where} '{entry['use']}' needs pixels, and threat '{threat_name}' is no offset of pixels"
        )
    if "gradients" in attack.needs and not threat.gradients:
        raise StudyError(
            f"{where} '{entry['use']}' needs gradients, and threat '{threat_name}' has no slope to climb"
        )
    return Named(name_of(entry, where), threat.searched_by(attack))


def _certifier(
    entry: Mapping[str, Any], threat: Threat, catalog: Catalog, base: Path, where: str
) -> Named[Certifier] | None:
    if "certifier" not in entry:
        return None
    table = table_of(entry["certifier"], where)
    if not threat.nested:
        raise StudyError(f"{where}: a certificate holds at smaller budgets only where a threat is nested")
    return Named(name_of(table, where), make(table, "certifier", catalog, base, where))


def _watches(
    study: Study, threats: Sequence[str], catalog: Catalog, base: Path
) -> list[tuple[Watch, frozenset[str]]]:
    """Every probe with the names of the threats that it observes; the unperturbed images always."""
    found: list[tuple[Watch, frozenset[str]]] = []
    probes = named(study.probe, "probe", catalog, base)
    for index, (entry, probe) in enumerate(zip(study.probe, probes, strict=True)):
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


def _cut(
    study: Study,
    index: int,
    condition: Condition,
    live: Mapping[str, Samples],
    pictures: Mapping[str, set[int]],
) -> Iterable[Shard]:
    samples = live[condition.source.name]
    key = condition.key(study)
    plain = condition.clean or condition.stranger is not None
    pictured = set() if plain else pictures[condition.dataset.name]
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
