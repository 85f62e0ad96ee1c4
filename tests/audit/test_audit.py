"""The audit's parts: which samples, which evidence, what is kept, and what the command and the report say."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from classrob.audit.recorded import _tally
from classrob.audit.run import _looks, audit
from classrob.audit.setting import BUDGETS, looked_at
from classrob.audit.signs import BORDERLINE, HARDLY_ANY, MODEL, SIGNS, THREAT
from classrob.audit.stored import NAME, Audit, read, write
from classrob.audit.subject import chosen
from classrob.audit.tally import NotChecked, Tally, weigh
from classrob.errors import StoreError
from classrob.images import Picture
from classrob.live import Samples
from classrob.report import write_report
from classrob.statistics.intervals import ALPHA, rate
from classrob.table import Table

from ..host.conftest import Called
from .conftest import Broken

Call = Callable[..., Called]


class Labelled(Samples):
    """Samples that are nothing but labels."""

    classes = tuple("abcdefgh")

    def __init__(self, labels: list[int]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def id(self, index: int) -> str:
        return f"sample {index}"

    def label(self, index: int) -> int:
        return self.labels[index]

    def picture(self, index: int) -> Picture:
        raise OSError("there is none")


@given(st.lists(st.integers(0, 7), min_size=1, max_size=60), st.integers(1, 40), st.integers(0, 3))
def test_the_same_number_of_every_class_is_drawn(labels: list[int], most: int, seed: int) -> None:
    samples = Labelled(labels)
    picked = chosen(samples, most, seed, "data")
    assert picked == sorted(set(picked)) == chosen(samples, most, seed, "data")
    assert len(picked) == min(most, len(labels))
    taken = np.bincount([labels[i] for i in picked], minlength=8)
    there = np.bincount(labels, minlength=8)
    short = taken < there  # classes that could have given more have given as many as any, but for one
    assert not short.any() or taken[short].min() >= taken.max() - 1


def test_another_seed_draws_other_samples() -> None:
    samples = Labelled([0, 1] * 50)
    assert chosen(samples, 10, 0, "data") != chosen(samples, 10, 1, "data")


@given(st.integers(1, 30))
def test_budgets_are_spread_over_the_runs_own(n: int) -> None:
    budgets = tuple(0.1 * (i + 1) for i in range(n))
    found = looked_at(budgets)
    assert found[-1] == budgets[-1]
    assert set(found) <= set(budgets)
    assert list(found) == sorted(found)
    assert len(found) == min(n, BUDGETS)


def tally(hits: list[bool], labels: list[int] | None = None, budget: float | None = None) -> Tally:
    ids = np.array([f"{i}" for i in range(len(hits))], dtype=object)
    return Tally("{hits} of {n}", ids, np.array(labels or [0] * len(hits)), np.array(hits, bool), budget)


@given(st.integers(0, 50), st.integers(1, 50))
def test_a_sign_fires_only_where_an_interval_lies_above_its_threshold(hits: int, n: int) -> None:
    hits = min(hits, n)
    found = weigh([tally([i < hits for i in range(n)])], 0.05, ["a"], 0.02)
    assert (found.overall.low, found.overall.high) == rate(hits, n, 0.01)
    assert bool(found.loud) == (rate(hits, n, 0.01)[0] > 0.05)


@settings(deadline=None, max_examples=12)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=5),
    st.integers(1, 4),
    st.sampled_from([BORDERLINE, HARDLY_ANY]),
    st.sampled_from([0.05, 0.05 / 7, 0.05 / 25]),
)
def test_the_level_holds_exactly(sizes: list[int], budgets: int, threshold: float, alpha: float) -> None:
    """True shares at the threshold: the chances of every interval that a finding has add up to the level at most."""
    labels = [label for label, n in enumerate(sizes) for _ in range(n)]
    chance = 0.0
    for n, label in [(len(labels), None), *((n, label) for label, n in enumerate(sizes))]:
        at = range(n) if label is None else [i for i, of in enumerate(labels) if of == label]
        for k in range(n + 1):  # the least count at which this share alone is loud
            hits = [False] * len(labels)
            for i in list(at)[:k]:
                hits[i] = True
            found = weigh([tally(hits, labels)] * budgets, threshold, "abcde", alpha)
            if label in [None if s.label is None else "abcde".index(s.label) for s in found.loud]:
                chance += budgets * float(binom.sf(k - 1, n, threshold))
                break
    assert chance <= alpha


def test_a_models_level_is_shared_by_its_signs() -> None:
    assert _looks(0) == sum(sign.threshold > 0 for sign in MODEL.values()) == 1
    assert _looks(2) == 1 + 2 * len(THREAT)


def test_a_single_class_is_enough_and_has_to_be_clearer() -> None:
    labels = [i // 10 for i in range(100)]
    one = weigh([tally([label == 3 for label in labels][:100], labels)], 0.05, "abcdefghij", 2 * ALPHA)
    assert [share.label for share in one.loud] == [None, "d"]
    few = [label == 3 and i % 10 < 7 for i, label in enumerate(labels)]
    masked = weigh([tally(few, labels)], 0.05, "abcdefghij", 2 * ALPHA)
    assert [share.label for share in masked.loud] == ["d"]
    assert masked.classes[3].low < rate(7, 10)[0]


def test_more_comparisons_widen_the_interval() -> None:
    hits = [i < 10 for i in range(100)]
    alone, among = (
        weigh([tally(hits)], 0.05, "a", 2 * ALPHA),
        weigh([tally(hits), *[tally([False] * 100)] * 9], 0.05, "a", 2 * ALPHA),
    )
    assert among.tally.hits.sum() == 10
    assert among.overall.low < alone.overall.low
    assert alone.loud
    assert not among.loud


def test_nothing_to_count_is_not_checked() -> None:
    with pytest.raises(NotChecked, match="no image"):
        weigh([tally([])], 0.05, "a", ALPHA)


def test_the_runs_own_trials_are_compared_sample_by_sample() -> None:
    """Broken by queries where gradients failed; not where gradients were never asked, nor where they won."""
    ids = np.array(["a", "b", "c", "d"], dtype=object)
    right = Table(("x",), None, {"sample": ids, "label": np.zeros(4, int), "predicted": np.zeros(4, int)})
    kinds = {
        True: {("a", 0.1): False, ("b", 0.1): True, ("d", 0.1): False},
        False: {("a", 0.1): True, ("b", 0.1): True, ("c", 0.1): True, ("d", 0.1): False},
    }
    assert _tally(right, 0.1, kinds).hits.tolist() == [True, False, False, False]
    assert not _tally(right, 0.2, kinds).hits.any()


# -- what is kept -------------------------------------------------------------------------------------


@pytest.fixture
def copied(broken: Broken, tmp_path: Path) -> tuple[Path, Audit]:
    """The broken defences' audit beside a copy of their store."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.sqlite").write_bytes((broken.folder / "run.sqlite").read_bytes())
    write(broken.audit, folder)
    return folder, broken.audit


