"""The attack that evades a detector: it sees the detector, and brings its AUROC down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from classrob.scorer import Reference, Scorer
from classrob.streams import Streams
from classrob.testing.arena import Arena, arena, network
from classrob_detectors.confounding import ConfoundingGradient
from classrob_detectors.evasion import Evade
from classrob_lp.balls import Linf

Call = Callable[..., Any]

STUDY = """
name = "evade"
spot_check = 0.0
[[model]]
use = "digits/standard"
[[dataset]]
use = "digits"
limit = 60
[[threat]]
use = "linf"
budgets = [0.2]
attack = [{ use = "pgd", steps = 20 }, { use = "evade", steps = 30 }]
[[detector]]
use = "msp"
[[detector]]
use = "knn"
[[detector]]
use = "confounding-gradient"
reference = { use = "digits", split = "train", limit = 200 }
[[metric]]
use = "auroc"
[[metric]]
use = "accuracy"
"""


def test_the_adaptive_attack_lowers_auroc_and_is_judged_by_its_own_detector_alone(
    tmp_path: Path, cli: Call
) -> None:
    (tmp_path / "s.toml").write_text(STUDY)
    done = cli("run", tmp_path / "s.toml", "--out", tmp_path / "runs")
    assert done.code == 0, done.err
    rows: list[dict[str, Any]] = json.loads(cli("show", tmp_path / "runs", "--format", "json").out)
    found = {
        (r["attack"], r["detector"]): r["value"]
        for r in rows
        if r["metric"] == "auroc" and r["label"] is None
    }
    detectors = ("msp", "knn", "confounding-gradient")
    assert set(found) == {(a, d) for d in detectors for a in ("pgd", f"evade/{d}")}
    for detector in detectors:
        assert found[f"evade/{detector}", detector] < found["pgd", detector] - 0.15, found
    standing = {
        r["attack"]: r["value"]
        for r in rows
        if r["metric"] == "accuracy" and r["label"] is None and r["attack"]
    }
    for detector in detectors:
        assert standing[f"evade/{detector}"] <= standing["pgd"] + 0.1
    pairs = json.loads(cli("show", tmp_path / "runs", "--detectors", "--format", "json").out)
    beside = {r["detector"]: r for r in pairs if r["label"] is None}
    assert {d: (r["auroc"], r["adaptive_auroc"]) for d, r in beside.items()} == {
        d: (found["pgd", d], found[f"evade/{d}", d]) for d in detectors
    }
    assert {r["falls"] for r in beside.values()} == {True}
    assert cli("report", tmp_path / "runs").code == 0
    page = (tmp_path / "runs" / "report.html").read_text()
    for detector in detectors:
        assert f"Detector “{detector}” falls under “linf” to “evade/{detector}”" in page


def test_it_follows_the_slope_of_gradient_norms() -> None:
    """Through `confounding-gradient`: a step down lowers it as the slope says, and evading beats a blind walk.

    The slope is taken beside the images: at a pixel that is black in all of them the network has a kink.
    """
    where = _where()
    images, ids = where.batch.images, where.batch.ids
    reference = Reference(where.batch, {}, Streams.keyed(0, "kit", ids, "reference"))
    with where.classifier.frozen():
        with torch.no_grad():
            scorer = ConfoundingGradient().fit(where.classifier, reference)
        beside = Streams.keyed(0, "kit", ids, "beside").uniform(*images.shape[1:])
        x = (0.1 + 0.6 * images + 0.2 * beside).requires_grad_()
        before = scorer.score(x)
        (slope,) = torch.autograd.grad(before.sum(), x)
        steep = slope.flatten(1).norm(dim=1)
        after = scorer.score((x - 1e-4 * slope / steep.reshape(-1, 1, 1, 1)).detach())
        assert ((before - after).detach() / (1e-4 * steep)).numpy() == pytest.approx(1.0, abs=0.1)
        assert all(p.grad is None and not p.requires_grad for p in where.classifier.module.parameters())
        scores = {}
        for name, attack in (("blind", Evade(steps=1, stride=1.0)), ("seeing", Evade(steps=30))):
            with where.classifier.facing(scorer):
                z = attack.search(where.classifier, where.space, where.batch, where.streams, None)
            image = where.space.render(z)
            wrong = where.classifier(image).argmax(1) != where.batch.labels
            scores[name] = wrong, scorer.score(image.detach()).detach()
    both = scores["blind"][0] & scores["seeing"][0]
    assert both.any()
    assert float(scores["seeing"][1][both].mean()) < float(scores["blind"][1][both].mean())


class Flat(Scorer):
    """The brightness of the image, without a slope."""

    def score(self, images: Tensor) -> Tensor:
        return images.detach().flatten(1).mean(1)


def _where() -> Arena:
    return arena(Linf(budgets=(0.1,)), "lp/linf", network())


def test_without_a_slope_it_is_estimated() -> None:
    """The least bright of the misclassified images found is darker than that of a walk that does not look."""
    where = _where()
    found = {}
    for name, attack in (("blind", Evade(steps=1, stride=1.0)), ("seeing", Evade(steps=60, probes=8))):
        with where.classifier.frozen(), where.classifier.facing(Flat()):
            z = attack.search(where.classifier, where.space, where.batch, where.streams, None)
            image = where.space.render(z)
            found[name] = image.flatten(1).mean(1), where.classifier(image).argmax(1) != where.batch.labels
    assert found["seeing"][1].sum() >= found["blind"][1].sum()
    assert float(found["seeing"][0].mean()) < float(found["blind"][0].mean())


def test_an_attack_that_needs_a_detector_needs_one_in_the_study(tmp_path: Path, cli: Call) -> None:
    text = STUDY.partition("[[detector]]")
    (tmp_path / "s.toml").write_text(text[0] + text[2][text[2].index("[[metric]]") :])
    done = cli("plan", tmp_path / "s.toml")
    assert done.code == 3
    assert "attack 'evade' evades a detector, and none judges threat 'linf'" in done.err
