"""Detectors in report and terminal: AUROC of an attack that knows them beside that of one that does not, in words too."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from classrob.cli.show import command
from classrob.reading.facing import Facing, facings
from classrob.reading.score import Row
from classrob.report.detectors import MOST, sheets
from classrob.report.findings import evaded

from .synthetic import Pretence, Threat, rows
from .test_report import SHAPES, made, opened, text_of

WHO = "<i>msp</i>"


def test_every_figure_stands_beside_that_of_the_attack_that_knows_the_detector(tmp_path: Path) -> None:
    with opened(tmp_path, SHAPES["guarded"]) as (results, scores):
        found = facings(results, scores)
    assert len(found) == 4 * (4 + 4), "two detectors, two threats of two budgets; three classes and all"
    for one in found:
        assert one.attack == ("pgd" if one.threat == "linf" else None)
        assert one.n == 123
        if one.threat == "linf" and one.detector == WHO:
            assert one.adaptive_attack == f"evade/{WHO}"
            assert one.adaptive_auroc == pytest.approx(one.auroc - 0.6)
            assert one.falls is True
        else:
            assert (one.adaptive_attack, one.adaptive_auroc, one.adaptive_n, one.falls) == (
                None,
                None,
                0,
                None,
            )


def test_page_shows_both_and_says_who_falls(tmp_path: Path) -> None:
    page = made(tmp_path, SHAPES["guarded"])
    section = page[page.index('<section id="detectors"') : page.index('<section id="audit"')]
    said = text_of(section)
    assert "<i>" not in section
    assert (
        "Detector “<i>msp</i>” falls at 2 of 2 budgets of “linf” to “evade/<i>msp</i>”, which knows it: its AUROC is "
        "0.310 (0.260–0.360) at budget 0.2, where it is 0.910 (0.860–0.960) against “pgd”. "
        "To it, these images are less suspicious than unperturbed ones."
    ) in said
    assert "“energy” falls" not in said
    assert re.search(r"energy corruption/fog 1 0\.900 0\.850–0\.950 123 – 0 –", said)
    assert re.search(
        r"<i>msp</i> linf · pgd 0\.1 0\.900 0\.850–0\.950 123 0\.300 0\.250–0\.350 123 falls", said
    )
    assert "Class by class: linf at budget 0.2" in said
    assert "evaded by evade/<i>msp</i>" in said
    assert re.search(r"<b>b</b> 0\.910 0\.860–0\.960 · n = 123 0\.310 0\.260–0\.360 · n = 123 0\.910", said)
    assert page.count("falls</strong>") == 2


def test_without_detectors_there_is_no_section_and_without_an_adaptive_attack_it_says_so(
    tmp_path: Path,
) -> None:
    assert 'id="detectors"' not in made(tmp_path / "none", SHAPES["ten"])
    run = Pretence(models={"net": 1.0}, threats=(Threat("linf", (0.1,)),), detectors=("msp",))
    said = text_of(made(tmp_path / "plain", run))
    assert "No attack of this study looked at a detector" in said
    assert "Adaptive AUROC" not in said


def test_of_many_classes_the_lowest_are_listed(tmp_path: Path) -> None:
    run = Pretence([f"k{i}" for i in range(100)], {"net": 1.0}, threats=(Threat("linf", (0.1,)),), images=2)
    with opened(tmp_path, Pretence(**{**vars(run), "detectors": ("msp",)})) as (results, _):
        scores = [
            Row("net", "digits", "linf", 0.1, "pgd", "msp", "auroc", f"k{i}", i / 100, 0.0, 1.0, 9)
            for i in range(100)
        ]
        (sheet,) = sheets(results, scores, {results.conditions[0].classes: 3})
    (grid,) = sheet.grids
    assert [(name, key) for name, key, _ in grid.rows] == [(f"k{i}", f"3-{i}") for i in range(MOST)]
    assert grid.left_out == 80


def facing(low: float | None, high: float | None, budget: float = 0.1) -> Facing:
    """An AUROC of 0.8 to 0.9 beside one between two ends."""
    middle = None if low is None or high is None else (low + high) / 2
    falls = None if high is None else high < 0.8
    where = ("net", "data", "linf", budget, "knn", None)
    return Facing(*where, "pgd", 0.85, 0.8, 0.9, 50, "evade/knn", middle, low, high, 50, falls)


@pytest.mark.parametrize(
    ("some", "says"),
    [
        (
            [facing(0.5, 0.7)],
            "falls under “linf” to “evade/knn”, which knows it: its AUROC is 0.600 (0.500–0.700)",
        ),
        (
            [facing(0.5, 0.85)],
            "does not certainly fall under “linf” when “evade/knn”, which knows it, evades it",
        ),
        ([facing(0.5, 0.85)], "That is no proof: a stronger attack may evade it."),
        ([facing(0.5, 0.7, 0.1), facing(0.5, 0.85, 0.2)], "falls at 1 of 2 budgets of “linf”"),
        ([facing(0.5, 0.7, 0.1), facing(0.5, 0.85, 0.2)], "(0.500–0.700) at budget 0.1"),
        ([facing(0.1, 0.4)], "less suspicious than unperturbed ones"),
        (
            [facing(None, None)],
            "too few images were misclassified to say whether “evade/knn”, which knows it, evades",
        ),
    ],
)
def test_words_follow_the_intervals(some: list[Facing], says: str) -> None:
    (said,) = (line.replace("\u2060", "") for line in evaded(some))
    assert says in said
    assert ("less suspicious" in said) == (some[0].adaptive_high is not None and some[0].adaptive_high < 0.5)


def test_show_prints_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, SHAPES["guarded"]) as (results, _):
        wanted = [one._asdict() for one in facings(results, rows(results))]
    monkeypatch.setattr("classrob.cli.show.scores", lambda results, catalog: rows(results))
    done = CliRunner().invoke(
        command, [str(tmp_path), "--detectors", "--format", "json"], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert json.loads(done.stdout) == wanted
    assert list(wanted[0]) == list(Facing._fields)
