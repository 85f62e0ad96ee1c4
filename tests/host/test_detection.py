"""Detectors in a study: what they are fitted on, what they judge, and where their scores stand."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classrob.costs import Cost
from classrob.detecting import Sources
from classrob.detection import held
from classrob.reading.pricing import priced, prices
from classrob.reading.results import Results
from classrob.study import read_study
from classrob.worker import Worker

from .conftest import Called

Call = Callable[..., Called]

DETECTOR = """
import torch
from classrob import Detector, Metric, Score, Scorer
from classrob.errors import NotObservable
from pathlib import Path

class Seen(Scorer):
    def __init__(self, classifier):
        self.classifier = classifier
    def score(self, images):
        return -self.classifier(images).softmax(1).amax(1)

class Notes(Detector):
    '''Writes down what it was fitted on.'''
    log: str = "fitted.txt"
    def fit(self, classifier, reference):
        with open(self.log, "a") as file:
            names = {name: list(batch.ids) for name, batch in reference.outliers.items()}
            shapes = {name: list(batch.images.shape[1:]) for name, batch in reference.outliers.items()}
            import json
            print(json.dumps({"reference": list(reference.batch.ids), "outliers": names, "shapes": shapes}), file=file)
        return Seen(classifier)

class Refuses(Detector):
    def fit(self, classifier, reference):
        raise NotObservable("it has no eyes")

class Wrong(Detector):
    def fit(self, classifier, reference):
        return Broken(classifier)

class Broken(Seen):
    def score(self, images):
        return super().score(images)[:1]
"""


@pytest.fixture
def guarded(study: Path) -> Callable[..., Path]:
    """Write the small study with detectors; returns its path."""
    (study.parent / "mine.py").write_text(DETECTOR)
    text = study.read_text()

    def write(*lines: str, detector: str = "Notes") -> Path:
        log = f'log = "{study.parent / "fitted.txt"}"' if detector == "Notes" else ""
        study.write_text(
            "\n".join([text, "[[detector]]", f'use = "./mine.py:{detector}"', 'name = "mine"', log, *lines])
        )
        return study

    return write


def fits(path: Path) -> list[dict[str, Any]]:
    """What was fitted on, the preflight's few images left out."""
    lines = [json.loads(line) for line in (path.parent / "fitted.txt").read_text().splitlines()]
    return [one for one in lines if len(one["reference"]) > 8]


def rows(cli: Call, out: Path) -> list[dict[str, Any]]:
    return json.loads(cli("show", out, "--format", "json").out)


NOISE = 'ood = [{ use = "noise", name = "n", size = [5, 7], channels = 3, count = 40 }]'


def test_scores_stand_beside_verdicts(guarded: Callable[..., Path], cli: Call) -> None:
    """The negative largest probability of the judged image, for every image that was judged."""
    path = guarded('reference = { use = "arrays", path = "data.npz", limit = 30 }', NOISE)
    out = path.parent / "runs" / "a"
    done = cli("run", path, "--out", out)
    assert done.code == 0, done.err
    with Results.open(out) as results:
        assert [one.threat for one in results.strangers] == ["ood/n"]
        assert "ood/n" not in {one.threat for one in results.conditions}
        clean = results.conditions[0]
        tables = {c.threat: results.table(c, frozenset({"suspicion/mine"})) for c in results.conditions}
        strange = results.table(results.strangers[0], frozenset({"suspicion/mine"}))
    for threat, table in tables.items():
        seen = table.seen("suspicion/mine")
        assert (seen == ~np.isnan(table["margin"])).all(), threat
        assert seen.any()
    assert (strange["label"] == -1).all()
    assert strange.seen("suspicion/mine").all()
    assert clean.detectors == {"mine": "suspicion/mine"}
    found = [row for row in rows(cli, out) if row["detector"] == "mine"]
    assert {row["threat"] for row in found} >= {"linf", "ood/n"}
    assert {row["metric"] for row in found} >= {"auroc", "fpr95", "aupr", "aupr-in", "undetected-error@0.05"}
    assert list(found[0]) == ["model", "dataset", "threat", "budget", "attack", "detector", "metric", "label", "value", "low", "high", "n"]  # fmt: skip
    assert all(row["low"] <= row["value"] <= row["high"] for row in found if row["value"] is not None)
    models = [row for row in rows(cli, out) if row["detector"] is None]
    assert models
    assert not any(row["threat"] == "ood/n" for row in models)
    with sqlite3.connect(out / "run.sqlite") as db:
        assert db.execute("SELECT count(*) FROM judgement WHERE label IS NULL").fetchone() == (0,)
    for command in (
        ["report", out],
        ["show", out, "--confusion"],
        ["plan", path],
    ):
        assert cli(*command).code == 0, command


