"""The smallest of several rates, their spread, and the agreement of rankings: laws, and coverage in simulation."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from classrob.statistics.classes import Classes
from classrob.statistics.intervals import rate, rates
from classrob.statistics.mixing import mixing
from classrob.statistics.ranks import _ends, agreements, correlations
from classrob.statistics.significance import holm
from classrob.statistics.smallest import smallest
from classrob.statistics.spread import measures, spread

Array = np.ndarray

#: True rates of k classes: all alike, evenly apart, with one class far below, in two camps.
TRUTHS = {
    "alike at 0.7": lambda k: np.full(k, 0.7),
    "alike at 0.95": lambda k: np.full(k, 0.95),
    "0.4 to 0.95": lambda k: np.linspace(0.4, 0.95, k),
    "0.05 to 0.6": lambda k: np.linspace(0.05, 0.6, k),
    "one at 0.5": lambda k: np.r_[0.5, np.full(k - 1, 0.9)],
    "two camps": lambda k: np.r_[np.full(k // 2, 0.6), np.full(k - k // 2, 0.8)],
}


def sizes(kind: str, k: int) -> Array:
    return np.resize([20, 50, 100, 35, 70], k) if kind == "unequal" else np.full(k, int(kind))


COUNTS = st.lists(
    st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=12
)


@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=3, max_size=12))
@settings(deadline=None, max_examples=40)
def test_shared_ranks_are_those_of_scipy(values: list[list[int]]) -> None:
    found = correlations(np.array(values, float))
    with np.errstate(all="ignore"):
        expected = np.nan_to_num(np.corrcoef(stats.rankdata(values, axis=0), rowvar=False))
    assert found == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(COUNTS, st.data())
def test_ends_enclose_the_value_whatever_the_order(
    counts: list[tuple[int, int]], data: st.DataObject
) -> None:
    hits, n = np.array(counts).T
    order = np.array(data.draw(st.permutations(range(len(n)))))
    low, high = smallest(hits, n)
    assert 0 <= low <= (hits / n).min() <= high <= 1
    assert smallest(hits[order], n[order]) == (low, high)
    found = spread(hits, n)
    assert spread(hits[order], n[order]) == found
    for value, least, most in found:
        assert 0 <= least <= value <= most <= 1
    assert [one.value for one in found] == pytest.approx(measures(hits / n).tolist())


@settings(deadline=None, max_examples=10)
@given(
    st.lists(st.sampled_from([(0, 1), (1, 1), (0, 9), (4, 9), (9, 9), (30, 40)]), min_size=51, max_size=55)
)
def test_ends_of_many_classes_enclose_the_value_too(counts: list[tuple[int, int]]) -> None:
    hits, n = np.array(counts).T
    for value, least, most in spread(hits, n):
        assert 0 <= least <= value <= most <= 1


def test_ends_of_many_classes_without_noise_or_difference() -> None:
    for hits, n in ((0, 1), (1, 1), (0, 50), (50, 50), (25, 50)):
        for value, least, most in spread(np.full(60, hits), np.full(60, n)):
            assert (value, least) == (0, 0)
            assert most < 1


def test_the_gini_coefficient_of_two_camps_is_not_taken_for_that_of_a_bell() -> None:
    """Of 1,000 classes of fifty; a distribution of the same standard deviation alone lies too high."""
    random, held = np.random.default_rng(2), []
    true, n = TRUTHS["two camps"](1000), np.full(1000, 50)
    for _ in range(30):
        _, low, high = spread(random.binomial(n, true), n).gini
        held.append(low <= measures(true)[2] <= high)
    assert np.mean(held) >= 0.8


@given(st.integers(1, 200), st.data())
@settings(deadline=None, max_examples=40)
def test_the_smallest_of_one_rate_has_the_interval_of_a_rate(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    assert smallest(np.array([hits]), np.array([n])) == pytest.approx(rate(hits, n), abs=2e-4)


def test_a_class_that_is_clearly_the_worst_has_its_own_interval() -> None:
    """… and one among equals has one that reaches further up."""
    clear = smallest(np.array([20, 98, 99, 97]), np.full(4, 100))
    assert clear == pytest.approx(rate(20, 100), abs=2e-3)
    low, high = smallest(np.full(10, 70), np.full(10, 100))
    assert high > rate(70, 100)[1]
    assert low == pytest.approx(rate(70, 100)[0], abs=0.1)


def test_measures_by_hand() -> None:
    """Of 0, 0, 1, 1: gap 1, deviation 1/2, half the mean difference (8 of 16 pairs) over the mean is 1/2."""
    assert measures(np.array([0.0, 1.0, 0.0, 1.0])).tolist() == [1.0, 0.5, 0.5]
    assert measures(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_coverage_of_the_worst_class_the_gap_the_deviation_and_gini() -> None:
    """Mean coverage over truths, class sizes and numbers of classes: 93 to 97 %; the worst class in no case below 88 %."""
    random, draws = np.random.default_rng(11), 10
    held: list[list[float]] = []
    for k, kind, truth in product((2, 10), ("20", "50", "unequal"), TRUTHS.values()):
        true, n = truth(k), sizes(kind, k)
        wanted = [true.min(), *measures(true)]
        inside = np.zeros(4)
        for _ in range(draws):
            hits = random.binomial(n, true)
            ends = [smallest(hits, n), *(one[1:] for one in spread(hits, n))]
            inside += [low - 1e-9 <= t <= high + 1e-9 for t, (low, high) in zip(wanted, ends, strict=True)]
        held.append((inside / draws).tolist())
    mean = np.mean(held, axis=0)
    print(dict(zip(("worst class", "gap", "deviation", "gini"), mean.round(4).tolist(), strict=True)))
    error = 2 * np.sqrt(0.05 * 0.95 / (draws * len(held)))  # of the draws, about 0.015
    assert (mean >= 0.93 - error).all(), mean
    assert (mean <= 0.97 + error).all(), mean


def test_what_stood_here_before_does_not() -> None:
    """Bonferroni's interval of the worst of ten classes is too wide, the plain one of the lowest class too high."""
    random, true, n = np.random.default_rng(0), np.full(10, 0.7), np.full(10, 50)
    hits = random.binomial(n, true, (400, 10))
    ends = [rates(one, n, 0.05 / 10) for one in hits]
    assert np.mean([low.min() <= 0.7 <= high.min() for low, high in ends]) > 0.97
    plain = [rate(int(one.min()), 50) for one in hits]
    assert np.mean([low <= 0.7 <= high for low, high in plain]) < 0.85


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 20)), min_size=2, max_size=4),
    st.sampled_from([0.0, 0.5, 2 / 3, 1.0]),
)
@settings(deadline=None, max_examples=40)
def test_gaps_are_distributed_as_all_outcomes_say(classes: list[tuple[int, int]], gap: float) -> None:
    n, rates = (np.array(column) for column in zip(*classes, strict=True))
    rates = rates / 20
    less = at_most = 0.0
    for hits in product(*(range(size + 1) for size in n.tolist())):
        chance = float(stats.binom.pmf(hits, n, rates).prod())
        seen = float(np.ptp(np.array(hits) / n))
        less += chance * (seen < gap - 1e-9)
        at_most += chance * (seen <= gap + 1e-9)
    assert Classes(n, np.ones(len(n), int)).gaps(rates, gap) == pytest.approx((less, at_most), abs=1e-9)


