"""The audit sees through every broken defence, by the signs that belong to it, and leaves the honest model alone."""

from __future__ import annotations

import pytest

from classrob.audit.signs import SIGNS

from .conftest import HONEST, Broken
from .defences import DEFENCES

BLIND = {"zero-gradients", "black-box-beats-gradients", "large-budget-stands", "transfer-beats-gradients"}

#: What must fire at the least, and what must not, being no fault of that defence.
SEEN = {
    "Quantised": BLIND,
    "Saturated": BLIND - {"large-budget-stands"},  # the margin has a slope
    "Preprocessed": BLIND - {"large-budget-stands"},
    "Resized": {"not-deterministic"},
    "Shattered": {"black-box-beats-gradients"},
    "Stepped": {"zero-gradients", "more-effort-helps", "random-start-matters", "noise-beats-gradients"},
    "Detached": {"black-box-beats-gradients", "large-budget-stands", "transfer-beats-gradients"},
    "Ungraphed": BLIND - {"large-budget-stands"},
    "Clipped": BLIND,
    "Noisy": {"not-deterministic"},
    "Neighbourly": {"batch-dependent"},
}


def test_every_defence_has_its_signs() -> None:
    assert list(SEEN) == [cls.__name__ for cls in DEFENCES]
    assert set().union(*SEEN.values()) <= set(SIGNS)


@pytest.mark.parametrize("name", SEEN)
def test_a_broken_defence_is_seen(broken: Broken, name: str) -> None:
    assert broken.fired(name) >= SEEN[name]


def test_the_honest_model_is_left_alone(broken: Broken) -> None:
    states = {f.sign: f.state for f in broken.audit.findings if f.model == HONEST}
    assert states == dict.fromkeys(SIGNS, "silent")


def test_every_sign_has_been_seen_to_fire(broken: Broken) -> None:
    assert {f.sign for f in broken.audit.fired} == set(SIGNS)


def test_what_fired_says_what_to_do_and_on_what_evidence(broken: Broken) -> None:
    for found in broken.audit.fired:
        assert found.overall is not None
        assert SIGNS[found.sign].remedy in found.text
        assert str(found.overall.hits) in found.text
        shares = (found.overall, *found.classes)
        assert any(share.low > found.threshold for share in shares)
        assert sum(share.n for share in found.classes) == found.overall.n
        assert sum(share.hits for share in found.classes) == found.overall.hits


def test_without_a_graph_searches_are_not_checked_and_say_why(broken: Broken) -> None:
    for sign in ("more-effort-helps", "random-start-matters", "large-budget-stands"):
        found = broken.finding("Ungraphed", sign)
        assert found.state == "not checked"
        assert "no gradient attack can run" in found.text
    assert "finds no gradient to follow" in broken.finding("Ungraphed", "black-box-beats-gradients").text
    found = broken.finding("Noisy", "batch-dependent")
    assert found.state == "not checked"
    assert "not-deterministic" in found.text


def test_what_the_run_overstates_is_counted(broken: Broken) -> None:
    """The run's two steps of PGD move nothing past a rounding: whatever queries break, it counts as standing."""
    found = broken.finding("Quantised", "black-box-beats-gradients")
    assert found.overall is not None
    assert found.overturned == found.overall.hits > 0
