"""Differences between classes, groups of classes, and ranks over threats: by hand, coverage, and false alarms."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from classrob.errors import StudyError
from classrob.statistics.ranks import correlations
from classrob.statistics.untold import untold
from classrob.table import Table
from classrob_classwise.differences import RobustnessBias, WeakClasses, difference, fisher, needed, standing
from classrob_classwise.fairness import ClassSpread, Groups
from classrob_classwise.rankings import CfpsAgreement, RankPersistence

from .test_classwise_metrics import scored, verdicts


def test_fishers_mid_p_by_scipy() -> None:
    hits, n = np.array([3, 9, 0, 10]), np.array([10, 10, 12, 10])
    total, of = int(hits.sum()), int(n.sum())
    for p, h, m in zip(fisher(hits, n, total, of), hits, n, strict=True):
        law: Any = stats.hypergeom(of, total, m)
        tail = min(law.cdf(h - 1), law.sf(h)) + law.pmf(h) / 2
        assert p == pytest.approx(min(1.0, 2 * tail))


def test_coverage_of_differences() -> None:
    """Exact, over a grid of pairs of rates: 93 to 97 % on average, and nowhere below 89 %."""
    held = []
    grid = np.linspace(0.05, 0.95, 10)
    for n, m in ((20, 20), (50, 50), (20, 180), (100, 100)):
        one, other = (x.reshape(-1) for x in np.meshgrid(np.arange(n + 1), np.arange(m + 1), indexing="ij"))
        _, low, high = difference(one, np.full(len(one), n), other, np.full(len(one), m))
        for p, q in product(grid, grid):
            chance = (
                stats.binom.pmf(np.arange(n + 1), n, p)[:, None] * stats.binom.pmf(np.arange(m + 1), m, q)
            ).reshape(-1)
            held.append(chance[(low - 1e-12 <= p - q) & (p - q <= high + 1e-12)].sum())
    print("differences", np.mean(held), np.min(held))
    assert 0.93 <= np.mean(held) <= 0.97
    assert min(held) > 0.89


def test_classes_that_are_alike_are_called_weak_or_strong_in_five_percent_of_runs() -> None:
    random, alarms = np.random.default_rng(0), 0
    for _ in range(300):
        label = np.repeat(np.arange(10), 20)
        predicted = np.where(random.random(200) < 0.7, label, (label + 1) % 10)
        found = scored(WeakClasses(), verdicts(label.tolist(), predicted.tolist(), 10))
        alarms += any((found[None, name].value or 0.0) > 0 for name in ("weak-classes", "strong-classes"))
    assert alarms <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05 * 0.95)


def test_the_number_of_samples_needed_is_enough() -> None:
    """With as many samples as it says, about 80 % of the runs are significant."""
    hits, n = np.array([12]), np.array([20])
    counts = hits, n, np.array([144]), np.array([180])
    size = int(needed(standing(*counts), n, 10)[0])
    assert size > 20
    random = np.random.default_rng(1)
    mine, rest = random.binomial(size, 0.6, 300), random.binomial(9 * size, 0.8, 300)
    p = np.array(
        [
            fisher(np.array([a]), np.array([size]), int(a + b), 10 * size)[0]
            for a, b in zip(mine, rest, strict=True)
        ]
    )
    assert 0.7 < (p < 0.05 / 10).mean() < 0.95
    alike = np.array([10]), np.array([20]), np.array([90]), np.array([180])
    assert np.isnan(needed(standing(*alike), alike[1], 10)[0])
    assert needed(np.array([np.inf]), n, 10)[0] == 1


@pytest.mark.parametrize("threshold", [1.96, 2.81, 4.06])
def test_an_interval_of_what_was_not_told_holds_it_in_95_percent_of_what_was_not(threshold: float) -> None:
    """Of a normal variable that lies below the threshold, whatever its true size; the plain one does not."""
    seen = np.linspace(0, threshold, 20001)[:-1]
    low, high = untold(seen, threshold)
    for end in (low, high):
        assert (end[1:] >= end[:-1]).all()
    plain: list[float] = []
    for size in (0.0, 0.3, 1.0, 2.0, 3.0, 5.0, 8.0):
        chance = stats.norm.pdf(seen, size) + stats.norm.pdf(-seen, size)
        chance /= chance.sum()
        assert chance @ ((low <= size) & (size <= high)) == pytest.approx(0.95, abs=0.003)
        plain.append(float(chance @ (size <= seen + 1.96)))
    assert min(plain) < 0.1
    assert untold(np.array([threshold + 1]), threshold)[1][0] == np.inf


def test_a_weak_class_is_marked_and_others_learn_what_it_takes() -> None:
    label = [c for c in range(5) for _ in range(40)]
    predicted = [
        (c + 1) % 5 if (c == 2 and i < 30) or (c == 0 and i < 4) else c for c in range(5) for i in range(40)
    ]
    found = scored(WeakClasses(), verdicts(label, predicted, 5))
    assert found[None, "weak-classes"].value == 1
    assert found["c2", "class-difference"].value == pytest.approx(10 / 40 - 156 / 160)
    assert (found["c2", "class-difference-p"].value or 0) < 0.001
    assert ("c2", "samples-needed") not in found
    lacking = found["c0", "samples-needed"]
    assert (lacking.value or 0) > 40
    assert 0 < (lacking.low or 0) < (lacking.value or 0)
    assert lacking.high is None  # there may be no difference at all


def test_robustness_bias_counts_only_what_was_right_at_first() -> None:
    clean = verdicts([0] * 10 + [1] * 10, [0] * 8 + [1] * 2 + [1] * 10, 2, None)
    under = verdicts([0] * 10 + [1] * 10, [1] * 6 + [0] * 4 + [1] * 9 + [0], 2)
    found = scored(RobustnessBias(), under, clean)
    assert found["c0", "robustness-bias-to/c1"].value == pytest.approx(9 / 10 - 2 / 8)
    assert found["c0", "robustness-bias-to/c1"].n == 18
    assert 0 < (found["c0", "robustness-bias-p-to/c1"].value or 0) < 0.05


def test_spread_over_classes() -> None:
    found = scored(ClassSpread(), verdicts([0, 0, 1, 1], [0, 0, 0, 1], 2))
    assert found[None, "class-deviation"].value == pytest.approx(0.25)
    assert found[None, "class-gini"].value == pytest.approx(0.5 / 4 / 0.75 * 2 / 2)


def test_groups_of_classes(tmp_path: Path) -> None:
    file = tmp_path / "groups.toml"
    file.write_text('low = ["c0", "c1"]\nhigh = ["c2"]\n')
    table = verdicts([0, 0, 1, 1, 2, 2, 3], [0, 1, 1, 1, 2, 2, 0], 4)
    found = scored(Groups(groups=file), table)
    assert found[None, "group-accuracy/low"].value == 3 / 4
    assert found[None, "group-bias/low"].value == pytest.approx(3 / 4 - 2 / 3)
    assert found[None, "group-gap"].value == pytest.approx(1 / 4)
    assert scored(Groups(), table) == {}
    file.write_text('low = ["c0", "c11"]\n')
    with pytest.raises(
        StudyError, match="names class 'c11', which the data set does not have; did you mean 'c1'"
    ):
        scored(Groups(groups=file), table)


@pytest.mark.parametrize("text", ["low = 3", 'low = ["a"]\nhigh = ["a"]', "low = [", "low = []"])
def test_a_file_of_groups_that_is_none(text: str, tmp_path: Path) -> None:
    file = tmp_path / "groups.toml"
    file.write_text(text)
    with pytest.raises(ValidationError, match=r"groups\.toml"):
        Groups(groups=file)


def conditions(right: dict[str, np.ndarray], label: np.ndarray, k: int) -> Table:
    """A table of whole models: which samples are right under which threat."""
    n = len(label)
    columns = {
        "sample": np.array([str(i) for _ in right for i in range(n)], dtype=object),
        "label": np.tile(label, len(right)),
        "predicted": np.concatenate([np.where(one, label, (label + 1) % k) for one in right.values()]),
        "budget": np.repeat([np.nan if name == "none" else 0.1 for name in right], n),
        "threat": np.repeat(np.array(list(right), dtype=object), n),
        "attack": np.repeat(
            np.array(["none" if name == "none" else "pgd" for name in right], dtype=object), n
        ),
    }
    return Table(tuple(f"c{i}" for i in range(k)), None, columns)


def test_ranks_persist_or_do_not() -> None:
    k, n = 6, 200
    label = np.repeat(np.arange(k), n)
    rising = np.tile(np.arange(n), k) / n < 0.2 + 0.12 * label
    falling = np.tile(np.arange(n), k) / n < 0.8 - 0.12 * label
    found = scored(RankPersistence(), conditions({"none": rising, "linf": rising, "l2": falling}, label, k))
    assert found[None, "rank-persistence/linf/none"].value == pytest.approx(1.0)
    assert found[None, "rank-persistence/l2/linf"].value == pytest.approx(-1.0)
    assert (found[None, "rank-persistence/l2/linf"].high or 0.0) < 0
    assert found[None, "rank-persistence"].value == pytest.approx((1 + 2 * (-1 / 3)) / 3)
    assert scored(RankPersistence(), conditions({"none": rising}, label, k)) == {}


def test_coverage_of_rank_persistence() -> None:
    """True accuracies of ten classes under two threats, correlated; the same samples are harder under both."""
    random, held = np.random.default_rng(2), []
    k = 10
    for n, correlation in product((20, 100), (0.0, 0.5, 0.8)):
        for _ in range(16):
            z = random.standard_normal((2, k))
            z[1] = correlation * z[0] + np.sqrt(1 - correlation**2) * z[1]
            true = 0.3 + 0.6 / (1 + np.exp(-1.7 * z))
            label = np.repeat(np.arange(k), n)
            common = random.standard_normal(k * n)
            right = {}
            for name, rate in zip(("a", "b"), true, strict=True):
                own = np.sqrt(0.5) * common + np.sqrt(0.5) * random.standard_normal(k * n)
                right[name] = stats.norm.cdf(own) < rate[label]
            score = scored(RankPersistence(), conditions(right, label, k))[None, "rank-persistence/a/b"]
            wanted = correlations(true.T)[0, 1]
            held.append((score.low or 0) - 1e-9 <= wanted <= (score.high or 0) + 1e-9)
    print("rank persistence", np.mean(held))
    assert 0.93 - 0.045 <= np.mean(held) <= 0.97 + 0.03  # two standard errors of so many draws


def test_cfps_agreement_of_the_finding() -> None:
    """Weak classes that swallow nothing: the correlation is above 0. Without an error there is none."""
    label = [c for c in range(4) for _ in range(50)]
    predicted = [3 if c < 3 and i < 40 - 10 * c else c for c in range(4) for i in range(50)]
    score = scored(CfpsAgreement(), verdicts(label, predicted, 4))[None, "cfps-agreement"]
    assert (score.value or 0) > 0.5
    assert score.n == 4
    assert scored(CfpsAgreement(), verdicts(label, label, 4))[None, "cfps-agreement"].value is None
