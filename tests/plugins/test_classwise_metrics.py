"""Areas, smallest distances and flows: closed forms, laws, and how often their intervals hold the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from classrob.parts import Metric
from classrob.statistics.intervals import rate
from classrob.table import Score, Table
from classrob_classwise import area as module
from classrob_classwise.area import AccuracyRobustnessArea, area
from classrob_classwise.distances import DistanceQuantiles, quantile
from classrob_classwise.flow import Flow, targeted_flow

Draw = Callable[[np.random.Generator, int], np.ndarray[Any, Any]]
NEVER = np.inf


def sweep(distances: Sequence[float], budgets: Sequence[float], labels: Sequence[int], k: int) -> Table:
    """A nested sweep's rows: broken from the first budget on that holds the sample's distance."""
    rows = [
        (str(i), label, (label + 1) % k if distance <= budget else label, budget, distance)
        for i, (label, distance) in enumerate(zip(labels, distances, strict=True))
        for budget in budgets
    ]
    sample, label, predicted, budget, distance = zip(*rows, strict=True)
    columns: dict[str, np.ndarray[Any, Any]] = {
        "sample": np.array(sample, dtype=object),
        "label": np.array(label, dtype=np.int64),
        "predicted": np.array(predicted, dtype=np.int64),
        "budget": np.array(budget, dtype=np.float64),
        "distance": np.array([d if d <= b else np.nan for d, b in zip(distance, budget, strict=True)]),
    }
    return Table(tuple(f"c{i}" for i in range(k)), None, columns)


def verdicts(label: list[int], predicted: list[int], k: int, budget: float | None = 0.1) -> Table:
    columns: dict[str, np.ndarray[Any, Any]] = {
        "sample": np.array([str(i) for i in range(len(label))], dtype=object),
        "label": np.array(label, dtype=np.int64),
        "predicted": np.array(predicted, dtype=np.int64),
        "budget": np.full(len(label), np.nan if budget is None else budget),
    }
    return Table(tuple(f"c{i}" for i in range(k)), budget, columns)


def scored(metric: Metric, table: Table, clean: Table | None = None) -> dict[tuple[str | None, str], Score]:
    return {(score.label, score.name): score for score in metric.compute(table, clean or table)}


# -- the area -----------------------------------------------------------------------------------------


def test_the_papers_hand_check() -> None:
    """Distances 0, .1, .2, .3 and ten classes: .65·.1 + .4·.1 + .15·.1 = 0.12; less where it ends at .2."""
    table = sweep([0.0, 0.1, 0.2, 0.3], [0.05, 0.15, 0.25, 0.4], [0, 0, 0, 0], 10)
    assert scored(AccuracyRobustnessArea(), table)[None, "ara"].value == pytest.approx(0.12)
    table = sweep([0.0, 0.1, 0.2, 0.3], [0.1, 0.2], [0, 0, 0, 0], 10)
    assert scored(AccuracyRobustnessArea(), table)[None, "ara"].value == pytest.approx(0.105)


def test_the_area_of_a_class_takes_off_the_same_guess() -> None:
    """Two classes, guess 1/2. One never breaks: 1/2 · 0.4. The other breaks at 0.1: 1/2 · 0.1. Both: 0.1 · 1/2."""
    table = sweep([NEVER, NEVER, 0.1, 0.1], [0.2, 0.4], [0, 0, 1, 1], 2)
    found = scored(AccuracyRobustnessArea(), table)
    assert {label: score.value for (label, _), score in found.items()} == pytest.approx(
        {None: 0.05, "c0": 0.2, "c1": 0.05}
    )
    assert [found[label, "ara"].n for label in (None, "c0", "c1")] == [4, 2, 2]


def test_the_smallest_of_several_distances_counts() -> None:
    """At a larger budget a sweep may keep an example that is further away."""
    table = sweep([0.1, 0.1], [0.1, 0.2, 0.4], [0, 0], 2)
    table.columns["distance"][:] = [0.1, 0.15, 0.35, 0.1, 0.2, np.nan]
    assert scored(AccuracyRobustnessArea(), table)[None, "ara"].value == pytest.approx(0.05)


def test_unperturbed_images_have_no_area_and_no_distance() -> None:
    clean = sweep([0.0, NEVER], [np.nan], [0, 1], 2)
    assert scored(AccuracyRobustnessArea(), clean) == {}
    assert scored(DistanceQuantiles(), clean) == {}


DISTANCES = st.lists(st.one_of(st.floats(0, 2), st.just(NEVER)), min_size=1, max_size=40)


@settings(deadline=None)
@given(DISTANCES, st.sampled_from([0.1, 0.5, 1.0]), st.integers(1, 6), st.data())
def test_laws_of_the_area(distances: list[float], largest: float, k: int, data: st.DataObject) -> None:
    found, guess = np.array(distances), 1 / k
    value, low, high = area(found, largest, guess)
    assert 0 <= low <= value <= high <= (1 - guess) * largest + 1e-12
    assert area(found[data.draw(st.permutations(range(len(found))))], largest, guess) == (value, low, high)
    further = area(found + np.array(data.draw(st.lists(st.floats(0, 1), min_size=len(found), max_size=len(found)))),
                   largest, guess)  # fmt: skip
    assert all(b >= a - 1e-12 for a, b in zip((value, low, high), further, strict=True))
    assert area(3 * found, 3 * largest, guess) == pytest.approx((3 * value, 3 * low, 3 * high))
    assert area(found, 2 * largest, guess)[0] >= value - 1e-12


@settings(deadline=None)
@given(DISTANCES, st.integers(2, 4), st.data())
def test_scores_ignore_the_order_of_rows(distances: list[float], k: int, data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.integers(0, k - 1), min_size=len(distances), max_size=len(distances)))
    table = sweep(distances, [0.2, 0.7, 1.1], labels, k)
    order = np.array(data.draw(st.permutations(range(len(table)))))
    turned = Table(table.classes, None, {name: column[order] for name, column in table.columns.items()})
    for metric in (AccuracyRobustnessArea(), DistanceQuantiles()):
        assert scored(metric, table) == scored(metric, turned)


@pytest.mark.parametrize(("hits", "n"), [(0, 12), (3, 12), (12, 12), (40, 50), (199, 200)])
def test_where_the_area_is_a_rate_its_interval_is_nearly_mid_p(hits: int, n: int) -> None:
    distance = np.where(np.arange(n) < hits, NEVER, 0.0)
    low, high = rate(hits, n)
    wanted = (2 * hits / n, 2 * low, 2 * high)
    assert area(distance, 2.0, 0.0) == pytest.approx(wanted, abs=0.2 * (wanted[2] - wanted[1]))


def forget() -> None:
    module._steps.cache_clear()
    module._curves.cache_clear()


@pytest.mark.parametrize("n", [120, 300, 1500])
def test_with_many_samples_curves_drawn_at_fewer_places_do(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ends agree to a tenth of the interval; that is what 4,000 draws vary."""
    distance = np.random.default_rng(0).gamma(2, 0.2, n)
    value, low, high = area(distance, 1.0, 0.1)
    monkeypatch.setattr(module, "PLACES", n + 1)
    forget()
    fine = area(distance, 1.0, 0.1)
    forget()
    assert fine == pytest.approx((value, low, high), abs=(high - low) / 20)