def test_what_a_score_costs_stands_beside_rows_and_changes_none(
    guarded: Callable[..., Path], cli: Call
) -> None:
    """Two runs took different times; their rows are the same, and both say what each image cost."""
    path = guarded('reference = { use = "arrays", path = "data.npz", limit = 30 }', NOISE)
    outs = [path.parent / "runs" / name for name in "ab"]
    stored: list[list[Any]] = []
    for out in outs:
        assert cli("run", path, "--out", out, "--no-reuse").code == 0
        with sqlite3.connect(out / "run.sqlite") as db:
            tables = [db.execute(f"SELECT * FROM {name}").fetchall() for name in ("record", "observation")]
            hows = [json.loads(how).get("costs") for (how,) in db.execute("SELECT how FROM shard")]
        stored.append(tables)
        judged = sum(name == "suspicion/mine" for *_, name, _, _, _ in tables[1])
        costs = [Cost(*one) for some in hows for one in some]
        assert sum(cost.images for cost in costs if cost.detector == "mine") == judged
        assert sum(cost.images for cost in costs if cost.detector is None) == judged
        assert all(cost.seconds > 0 and cost.processor >= 0 for cost in costs)
    assert stored[0] == stored[1]
    shown = json.loads(cli("show", outs[0], "--detectors", "--format", "json").out)
    with Results.open(outs[0]) as results:
        ((who, price),) = prices(results).items()
    assert who[2] == "mine"
    assert price.images == judged
    assert price.over_prediction is not None
    for row in shown:
        assert (row["milliseconds"], row["over_prediction"]) == (price.milliseconds, price.over_prediction)
        assert row["timed"] == judged
    assert cli("report", outs[0]).code == 0
    page = (outs[0] / "report.html").read_text()
    assert "What a score costs" in page
    assert f'<td class="num">{price.milliseconds:.3g}</td>' in page


def test_prices_are_medians_over_shards() -> None:
    """The first batch of a run, in which a detector learns what it learns once, does not move them."""
    shards = [(Cost("d", 10, s, 2 * s), Cost(None, 20, 0.2, 0.2)) for s in (0.5, 0.3, 100.0)]
    price = priced(shards)
    assert (price.milliseconds, price.processor, price.over_prediction) == pytest.approx((50, 100, 5))
    assert price.images == 30
    assert priced([(Cost("d", 10, 1.0, 1.0), None)]).over_prediction is None


def test_a_half_that_is_fitted_on_is_not_judged(guarded: Callable[..., Path], cli: Call) -> None:
    """Without a training split a digest of ids decides, so an image and its perturbed form go together."""
    path = guarded(NOISE, 'outliers = ["n"]')
    out = path.parent / "runs" / "a"
    assert cli("run", path, "--out", out).code == 0
    (fitted,) = fits(path)
    assert fitted["reference"]
    assert all(held(sample) for sample in fitted["reference"] + fitted["outliers"]["ood/n"])
    assert fitted["shapes"]["ood/n"] == [1, 6, 6], "resized and made grey"
    with Results.open(out) as results:
        for one in (*results.conditions, *results.strangers):
            table = results.table(one, frozenset({"suspicion/mine"}))
            judged = {
                s for s, seen in zip(table["sample"], table.seen("suspicion/mine"), strict=True) if seen
            }
            assert judged
            assert not any(held(sample) for sample in judged)


def test_protocols_decide_what_a_detector_learns_from(guarded: Callable[..., Path], cli: Call) -> None:
    reference = 'reference = { use = "arrays", path = "data.npz", limit = 30 }'
    learned = {}
    for outliers in ("own", "others"):
        path = guarded(reference, NOISE, f'outliers = "{outliers}"', 'against = ["linf"]')
        (path.parent / "fitted.txt").unlink(missing_ok=True)
        assert cli("run", path, "--out", path.parent / "runs" / outliers).code == 0
        learned[outliers] = {name for one in fits(path) for name in one["outliers"]}
        assert all(len(one["outliers"]) == 1 for one in fits(path)), "never what it is not to know"
        assert len(fits(path)) == 2, "once for each"
        found = rows(cli, path.parent / "runs" / outliers)
        assert {row["threat"] for row in found if row["detector"]} == {"linf", "ood/n"}
    assert learned["own"] == learned["others"] == {"linf", "ood/n"}
    with Results.open(path.parent / "runs" / "others") as results:
        noted = {one.threat: one.parts["detector mine"]["outliers"] for one in results.strangers}
    assert noted == {"ood/n": ["linf"]}