def test_an_audit_reads_back_as_it_was_written(copied: tuple[Path, Audit]) -> None:
    folder, made = copied
    assert read(folder) == made
    assert read(folder.parent) is None
    for text in ("{", "[]", json.dumps({"version": 99}), json.dumps({"version": 1, "findings": [{}]})):
        (folder / NAME).write_text(text)
        with pytest.raises(StoreError, match="classrob audit"):
            read(folder)


def test_the_same_question_is_not_measured_twice(broken: Broken) -> None:
    notes: list[str] = []
    assert audit(broken.folder, 30, notes.append) == broken.audit
    assert notes == [f"nothing has changed since the audit of {broken.audit.measured} UTC"]


def test_the_command_prints_rows_and_is_strict_when_asked(broken: Broken, cli: Call) -> None:
    plain = cli("audit", broken.folder, "--samples", "30", "--format", "json")
    rows = json.loads(plain.out)
    assert plain.code == 0
    assert f"{len(broken.audit.fired)} of {len(rows)} signs fired" in plain.err
    assert [row["sign"] for row in rows if row["model"] == "Noisy"] == list(SIGNS)
    assert {row["state"] for row in rows} == {"fired", "silent", "not checked"}
    by_class = json.loads(cli("audit", broken.folder, "--samples", "30", "--classes", "--format", "json").out)
    mine = [r for r in by_class if (r["model"], r["sign"]) == ("Quantised", "zero-gradients")]
    assert [row["label"] for row in mine] == [None, *"0123456789"]
    assert mine[0]["n"] == sum(row["n"] for row in mine[1:])
    assert cli("audit", broken.folder, "--samples", "30", "--strict").code == 6


