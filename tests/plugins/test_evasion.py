"""The attack that evades a detector: it sees the detector, and brings its AUROC down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from classrob.scorer import Scorer
from classrob.testing.arena import Arena, arena, network
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
    assert set(found) == {("pgd", "msp"), ("pgd", "knn"), ("evade/msp", "msp"), ("evade/knn", "knn")}
    for detector in ("msp", "knn"):
        assert found[f"evade/{detector}", detector] < found["pgd", detector] - 0.15, found
    standing = {
        r["attack"]: r["value"]
        for r in rows
        if r["metric"] == "accuracy" and r["label"] is None and r["attack"]
    }
    assert standing["evade/msp"] <= standing["pgd"] + 0.1


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