def test_references_and_outliers_are_made_once_and_shared(
    guarded: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two detectors that learn from the same images; where these take too much room, they are made again."""
    own = 'reference = { use = "arrays", path = "data.npz", limit = 30 }', NOISE, 'outliers = "own"'
    path = guarded(*own)
    again = path.read_text()[path.read_text().index("[[detector]]") :].replace(
        'name = "mine"', 'name = "other"'
    )
    path.write_text(f"{path.read_text()}\n{again}")
    made: list[str] = []
    for what in ("_reference", "_outliers"):
        method = getattr(Sources, what)

        def counted(self: Sources, *args: Any, method: Any = method) -> Any:
            made.append(getattr(args[0], "name", "reference"))
            return method(self, *args)

        monkeypatch.setattr(Sources, what, counted)

    def fitted() -> list[dict[str, Any]]:
        made.clear()
        (path.parent / "fitted.txt").unlink(missing_ok=True)
        worker = Worker(read_study(path, ()), path.parent)
        for condition in worker.conditions():
            classifier = worker.classifier(condition.model)
            with classifier.frozen():
                worker.scorers(condition, classifier)
        return fits(path)

    shared = fitted()
    assert sorted(made) == ["l2", "linf", "ood/n", "reference"]
    assert len(shared) == 6, "two detectors, each against three"
    monkeypatch.setattr("classrob.detecting.KEPT", 0)
    assert fitted() == shared
    assert len(made) == 12


def test_what_a_detector_is_decides_the_address(guarded: Callable[..., Path], cli: Call) -> None:
    path = guarded('reference = { use = "arrays", path = "data.npz", limit = 30 }', 'against = ["linf"]')
    out = path.parent / "runs" / "a"
    assert cli("run", path, "--out", out).code == 0
    again = json.loads(cli("plan", path, "--out", out, "--format", "json").out)
    assert not any(row["missing"] for row in again)
    path.write_text(path.read_text().replace("limit = 30", "limit = 40"))
    changed = {
        r["threat"]: r["missing"] for r in json.loads(cli("plan", path, "--out", out, "--format", "json").out)
    }
    assert changed["none"]
    assert changed["linf"]
    assert not changed["l2"], "which the detector does not judge"


def test_a_detector_that_sees_nothing_is_noted_and_left_out(guarded: Callable[..., Path], cli: Call) -> None:
    path = guarded(detector="Refuses")
    out = path.parent / "runs" / "a"
    done = cli("run", path, "--out", out)
    assert done.code == 0
    assert "it has no eyes" in done.err
    assert not any(row["detector"] for row in rows(cli, out))


def test_a_reference_of_other_classes_is_refused(guarded: Callable[..., Path], cli: Call) -> None:
    path = guarded('reference = "digits"')
    done = cli("run", path, "--out", path.parent / "runs" / "a")
    assert done.code == 1
    assert "has 10 classes, data set 'quarters' has 4" in done.err


def test_a_detector_that_breaks_its_promise_fails_its_shards(guarded: Callable[..., Path], cli: Call) -> None:
    path = guarded(detector="Wrong")
    done = cli("run", path, "--out", path.parent / "runs" / "a")
    assert done.code == 1
    assert "must give floats [n]" in done.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('against = ["lnf"]', "did you mean 'linf'"),
        ('against = "linf"', "must be a list of names"),
        ('outliers = "some"', "must be one of none, own, others"),
        ('outliers = ["moon"]', "no threat or data set is called 'moon'"),
        ('ood = "noise"', "must be a list of data sets"),
        ('ood = [{ use = "nois" }]', "did you mean"),
        ('budgets = "smallest"', "must be 'largest' or 'all'"),
        ('ood = ["noise", { use = "noise", count = 3 }]\nagainst = []', "two data sets are called"),
        ("reference = 3", "must be a name, or a table"),
        ("colour = 3", "colour"),
    ],
)
def test_wrong_entries_are_one_line(line: str, says: str, guarded: Callable[..., Path], cli: Call) -> None:
    path = guarded(line)
    done = cli("plan", path)
    assert done.code == 3
    assert says in done.err
    assert len(done.err.strip().splitlines()) == 1