def test_expected_spreads_are_those_of_draws() -> None:
    """Of sixty classes of two sizes, alike in groups: means and deviations of 20,000 draws."""
    groups = Classes(np.array([20, 50, 50]), np.array([20, 25, 15]))
    rates = np.array([0.5, 0.7, 0.9])
    n, true = np.repeat(groups.size, groups.count), np.repeat(rates, groups.count)
    drawn = measures(np.random.default_rng(0).binomial(n, true, (20_000, len(n))) / n)[1:]
    mean, deviation = groups.expected(rates)
    assert mean == pytest.approx(drawn.mean(1), rel=0.005)
    assert deviation == pytest.approx(drawn.std(1), rel=0.03)


def test_the_rates_behind_what_is_seen_are_found_without_their_noise() -> None:
    """Two camps of 150 classes of fifty: seen rates run into one another, the true ones are at 0.6 and 0.8."""
    hits = np.random.default_rng(0).binomial(50, np.repeat([0.6, 0.8], 150))
    counts, of = np.unique(hits, return_counts=True)
    rates, weight = mixing(counts, np.full(len(counts), 50), of)
    assert weight.sum() == pytest.approx(1)
    assert weight[np.abs(rates - 0.7) > 0.05].sum() > 0.8
    assert np.sqrt(weight @ (rates - weight @ rates) ** 2) == pytest.approx(0.1, abs=0.015)


# -- rankings -----------------------------------------------------------------------------------------


def test_correlations_by_hand() -> None:
    """1 2 3 4 against 1 3 2 4: 1 − 6 · 2 / (4 · 15) = 0.8; equal values share a rank; a constant agrees with nothing."""
    values = np.array([[1.0, 1.0, 5.0, 0.0], [2, 3, 5, 0], [3, 2, 6, 0], [4, 4, 6, 0]])
    found = correlations(values)
    assert found[0, 1] == pytest.approx(0.8)
    assert found[0, 2] == pytest.approx(4 / np.sqrt(20))
    assert found[0, 3] == 0.0


def test_concordance_is_kendalls() -> None:
    """Three rankings of four, no ties: W = 12 S / (m² (k³ − k)) with S the squares of rank sums from their mean."""
    ranks = np.array([[1.0, 2, 1], [2, 1, 3], [3, 4, 2], [4, 3, 4]])
    sums = ranks.sum(1)
    wanted = 12 * ((sums - sums.mean()) ** 2).sum() / (9 * (64 - 4))
    value, low, high = agreements(ranks, np.tile(0.01 * np.eye(3), (4, 1, 1)), np.ones(4))
    assert value[-1] == pytest.approx(wanted)
    assert (low <= value).all()
    assert (value <= high).all()


