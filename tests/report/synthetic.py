"""Runs that nobody computed: a store written directly, small and seeded, in whatever shape a test asks for."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from classrob.packing import Pack
from classrob.reading.results import STORE, Results
from classrob.reading.score import Row
from classrob.store import Store
from classrob_base.metrics import (
    Accuracy,
    ClassFalseNegativeScore,
    ClassFalsePositiveScore,
    ClassGap,
    FlipRate,
    ImpliedError,
    WorstClassAccuracy,
)
from classrob_classwise.area import AccuracyRobustnessArea
from classrob_classwise.distances import DistanceQuantiles
from classrob_classwise.flow import Flow

DIGITS = tuple("0123456789")
SWEEP = (0.0625, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4)
METRICS = (
    Accuracy,
    WorstClassAccuracy,
    ClassGap,
    ClassFalsePositiveScore,
    ClassFalseNegativeScore,
    FlipRate,
    ImpliedError,
    AccuracyRobustnessArea,
    DistanceQuantiles,
    Flow,
)


@dataclass(frozen=True)
class Threat:
    """A threat to pretend: its budgets, its attack, and whether smaller budgets lie inside larger ones."""

    name: str
    budgets: tuple[float, ...]
    attack: str | None = "pgd"
    nested: bool = True


@dataclass
class Pretence:
    """A run to write: `strength` of every model, images of every class, and what went wrong.

    `unfinished` counts the planned shards without records at the end, `clean_errors` is the share of
    unperturbed images that are misclassified; `detectors` judge every threat, or the one of which an attack
    `evade/NAME` is to evade.
    """

    classes: Sequence[str] = DIGITS
    models: dict[str, float] = field(
        default_factory=lambda: {"digits/standard": 0.6, "digits/adversarial": 1.4}
    )
    datasets: tuple[str, ...] = ("digits",)
    threats: tuple[Threat, ...] = (
        Threat("linf", SWEEP),
        Threat("corruption/fog", (1, 2, 3, 4, 5), None, nested=False),
    )
    images: int = 30
    clean_errors: float = 0.04
    pictures: int = 3
    size: int = 8
    unfinished: int = 0
    failures: tuple[tuple[str | None, str], ...] = ()
    notes: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()


def write(folder: Path, run: Pretence | None = None) -> Path:
    """Write a pretended run's store into a folder, which is returned."""
    run = run or Pretence()
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    with Store.open(folder / STORE, write=True) as store, store.connection as db:
        for name, value in _meta(run).items():
            db.execute("INSERT INTO meta VALUES (?, ?)", (name, json.dumps(value)))
        clean = Threat("none", (), None)
        wanted = [(m, d, t) for m in run.models for d in run.datasets for t in (clean, *run.threats)]
        for number, (model, dataset, threat) in enumerate(wanted):
            parts = {
                "model": {},
                "dataset": {"limit": None},
                "threat": {"budgets": threat.budgets},
                "attack": {"steps": 40},
                **_judging(run.detectors, threat.attack or ""),
            }
            values = (
                number,
                model,
                dataset,
                threat.name,
                threat.attack,
                *map(json.dumps, (threat.budgets, run.classes, parts)),
            )
            db.execute("INSERT INTO condition VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
            db.execute(
                "INSERT INTO plan VALUES (?, ?, ?, ?)",
                (f"shard-{number}", number, number, run.images * len(run.classes)),
            )
            if number >= len(wanted) - run.unfinished:
                continue
            values = (f"shard-{number}", 1.5, "2026-08-01 12:00:00", "{}")
            shard = db.execute("INSERT INTO shard VALUES (NULL, ?, ?, ?, NULL, ?)", values).lastrowid
            records = list(_records(run, run.models[model], threat, np.random.default_rng(3)))
            db.executemany(
                f"INSERT INTO record VALUES ({', '.join('?' * 11)})", [(shard, *r) for r in records]
            )
            if threat.budgets and run.pictures:
                examples = _examples(run, threat, random)
                db.executemany(
                    f"INSERT INTO example VALUES ({', '.join('?' * 10)})", [(shard, *e) for e in examples]
                )
        for sample, reason in run.failures:
            db.execute("INSERT INTO failure VALUES ('shard-0', ?, ?, NULL)", (sample, reason))
    return folder


def write_large(folder: Path, classes: int, samples: int, budgets: int) -> Path:
    """Write a run of one model under one threat with as many rows as asked for, quickly; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    threat = Threat("linf", tuple((i + 1) / 255 for i in range(budgets)))
    run = Pretence([f"n{i:08d}" for i in range(classes)], {"net": 1.0}, ("large",), (threat,))
    label = np.arange(samples) % classes
    skill = 0.3 + 1.4 * ((label * 7) % classes) / classes
    reach = np.where(random.random(samples) < 0.2, 0.0, skill * random.gamma(4.0, 0.25, samples))
    wrong = (label + 1 + np.minimum(random.geometric(0.3, samples) - 1, classes - 2)) % classes
    names = np.array([f"validation/{i:08d}.png" for i in range(samples)], dtype=object)
    with Store.open(folder / STORE, write=True) as store, store.connection as db:
        db.executemany("INSERT INTO meta VALUES (?, ?)", [(k, json.dumps(v)) for k, v in _meta(run).items()])
        for number, cuts in enumerate(((), threat.budgets)):
            at = np.array(cuts or [np.nan])
            broken = (reach[:, None] == 0) | (at * 255 / max(1, budgets) > reach[:, None])
            stood = ~broken & (np.roll(broken, -1, axis=1) | (np.arange(len(at)) == len(at) - 1))
            basis = (
                np.where(broken, "found", np.where(stood, "stood", "implied"))
                if cuts
                else np.full(broken.shape, "clean")
            )
            implied = basis == "implied"
            columns = (
                np.repeat(names, len(at)),
                np.repeat(label, len(at)),
                np.tile(np.array(cuts or [None], dtype=object), samples),
                np.where(broken, wrong[:, None], label[:, None]).ravel(),
                np.where(implied, None, 0.5).ravel(),
                np.where(implied, None, at * random.uniform(0.9, 1, broken.shape) if cuts else 0.0).ravel(),
                np.where(implied, None, 1.1 * at if cuts else None).ravel(),
                np.where(implied, 0, 40).ravel(),
                np.where(implied, 0, 41).ravel(),
                basis.ravel(),
            )  # fmt: skip
            parts = {"model": {}, "dataset": {}, "threat": {"budgets": cuts}, "attack": {}}
            values = (number, "net", "large", *(("linf", "pgd") if cuts else ("none", None)))
            values += tuple(map(json.dumps, (cuts, run.classes, parts)))
            db.execute("INSERT INTO condition VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
            records = list(zip(*(column.tolist() for column in columns), strict=True))
            for first in range(0, samples, 256):
                mine = records[first * len(at) : (first + 256) * len(at)]
                key = f"{number}/{first}"
                db.execute("INSERT INTO plan VALUES (?, ?, ?, ?)", (key, number, first, len(mine) // len(at)))
                values = (key, 1.5, "2026-08-01 12:00:00", "{}")
                shard = db.execute("INSERT INTO shard VALUES (NULL, ?, ?, ?, NULL, ?)", values).lastrowid
                db.executemany(
                    f"INSERT INTO record VALUES ({', '.join('?' * 11)})", [(shard, *r) for r in mine]
                )
                pack = Pack.of(mine)
                db.execute("INSERT INTO pack VALUES (?, ?, ?)", (shard, pack.names, pack.rows))
    return folder


def _judging(detectors: Sequence[str], attack: str) -> dict[str, dict[str, object]]:
    """The detectors that judge what an attack finds, as the store notes them."""
    knows, _, evaded = attack.partition("/")
    mine = [name for name in detectors if knows != "evade" or name == evaded]
    return {f"detector {name}": {"column": name, "evaded": knows == "evade"} for name in mine}


def detected(results: Results) -> list[Row]:
    """AUROC of the detectors of a run: 0.9 and more, and 0.3 under an attack that evades the first of them."""
    found: list[Row] = []
    for condition in results.conditions:
        for place, name in enumerate(condition.detectors if not condition.clean else ()):
            evaded = (condition.attack or "").startswith("evade/")
            for number, budget in enumerate(condition.budgets):
                for label in (None, *condition.classes):
                    value = 0.9 + number / 100 - (0.6 if evaded and place == 0 else 0.0)
                    where = (
                        condition.model,
                        condition.dataset,
                        condition.threat,
                        budget,
                        condition.attack,
                        name,
                    )
                    found.append(Row(*where, "auroc", label, value, value - 0.05, value + 0.05, 123))
    return found


def rows(results: Results) -> list[Row]:
    """What `classrob.reading.score.scores` makes of a run, by the everyday metrics and without a catalogue."""
    found: list[Row] = []
    for condition in results.conditions:
        table, clean = results.table(condition), results.table(results.clean_of(condition))
        for metric in (cls() for cls in METRICS if len(table)):
            for budget in (condition.budgets or (None,)) if metric.scope == "budget" else (None,):
                where = (condition.model, condition.dataset, condition.threat, budget, condition.attack, None)
                found += [
                    Row(*where, s.name, s.label, s.value, s.low, s.high, s.n)
                    for s in metric.compute(table.at(budget), clean)
                ]
    return found + detected(results)


def _meta(run: Pretence) -> dict[str, object]:
    study = {
        "name": "pretended",
        "seed": 0,
        "model": [{"use": name} for name in run.models],
        "dataset": [{"use": name, "limit": 300} for name in run.datasets],
        "threat": [
            {"use": t.name, "budgets": list(t.budgets), "attack": {"use": t.attack, "steps": 40}}
            for t in run.threats
        ],
        "metric": [],
    }
    return {
        "study": study,
        "base": "/somewhere",
        "environment": {"python": "3.11.9", "system": "Linux x86_64", "torch": "2.4.0"},
        "notes": {note: [] for note in run.notes},
    }


def _records(
    run: Pretence, strength: float, threat: Threat, random: np.random.Generator
) -> Iterator[tuple[object, ...]]:
    k = len(run.classes)
    hub = min(8, k - 1)  # the class that errors like to land in
    for label in range(k):
        skill = strength * (0.55 + 0.9 * ((label * 7) % k) / max(1, k - 1))
        for i in range(run.images):
            wrong = int(random.integers(max(1, k - 1))) if random.random() < 0.6 else hub
            wrong = (label + 1) % k if wrong == label else wrong
            missed = random.random() < run.clean_errors
            reach = 0.0 if missed else skill * random.gamma(4.0, 0.25)
            checked = random.random() < 0.05
            stood = False
            for share, budget in reversed(
                [(b / threat.budgets[-1], b) for b in threat.budgets] or [(0.0, None)]
            ):
                broken = missed or share > reach
                basis = "found" if broken else ("implied" if stood and threat.nested else "stood")
                if basis == "implied" and checked:
                    basis = "confirmed"
                if budget is None:
                    basis = "clean"
                stood = stood or not broken
                implied = basis == "implied"
                yield (
                    f"sample-{label}-{i}", label, budget, wrong if broken else label, None if implied else 0.5,
                    None if implied or budget is None else 0.99 * budget, None, 0 if implied else 40, 0 if implied else 41, basis,
                )  # fmt: skip


def _examples(run: Pretence, threat: Threat, random: np.random.Generator) -> Iterator[tuple[object, ...]]:
    y, x = np.mgrid[0 : run.size, 0 : run.size] / run.size
    for label in range(min(len(run.classes), 40)):
        for i in range(run.pictures):
            image = 0.5 + 0.5 * np.sin(6 * x * (1 + label % 4) + 5 * y * (1 + label // 4))
            shift = 0.1 * np.sign(random.normal(size=image.shape))
            budget = threat.budgets[len(threat.budgets) // 2]
            wrong = (label + 1) % len(run.classes) if i else label
            pictures = (png(image), png(np.clip(image + shift, 0, 1)), png(0.5 + 5 * shift))
            yield (f"sample-{label}-{i}", label, wrong, budget, 0.0987654, *pictures, 5.0)


def png(image: np.ndarray) -> bytes:
    """A grey image in [0, 1] as PNG."""
    file = io.BytesIO()
    Image.fromarray((255 * image).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
