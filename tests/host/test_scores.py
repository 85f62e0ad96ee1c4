"""Scores: the paper's vectors, the contract's rows, and what is printed where."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classrob.statistics.intervals import rate
from classrob.table import Score, Table
from classrob_base import metrics

from .conftest import Called, quarters

#: Counts of significant classes; like p values they are results of tests and have no interval.
COUNTS = ("weak-classes", "strong-classes")

KEYS = [
    "model",
    "dataset",
    "threat",
    "budget",
    "attack",
    "detector",
    "metric",
    "label",
    "value",
    "low",
    "high",
    "n",
]


def table(labels: list[int], predicted: list[int], classes: int, budget: float | None = None) -> Table:
    columns = {
        "sample": np.array([str(i) for i in range(len(labels))], dtype=object),
        "label": np.array(labels, dtype=np.int64),
        "predicted": np.array(predicted, dtype=np.int64),
    }
    return Table(tuple(f"c{i}" for i in range(classes)), budget, columns)


def by_label(metric: metrics.Metric, rows: Table, clean: Table | None = None) -> dict[str | None, Score]:
    return {score.label: score for score in metric.compute(rows, clean or rows)}


def test_the_papers_vector() -> None:
    """papers: y = [0,0,1,1,2,2], p = [0,1,1,1,1,0] has CFPS [1/3, 2/3, 0] and CFNS [1/3, 0, 2/3]."""
    rows = table([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 1, 0], 3)
    cfps = by_label(metrics.ClassFalsePositiveScore(), rows)
    cfns = by_label(metrics.ClassFalseNegativeScore(), rows)
    accuracy = by_label(metrics.Accuracy(), rows)
    assert [cfps[c].value for c in ("c0", "c1", "c2")] == [1 / 3, 2 / 3, 0]
    assert [cfns[c].value for c in ("c0", "c1", "c2")] == [1 / 3, 0, 2 / 3]
    assert [accuracy[c].value for c in ("c0", "c1", "c2", None)] == [0.5, 1.0, 0.0, 0.5]
    assert {s.n for s in cfps.values()} == {3}
    assert (cfps["c1"].low, cfps["c1"].high) == pytest.approx(rate(2, 3))


def test_cfps_is_undefined_without_errors() -> None:
    for metric in (metrics.ClassFalsePositiveScore(), metrics.ClassFalseNegativeScore()):
        for score in by_label(metric, table([0, 1], [0, 1], 2)).values():
            assert (score.value, score.low, score.high, score.n) == (None, None, None, 0)


@given(st.integers(2, 6), st.data())
def test_shares_add_up_and_ignore_order(classes: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 60))
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    predicted = data.draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    rows = table(labels, predicted, classes)
    errors = sum(a != b for a, b in zip(labels, predicted, strict=True))
    shares = [s.value for s in metrics.ClassFalsePositiveScore().compute(rows, rows)]
    assert all(s is None for s in shares) if not errors else sum(filter(None, shares)) == pytest.approx(1)
    order = data.draw(st.permutations(range(n)))
    turned = table([labels[i] for i in order], [predicted[i] for i in order], classes)
    for metric in (metrics.Accuracy(), metrics.WorstClassAccuracy(), metrics.ClassGap()):
        assert list(metric.compute(rows, rows)) == list(metric.compute(turned, turned))
        for score in metric.compute(rows, rows):
            assert score.value is not None
            assert score.low is not None
            assert score.high is not None
            assert score.low - 1e-12 <= score.value <= score.high + 1e-12


def test_worst_class_and_gap() -> None:
    rows = table([0] * 10 + [1] * 20 + [3] * 5, [0] * 9 + [1] * 21 + [3] * 4 + [0], 5)
    worst, gap = by_label(metrics.WorstClassAccuracy(), rows)[None], by_label(metrics.ClassGap(), rows)[None]
    assert (worst.value, worst.n) == (0.8, 5)
    assert gap.value == pytest.approx(0.2)


def test_flips_are_counted_against_the_clean_prediction() -> None:
    clean = table([0, 0, 1, 1], [0, 1, 1, 1], 2)
    under = table([0, 0, 1, 1], [0, 0, 0, 1], 2, budget=0.1)
    flips = by_label(metrics.FlipRate(), under, clean)
    assert [flips[c].value for c in (None, "c0", "c1")] == [0.5, 0.5, 0.5]
    assert list(metrics.FlipRate().compute(clean, clean)) == []


@pytest.fixture
def done(study: Path, cli: Callable[..., Called]) -> Path:
    folder = study.parent / "out"
    assert cli("run", study, "--out", folder).code == 0
    return folder


def test_show_keeps_the_contract(done: Path, cli: Callable[..., Called]) -> None:
    called = cli("show", done, "--format", "json")
    rows = json.loads(called.out)
    assert all(list(row) == KEYS for row in rows)
    clean = [r for r in rows if r["threat"] == "none"]
    assert {r["budget"] for r in clean} == {None}
    assert {r["attack"] for r in clean} == {None}
    swept = {(r["threat"], r["budget"]) for r in rows if r["metric"] == "accuracy" and r["threat"] != "none"}
    assert swept == {("linf", b) for b in (0.02, 0.05, 0.1, 0.2, 0.3)} | {("l2", b) for b in (0.3, 0.9)}
    for row in rows:
        assert isinstance(row["n"], int)
        if row["value"] is not None:
            known = [x for x in (row["low"], row["value"], row["high"]) if x is not None]
            assert known == sorted(known)
            bare = ("distance-", "class-difference-p", "robustness-bias-p-to/", "samples-needed", *COUNTS)
            assert len(known) == 3 or row["metric"].startswith(bare)
    names = {r["metric"] for r in rows}
    assert {"accuracy", "worst-class-accuracy", "class-gap", "cfps", "cfns", "flip-rate"} <= names
    assert called.err == ""


def test_show_agrees_with_the_records(done: Path, cli: Callable[..., Called]) -> None:
    rows = json.loads(cli("show", done, "--format", "json").out)
    with sqlite3.connect(done / "run.sqlite") as db:
        query = "SELECT threat, budget, label, avg(correct), count(*) FROM judgement GROUP BY threat, budget, label"
        truth = {(t, b, label): (value, n) for t, b, label, value, n in db.execute(query)}
    shown = {
        (r["threat"], r["budget"], r["label"]): (r["value"], r["n"])
        for r in rows
        if r["metric"] == "accuracy" and r["label"] is not None
    }
    assert shown == truth
    assert len(shown) == 4 * (1 + 5 + 2)


def test_accuracy_never_rises_with_the_budget(done: Path, cli: Callable[..., Called]) -> None:
    rows = json.loads(cli("show", done, "--format", "json").out)
    for threat in ("linf", "l2"):
        curve = [
            r["value"] for r in rows if (r["threat"], r["metric"], r["label"]) == (threat, "accuracy", None)
        ]
        assert curve == sorted(curve, reverse=True)
        assert curve[0] > curve[-1]


@pytest.mark.parametrize("style", ["table", "csv", "markdown"])
def test_other_formats_hold_the_same_rows(done: Path, cli: Callable[..., Called], style: str) -> None:
    rows = json.loads(cli("show", done, "--format", "json").out)
    lines = cli("show", done, "--format", style).out.splitlines()
    assert len(lines) == len(rows) + (2 if style == "markdown" else 1)
    if style == "csv":
        read = list(csv.DictReader(io.StringIO("\n".join(lines))))
        assert [float(r["value"]) if r["value"] else None for r in read] == [r["value"] for r in rows]


def test_confusion_counts_every_sample(done: Path, cli: Callable[..., Called]) -> None:
    rows = json.loads(cli("show", done, "--confusion", "--format", "json").out)
    totals: dict[tuple[str, float | None], int] = {}
    for row in rows:
        key = (row["threat"], row["budget"])
        totals[key] = totals.get(key, 0) + row["n"]
    assert set(totals.values()) == {48}


def test_only_the_metrics_that_a_study_names(study: Path, cli: Callable[..., Called]) -> None:
    study.write_text(study.read_text() + '\n[[metric]]\nuse = "cfps"\n')
    folder = study.parent / "out"
    assert cli("run", study, "--out", folder).code == 0
    assert {r["metric"] for r in json.loads(cli("show", folder, "--format", "json").out)} == {"cfps"}


def test_a_broken_image_is_a_failure_with_its_id(study: Path, cli: Callable[..., Called]) -> None:
    """Not the end of the run, and not counted."""
    from PIL import Image

    images, labels = quarters(48)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = study.parent / "images" / f"class {label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:02}.png")
    (study.parent / "images" / "class 1" / "05.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    text = (
        study.read_text()
        .replace('use = "arrays"', 'use = "folder"')
        .replace('path = "data.npz"', 'path = "images"')
    )
    study.write_text(text)
    out = study.parent / "out"
    called = cli("run", study, "--out", out)
    assert called.code == 0, called.err
    assert "sample 'class 1/05.png' cannot be read" in called.err
    shown = cli("show", out, "--format", "json")
    assert "class 1/05.png" in shown.err or "failures" in shown.err
    accuracy = {r["n"] for r in json.loads(shown.out) if r["metric"] == "accuracy" and r["label"] is None}
    assert accuracy == {47}
    with sqlite3.connect(out / "run.sqlite") as db:
        assert {s for (s,) in db.execute("SELECT sample FROM failure")} == {"class 1/05.png"}


def test_control_codes_in_names_do_not_reach_the_terminal(study: Path, cli: Callable[..., Called]) -> None:
    study.write_text(
        study.read_text().replace(
            'path = "data.npz"', 'path = "data.npz"\nclasses = ["a\\u001b[31m", "b", "c", "d"]'
        )
    )
    out = study.parent / "out"
    assert cli("run", study, "--out", out).code == 0
    assert "\x1b" not in cli("show", out).out


@pytest.mark.parametrize("entry", ['use = "none"', 'use = "base/none"', 'use = "none"\nname = "clean"'])
def test_the_unperturbed_images_are_one_condition_of_one_name(
    study: Path, cli: Callable[..., Called], entry: str
) -> None:
    study.write_text(f"{study.read_text()}\n[[threat]]\n{entry}\n")
    rows = json.loads(cli("plan", study, "--format", "json").out)
    assert [r["threat"] for r in rows] == ["none", "linf", "l2"]


def test_plan_shows_what_is_missing(study: Path, cli: Callable[..., Called]) -> None:
    out = study.parent / "out"
    rows = json.loads(cli("plan", study, "--out", out, "--format", "json").out)
    assert [(r["threat"], r["shards"], r["missing"]) for r in rows] == [
        ("none", 3, 3),
        ("linf", 3, 3),
        ("l2", 3, 3),
    ]
    assert not out.exists()
    cli("run", study, "--out", out, "--set", "threat.1.budgets=[0.3]")
    rows = json.loads(cli("plan", study, "--out", out, "--format", "json").out)
    assert [r["missing"] for r in rows] == [0, 0, 3]


NOTICED = """
from classrob import hookimpl

@hookimpl
def classrob_run_started(plan): print("started", len(plan.shards))

@hookimpl
def classrob_shard_finished(outcome): print("shard", len(outcome.records))

@hookimpl
def classrob_run_finished(failed): print("finished", failed)
"""


def test_observers_hear_of_every_shard(study: Path) -> None:
    import subprocess
    import sys

    site = study.parent / "site"
    (site / "observer-1.0.dist-info").mkdir(parents=True)
    (site / "observer-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: observer\nVersion: 1.0\n"
    )
    (site / "observer-1.0.dist-info" / "entry_points.txt").write_text("[classrob]\nobserver = my_observer\n")
    (site / "my_observer.py").write_text(NOTICED)
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from classrob.cli import main; main()"
    command = [sys.executable, "-c", code, "run", str(study), "--out", str(study.parent / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "started 9"
    assert sorted(lines[1:-1]) == sorted(["shard 16"] * 3 + ["shard 80"] * 3 + ["shard 32"] * 3)
    assert lines[-1] == "finished 0"
