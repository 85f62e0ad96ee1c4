"""What changed: pairs of samples, class by class, against counts made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from classrob.errors import UsageError
from classrob.reading.comparison import Comparison, compare
from classrob.reading.results import Stored
from classrob.statistics.significance import mcnemar, permutation
from classrob.table import Table

from .conftest import Called

BUDGETS = (0.1, 0.2)


def results(
    distance: dict[str, float], labels: dict[str, int], classes: tuple[str, ...] = ("a", "b"), **rest: Any
) -> Any:
    """A run of one sweep in which each sample breaks at its distance."""
    pairs = [(sample, budget) for sample in distance for budget in BUDGETS]
    broken = np.array([distance[s] <= b for s, b in pairs])
    label = np.array([labels[s] for s, _ in pairs])
    columns = {
        "sample": np.array([s for s, _ in pairs], dtype=object),
        "label": label,
        "predicted": np.where(broken, 1 - label, label),
        "budget": np.array([b for _, b in pairs]),
        "distance": np.array([distance[s] if distance[s] <= b else np.nan for s, b in pairs]),
    }
    condition = Stored(0, rest.get("model", "m"), "d", "linf", "pgd", BUDGETS, classes, {"dataset": {}})
    return SimpleNamespace(conditions=(condition,), table=lambda c: Table(classes, None, columns))


def found(one: Any, other: Any) -> Comparison:
    return compare([("one", one), ("other", other)])


IDS = [str(i) for i in range(40)]
LABELS = {s: int(s) % 2 for s in IDS}


def test_pairs_by_hand() -> None:
    """In class a ten samples that broke at 0.05 now stand; everything else stays."""
    before = {s: 0.05 if LABELS[s] == 0 and int(s) < 20 else 0.15 for s in IDS}
    after = dict.fromkeys(IDS, 0.15)
    made = {
        (c.metric, c.budget, c.label): c
        for c in found(results(before, LABELS), results(after, LABELS)).changes
    }
    first = made["accuracy", 0.1, "a"]
    assert (first.before, first.after, first.difference, first.n, first.lost, first.gained) == (
        0.5,
        1,
        0.5,
        20,
        0,
        10,
    )
    assert first.p == mcnemar(0, 10)
    assert first.low > 0.25
    assert first.high < 0.75
    assert made["accuracy", 0.1, None].difference == 0.25
    assert made["accuracy", 0.1, "b"].p == made["accuracy", 0.2, "a"].p == 1
    area = made["mean-distance", None, "a"]
    assert (area.before, area.after) == (pytest.approx(0.1), pytest.approx(0.15))
    assert area.low < area.difference < area.high
    assert area.p == permutation(np.array([0.1] * 10 + [0.0] * 10))
    assert area.adjusted >= area.p
    assert {key for key, change in made.items() if change.changed} == {
        (metric, budget, label)
        for metric, budget in (("accuracy", 0.1), ("mean-distance", None))
        for label in (None, "a")
    }


def test_samples_that_only_one_has_are_left_out_and_named() -> None:
    more = dict.fromkeys([*IDS, "new"], 0.15)
    fewer = dict.fromkeys(IDS[3:], 0.15)
    made = found(results(more, {**LABELS, "new": 0}), results(fewer, LABELS))
    assert {c.n for c in made.changes if c.label is None} == {37}
    assert any("4 samples are only in the first: 0, 1, 2" in note for note in made.notes)


def test_samples_of_another_class_are_left_out_and_class_order_does_not_matter() -> None:
    distance = dict.fromkeys(IDS, 0.15)
    turned = {s: 1 - LABELS[s] for s in IDS}
    made = found(results(distance, LABELS), results(distance, turned, classes=("b", "a")))
    assert made.notes == ()
    assert {c.n for c in made.changes if c.label is None} == {40}
    wrong = found(results(distance, LABELS), results(distance, {**LABELS, "0": 1}))
    assert any("1 samples have another class" in note for note in wrong.notes)
    assert {c.n for c in wrong.changes if c.label is None} == {39}


def test_one_model_each_is_compared_whatever_it_is_called() -> None:
    distance = dict.fromkeys(IDS, 0.15)
    made = found(results(distance, LABELS), results(distance, LABELS, model="new"))
    assert {(c.baseline_model, c.model) for c in made.changes} == {("m", "new")}


def test_nothing_to_compare_says_so() -> None:
    with pytest.raises(UsageError, match="one model alone"):
        compare([("one", results(dict.fromkeys(IDS, 1.0), LABELS))])


def test_a_difference_that_is_not_there_is_rarely_found() -> None:
    """The same chance of standing in both: with Holm, hardly ever a change in any class."""
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(60):
        one, other = (
            {s: float(d) for s, d in zip(IDS, generator.uniform(0, 0.3, 40), strict=True)} for _ in range(2)
        )
        wrong += any(c.changed for c in found(results(one, LABELS), results(other, LABELS)).changes)
    assert wrong <= 7


def test_the_command(study: Path, cli: Callable[..., Called]) -> None:
    """Two networks, as two runs and as two models of one."""
    text = study.read_text()
    other = text[: text.index("[[dataset]]")].replace("curved", "linear")
    both = text.replace("[[dataset]]", other[other.index("[[model]]") :] + "[[dataset]]", 1)
    study.write_text(both)
    folder = study.parent / "runs"
    assert cli("run", study, "--out", folder / "both").code == 0
    inside = cli("compare", folder / "both", "--format", "json")
    assert inside.code == 0
    rows = json.loads(inside.out)
    assert {(r["baseline_model"], r["model"]) for r in rows} == {("curved", "linear")}
    assert {r["n"] for r in rows if r["label"] is None} == {48}
    assert {r["metric"] for r in rows} == {"accuracy", "mean-distance"}
    for name in ("curved", "linear"):
        study.write_text(text.replace("curved", name))
        assert cli("run", study, "--out", folder / name).code == 0
    across = json.loads(cli("compare", folder / "curved", folder / "linear", "--format", "json").out)
    names = ("baseline", "baseline_model", "run", "model")
    assert [{k: v for k, v in r.items() if k not in names} for r in across] == [
        {k: v for k, v in r.items() if k not in names} for r in rows
    ]
    turned = json.loads(cli("compare", folder / "both", "--against", "linear", "--format", "json").out)
    assert [r["difference"] for r in turned] == [-r["difference"] for r in rows]
    same = cli("compare", folder / "curved", folder / "curved", "--changed", "--format", "json")
    assert json.loads(same.out) == []
    assert "0 of" in same.err
    assert cli("compare", folder / "both", "--against", "lineer").code == 2
    assert cli("compare", folder / "curved").code == 2
    assert cli("compare", folder / "curved", folder / "nowhere").code == 5