def test_three_classes_have_no_interval_and_five_the_one_nearest_to_95_percent() -> None:
    seen = np.array([[0.1, 0.9], [0.5, 0.4], [0.9, 0.5], [0.2, 0.7], [0.6, 0.6]])
    noise = np.tile(0.01 * np.eye(2), (5, 1, 1))
    value, low, high = agreements(seen[:3], noise[:3], np.ones(3))
    assert value[0] == pytest.approx(-0.5)
    assert np.isnan([low, high]).all()
    value, low, high = agreements(seen, noise, np.ones(5))
    assert -1 <= low[0] <= value[0] <= high[0] <= 1
    # draws of −1 (4 %), 0 (93.5 %) and 1 (2.5 %): leaving out the last two and a half, or the first four, or neither
    found = _ends(np.repeat([-1.0, 0.0, 1.0], [40, 935, 25])[:, None])
    assert [float(end[0]) for end in found] == [0.0, 1.0]
    assert [float(end[0]) for end in _ends(np.ones((9, 1)))] == [1.0, 1.0]


def world(random: np.random.Generator, k: int, correlation: float, low: float, high: float) -> Array:
    """A confusion matrix [k, k] of true rates in which accuracy and attraction are correlated."""
    z = random.standard_normal((2, k))
    z[1] = correlation * z[0] + np.sqrt(1 - correlation**2) * z[1]
    right = low + (high - low) / (1 + np.exp(-1.7 * z[0]))
    pull = np.tile(np.exp(0.6 * z[1]), (k, 1))
    np.fill_diagonal(pull, 0)
    matrix = pull / pull.sum(1, keepdims=True) * (1 - right)[:, None]
    np.fill_diagonal(matrix, right)
    return matrix


def test_coverage_of_rank_agreement() -> None:
    """Accuracy against CFPS, true correlations from −0.9 to 0.9; a bootstrap by sample holds it far too seldom."""
    random, held, naive = np.random.default_rng(7), [], []
    for k, n, correlation, span in product(
        (10, 20), (20, 100), (-0.9, -0.5, 0.0, 0.5, 0.9), ((0.3, 0.9), (0.75, 0.98))
    ):
        for _ in range(4):
            matrix = world(random, k, correlation, *span)
            counts = np.stack([random.multinomial(n, row) for row in matrix])
            true = _agreement(matrix)
            value, low, high = _interval(counts, np.full(k, n))
            held.append(low - 1e-9 <= true <= high + 1e-9)
            assert -1 <= low <= value <= high <= 1
            again = np.stack([random.multinomial(n, row / n, 100) for row in counts], 1)
            ends = np.quantile([_agreement(one) for one in again], [0.025, 0.975])
            naive.append(ends[0] <= true <= ends[1])
    print("rank agreement", np.mean(held), "bootstrap", np.mean(naive), len(held))
    assert 0.93 - 0.033 <= np.mean(held) <= 0.97 + 0.033  # two standard errors of so many draws
    assert np.mean(naive) < 0.88


def test_ranks_of_many_noisy_classes_are_not_taken_for_noise() -> None:
    """With four times as much noise as signal a true correlation of 0.8 is seen as 0.15; the interval holds it."""
    random = np.random.default_rng(0)
    true = random.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 1000)
    seen = true + 2 * random.standard_normal((1000, 2))
    value, low, high = agreements(seen, np.tile(4 * np.eye(2), (1000, 1, 1)), np.full(1000, 50))
    assert value[0] < 0.25
    assert low[0] < correlations(true)[0, 1] < high[0]


def _agreement(matrix: Array) -> float:
    right = matrix.diagonal()
    return float(correlations(np.stack([right / matrix.sum(1), matrix.sum(0) - right], 1))[0, 1])


def _interval(counts: Array, n: Array) -> tuple[float, float, float]:
    from classrob_classwise.rankings import agreement

    right = counts.diagonal()
    return agreement(right, n, counts.sum(0) - right)


def test_a_thousand_classes_take_no_time() -> None:
    """Four budgets: the smallest rate and the spread of all classes within a second of one core."""
    random, n = np.random.default_rng(0), np.full(1000, 50)
    begun = time.process_time()
    for mean in np.linspace(0.9, 0.2, 4):
        hits = random.binomial(n, np.clip(random.normal(mean, 0.1, 1000), 0, 1))
        smallest(hits, n)
        spread(hits, n)
    assert time.process_time() - begun < 1.5


def test_holm_of_the_smallest_of_many() -> None:
    p = [0.001, 0.2, 0.04, 0.0004, 0.9]
    assert sorted(holm(p))[:3] == pytest.approx(holm(sorted(p)[:3], tests=5))