def test_a_folder_without_a_run_is_an_error(tmp_path: Path, cli: Call) -> None:
    assert cli("audit", tmp_path).code == 5


def test_a_run_without_a_threat_and_an_honest_small_one(study: Path, cli: Call) -> None:
    out = study.parent / "run"
    text = study.read_text()
    study.write_text(text.partition("[[threat]]")[0])
    assert cli("run", study, "--out", out).code == 0
    rows = json.loads(cli("audit", out, "--samples", "12", "--format", "json").out)
    states = {row["sign"]: (row["state"], row["n"]) for row in rows}
    assert states["zero-gradients"] == ("silent", 12)
    assert states["noise-beats-gradients"] == ("not checked", 0)
    assert "the run searched no threat" in next(r["text"] for r in rows if r["state"] == "not checked")
    assert cli("audit", out, "--samples", "12", "--strict").code == 0


def test_an_ensembles_own_trials_count_as_evidence(study: Path, cli: Call) -> None:
    """The run's own comparison of black box and white box is taken from its store, on all of its samples."""
    attack = "./both.py:Both"
    (study.parent / "both.py").write_text(BOTH)
    text = study.read_text().partition("[[threat]]")[0]
    study.write_text(f'{text}[[threat]]\nuse = "linf"\nbudgets = [0.05]\nattack = "{attack}"\n')
    out = study.parent / "run"
    assert cli("run", study, "--out", out).code == 0
    rows = json.loads(cli("audit", out, "--samples", "8", "--format", "json").out)
    (row,) = [r for r in rows if r["sign"] == "black-box-beats-gradients"]
    assert row["text"].startswith("In the run itself")
    assert (row["state"], row["n"]) == ("fired", 48)


BOTH = '''
"""A gradient attack that gives up at once, then queries."""
from typing import ClassVar, final
from classrob.ensemble import Ensemble, Member
from classrob.parts import Attack
from classrob_lp.square import Square

@final
class Idle(Attack):
    """Uses gradients, it says."""
    def search(self, classifier, space, batch, streams, start):
        return space.centre()

@final
class Both(Ensemble):
    """Idle, then Square."""
    def attacks(self, classes, space):
        return [Member("idle", Idle()), Member("square", Square(steps=50))]
'''


# -- the report ---------------------------------------------------------------------------------------


def said(page: Path) -> str:
    bare = re.sub(r"<(style|script)\b.*?</\1>", " ", page.read_text("utf-8"), flags=re.S)
    plain = html.unescape(re.sub(r"<[^>]*>", " ", bare)).replace("\u2060", "")
    return re.sub(r"\s+", " ", plain)


def test_the_report_shows_the_audit(copied: tuple[Path, Audit]) -> None:
    folder, made = copied
    page = said(write_report(folder))
    assert "Signs of gradient masking" in page
    for found in made.fired:
        assert found.text in page
    assert page.count("Evidence class by class") == 2 * len(
        {f.model for f in made.findings if f.overall and f.overall.hits}
    )
    assert "The run itself counts" in page
    assert "made before the run's rows changed" not in page


def test_the_report_says_when_the_audit_is_old_damaged_or_missing(copied: tuple[Path, Audit]) -> None:
    folder, made = copied
    write(replace(made, rows="others"), folder)
    assert "made before the run's rows changed" in said(write_report(folder))
    (folder / NAME).write_text("{")
    assert "The audit cannot be shown" in said(write_report(folder))
    (folder / NAME).unlink()
    assert "Not audited. classrob audit DIR" in said(write_report(folder))


def test_names_in_the_audit_do_no_harm(copied: tuple[Path, Audit]) -> None:
    folder, made = copied
    nasty = "<script>window.broken = 1</script>"
    write(replace(made, findings=tuple(replace(f, model=nasty, text=nasty) for f in made.findings)), folder)
    page = write_report(folder)
    assert nasty not in page.read_text("utf-8")
    assert nasty in html.unescape(page.read_text("utf-8"))