SHAPES: dict[str, Draw] = {
    "half break at once": lambda r, n: np.where(r.random(n) < 0.5, 0.0, NEVER),
    "one in fifty breaks": lambda r, n: np.where(r.random(n) < 0.02, 0.0, NEVER),
    "near the guess": lambda r, n: np.where(r.random(n) < 0.88, 0.0, 3 * r.random(n)),
    "even": lambda r, n: r.random(n),
    "close": lambda r, n: r.exponential(0.1, n),
    "far": lambda r, n: r.gamma(4.0, 0.4, n),
    "a fifth is wrong": lambda r, n: np.where(r.random(n) < 0.2, 0.0, r.gamma(2.0, 0.15, n)),
    "long tail": lambda r, n: np.exp(r.normal(-3.0, 1.5, n)),
    "on a grid": lambda r, n: np.round(8 * r.gamma(2.0, 0.2, n)) / 8,
}


#: Shapes whose distances are all different.
SMOOTH = ("even", "close", "far", "long tail")


@pytest.mark.parametrize("n", [20, 100])
def test_intervals_hold_the_truth_and_are_no_wider_than_need_be(n: int) -> None:
    """In 93 to 97 % of 600 draws from each shape, on average; of the quantiles, where distances are not on a grid."""
    draws, guess = 600, 0.1
    of_area: list[float] = []
    of_quantile: list[float] = []
    for name, draw in SHAPES.items():
        random = np.random.default_rng(5)
        population = draw(random, 1_000_000)
        truth = plain_area(population, guess)
        shares = (0.1, 0.25, 0.5, 0.75, 0.9) if name in SMOOTH else ()
        true = np.quantile(population, shares, method="inverted_cdf")
        held, inside = 0, np.zeros(len(shares))
        for _ in range(draws):
            sample = draw(random, n)
            _, low, high = area(sample, 1.0, guess)
            held += low - 1e-9 <= truth <= high + 1e-9
            for i, share in enumerate(shares):
                _, lower, upper = quantile(sample, share, 1e9)
                inside[i] += (lower or 0.0) <= true[i] <= (NEVER if upper is None else upper)
        of_area.append(held / draws)
        of_quantile += (inside / draws).tolist()
    assert 0.93 <= np.mean(of_area) <= 0.97, of_area
    assert 0.93 <= np.mean(of_quantile) <= 0.97, of_quantile
    assert min(of_area) > 0.85
    assert min(of_quantile) > 0.91


