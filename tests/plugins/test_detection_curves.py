"""Areas and rates of detectors: as scikit-learn has them, with intervals that hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from classrob_detectors.curves import UNDEFINED, Contrast, rate_at

SCORES = st.lists(st.integers(-5, 5), min_size=1, max_size=30).map(lambda x: np.array(x, float))


@given(SCORES, SCORES)
@settings(max_examples=60, deadline=None)
def test_figures_are_those_of_scikit_learn_also_with_ties(positive: np.ndarray, negative: np.ndarray) -> None:
    contrast = Contrast(positive, negative)
    truth = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    score = np.r_[positive, negative]
    false, true, _ = roc_curve(truth, score, drop_intermediate=False)
    for found, wanted in (
        (contrast.auroc(), roc_auc_score(truth, score)),
        (contrast.aupr(), average_precision_score(truth, score)),
        (contrast.false_positive_rate(), false[np.argmax(true >= 0.95)]),
    ):
        assert found.value == pytest.approx(wanted, abs=1e-12)
        assert found.value is not None
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= found.value <= found.high <= 1


@given(SCORES, SCORES)
@settings(max_examples=40, deadline=None)
def test_only_the_order_counts_and_turning_round_turns_the_area(
    positive: np.ndarray, negative: np.ndarray
) -> None:
    contrast = Contrast(positive, negative)
    assert contrast.auroc() == Contrast(np.exp(positive), np.exp(negative)).auroc()
    there, back = contrast.auroc(), Contrast(-positive, -negative).auroc()
    assert (there.value, there.low, there.high) == pytest.approx(
        (1 - back.value, 1 - back.high, 1 - back.low)
    )  # type: ignore[operator]
    assert contrast.turned().auroc().value == pytest.approx(there.value)


def test_nothing_to_find_is_no_figure() -> None:
    empty = Contrast(np.zeros(0), np.ones(3))
    assert empty.auroc() == empty.aupr() == empty.false_positive_rate() == UNDEFINED


def _truth(mu: float, sd: float, share: float) -> tuple[float, float]:
    """The true average precision and false-positive rate of normal scores."""
    x = np.linspace(-8, 12, 4001)
    found, wrong = share * norm.sf((x - mu) / sd), (1 - share) * norm.sf(x)
    weight = norm.pdf((x - mu) / sd)
    precision = found / np.maximum(found + wrong, 1e-300)
    return float((precision * weight).sum() / weight.sum()), float(norm.sf(mu + sd * norm.ppf(0.05)))


def test_intervals_hold_the_truth_in_about_95_percent() -> None:
    """Normal scores of equal and of unequal spread, few and many, also nearly perfect ones."""
    rng, held = np.random.default_rng(0), []
    for m, n in ((20, 20), (20, 200), (200, 20), (100, 100)):
        for area in (0.5, 0.7, 0.9, 0.97, 0.99):
            for sd in (1.0, 0.4):
                mu = norm.ppf(area) * np.sqrt(1 + sd**2)
                truth = (area, *_truth(mu, sd, m / (m + n)))
                for _ in range(25):
                    contrast = Contrast(rng.normal(mu, sd, m), rng.normal(0, 1, n))
                    found = (contrast.auroc(), contrast.aupr(), contrast.false_positive_rate())
                    held.append([one.low <= true <= one.high for one, true in zip(found, truth, strict=True)])
    auroc, aupr, fpr = np.mean(held, 0)
    assert 0.945 <= auroc <= 0.98
    assert 0.93 <= aupr <= 0.97
    assert 0.955 <= fpr <= 1.0


def test_pairs_of_one_sample_are_no_independent_images() -> None:
    """Where both images of a sample share most of their score, the interval that knows it is right, and narrower."""
    rng, held, widths = np.random.default_rng(1), [], []
    for _ in range(300):
        common = rng.normal(0, 1, 60)
        positive, negative = common + rng.normal(0.6, 0.5, 60), common + rng.normal(0, 0.5, 60)
        truth = norm.cdf(0.6 / np.sqrt(2.5))
        ids = np.tile(np.arange(60), 2)
        for samples in (ids, None):
            one = Contrast(positive, negative, samples).auroc()
            held.append(one.low <= truth <= one.high)  # type: ignore[operator]
            widths.append(one.high - one.low)  # type: ignore[operator]
    aware, unaware = np.array(held).reshape(-1, 2).mean(0)
    assert 0.92 <= aware <= 0.985
    assert unaware > aware
    assert np.mean(widths[::2]) < 0.8 * np.mean(widths[1::2])


def test_a_rate_at_a_threshold_allows_for_the_threshold() -> None:
    """The share of new images above the threshold that a twentieth of others reaches: 5 %, if both are alike."""
    rng, held = np.random.default_rng(2), []
    for _ in range(300):
        clean, new = rng.normal(0, 1, 80), np.sort(rng.normal(0, 1, 80))
        one = rate_at(clean, 0.05, lambda at, new=new: len(new) - np.searchsorted(new, at, "left"), 80)
        held.append(one.low <= 0.05 <= one.high)  # type: ignore[operator]
    assert 0.94 <= np.mean(held) <= 1.0