def plain_area(distance: np.ndarray[Any, Any], guess: float) -> float:
    """By the definition, on a fine grid."""
    middle = (np.arange(20_000) + 0.5) / 20_000
    standing = 1 - np.searchsorted(np.sort(distance), middle, side="right") / len(distance)
    return float(np.maximum(standing - guess, 0).mean())


# -- distances ----------------------------------------------------------------------------------------


def test_quantiles_by_hand() -> None:
    """Of eleven samples nine fall at 0, 0.01, …, 0.08, two never. P(X ≤ 2) = 3.27 %, P(X ≤ 1) = 0.59 % for X of 11 at 1/2.

    So the ends lie (2.5 − 0.59) / (3.27 − 0.59) = 0.713 of the way from the 2nd place to the 3rd, and back.
    """
    distance = np.array([NEVER, *np.arange(9) / 100, NEVER])
    value, low, high = quantile(distance, 0.5, 0.3)
    assert (value, low, high) == (0.05, pytest.approx(0.01713, abs=1e-5), None)
    finite = np.concatenate([np.arange(9) / 100, [0.09, 0.1]])
    assert quantile(finite, 0.5, 0.3) == pytest.approx((0.05, 0.01713, 0.08287), abs=1e-5)
    assert quantile(np.full(30, NEVER), 0.5, 0.3) == (None, 0.3, None)
    assert quantile(np.array([0.2]), 0.5, 0.3) == (0.2, pytest.approx(0.02), None)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("n", [1, 7, 20, 30, 101, 1000])
def test_places_follow_the_binomial(n: int, share: float) -> None:
    """The exact tails of the two places that an end lies between; where there is no upper one the lower has both tails."""
    value, low, high = quantile(np.arange(1, n + 1.0), share, 2.0 * n)
    assert value == round(n * share + 0.4999999)
    tail = 0.05 if high is None else 0.025
    assert stats.binom.cdf(np.floor(low or 0.0) - 1, n, share) <= tail + 1e-12
    assert stats.binom.cdf(np.floor(low or 0.0), n, share) > tail
    if high is not None:
        assert stats.binom.sf(np.ceil(high) - 1, n, share) <= 0.025 + 1e-12
        assert high <= 1 or stats.binom.sf(np.ceil(high) - 2, n, share) > 0.025


def test_quantiles_per_class_with_their_names() -> None:
    table = sweep([0.0, 0.1, 0.3, NEVER, NEVER, NEVER], [0.2, 0.4], [0, 0, 0, 1, 1, 1], 3)
    found = scored(DistanceQuantiles(), table)
    names = ["distance-q10", "distance-q25", "distance-median", "distance-q75", "distance-q90"]
    assert list(found) == [(label, name) for label in (None, "c0", "c1") for name in names]
    assert found["c0", "distance-median"].value == pytest.approx(0.1)
    assert found["c1", "distance-median"].value is None
    assert found[None, "distance-median"].value == pytest.approx(0.3)
    named = scored(DistanceQuantiles(quantiles=(0.025, 0.5)), table)
    assert {name for _, name in named} == {"distance-q2.5", "distance-median"}


@pytest.mark.parametrize("quantiles", [(0.5, 0.1), (0.0,), (1.0,), (0.5, 0.5), (float("nan"),)])
def test_quantiles_ascend_between_0_and_1(quantiles: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="quantiles ascend"):
        DistanceQuantiles(quantiles=quantiles)


# -- flows --------------------------------------------------------------------------------------------


def test_the_flow_of_the_right_samples() -> None:
    """Of c0's four samples three are right at first; two of these end in c1, and one in c2. Nothing else moves."""
    clean = verdicts([0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 1, 2, 2], 3, None)
    under = verdicts([0, 0, 0, 0, 1, 1, 2], [1, 2, 1, 1, 1, 2, 2], 3)
    assert list(Flow().compute(under, clean)) == [
        Score("c0", "flow-to/c1", 2 / 3, *rate(2, 3), 3),
        Score("c0", "flow-to/c2", 1 / 3, *rate(1, 3), 3),
    ]
    assert list(Flow().compute(clean, clean)) == []


@given(st.integers(2, 6), st.data())
def test_flows_and_what_stands_add_up(k: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 60))
    label, before, after = (
        data.draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n)) for _ in range(3)
    )
    found = scored(Flow(), verdicts(label, after, k), verdicts(label, before, k, None))
    for c in range(k):
        right = [i for i in range(n) if label[i] == before[i] == c]
        stand = sum(after[i] == c for i in right)
        out = [score.value or 0.0 for (source, _), score in found.items() if source == f"c{c}"]
        assert sum(out) * len(right) + stand == pytest.approx(len(right))
    assert all(score.value for score in found.values())


def test_many_classes_keep_their_largest_flows() -> None:
    k = 30
    label = [i for i in range(k) for _ in range(k)]
    after = [min(j, i + 1) if i % 2 else j for i in range(k) for j in range(k)]
    clean, under = verdicts(label, label, k, None), verdicts(label, after, k)
    every, some = (scored(Flow(pairs=pairs), under, clean) for pairs in (10_000, 15))
    assert len(scored(Flow(), under, clean)) == 100 < len(every)
    assert len(some) == 15
    least = min(score.value or 0.0 for score in some.values())
    assert all((score.value or 0.0) <= least for key, score in every.items() if key not in some)


def test_targeted_flow_by_hand() -> None:
    """A sample that two members drive to the same class is one sample, arrived if either got it there."""
    sample = np.array(["a", "a", "a", "b", "b", "c", "c"], dtype=object)
    label = np.array([0, 0, 0, 0, 0, 1, 1])
    target = np.array([1, 1, 2, 1, -1, 0, 1])
    predicted = np.array([0, 1, 1, 0, 1, 2, 1])
    assert list(targeted_flow(label, target, predicted, ("x", "y", "z"), sample)) == [
        Score("x", "targeted-flow-to/y", 1 / 2, *rate(1, 2), 2),
        Score("x", "targeted-flow-to/z", 0.0, *rate(0, 1), 1),
        Score("y", "targeted-flow-to/x", 0.0, *rate(0, 1), 1),
    ]
    alone = next(targeted_flow(label, target, predicted, ("x", "y", "z")))
    assert (alone.value, alone.n) == (1 / 3, 3)
    assert len(list(targeted_flow(label, target, predicted, ("x", "y", "z"), sample, pairs=1))) == 1
    empty = np.array([], dtype=np.int64)
    assert list(targeted_flow(empty, empty, empty, ("x", "y"))) == []


@given(st.integers(2, 5), st.data())
def test_targeted_flow_ignores_the_order_of_trials(k: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 50))
    columns = [np.array(data.draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n))) for _ in range(3)]
    sample = np.array([f"{i // 3}-{columns[0][i]}" for i in range(n)], dtype=object)
    order = np.array(data.draw(st.permutations(range(n))))
    names = tuple(f"c{i}" for i in range(k))
    found = list(targeted_flow(*columns, names, sample))
    assert found == list(targeted_flow(*(c[order] for c in columns), names, sample[order]))
    assert all(0.0 <= (score.value or 0.0) <= 1.0 for score in found)
