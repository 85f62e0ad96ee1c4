"""Random streams: known bits, no neighbours, no order, and the distributions they claim."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from classrob.streams import Streams, mix


def keyed(n: int, seed: int = 0) -> Streams:
    return Streams.keyed(seed, "data", [str(i) for i in range(n)], "condition")


def test_the_finaliser_is_splitmix64() -> None:
    """The published first outputs of SplitMix64 from state 0: 0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, …"""
    bits = Streams(torch.zeros(1, dtype=torch.int64)).bits(3)[0]
    assert [int(b) & 0xFFFFFFFFFFFFFFFF for b in bits] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=50, unique=True))
def test_the_finaliser_is_a_bijection(values: list[int]) -> None:
    assert len(set(mix(torch.tensor(values)).tolist())) == len(values)


@given(st.permutations(range(12)), st.integers(1, 12))
def test_a_row_draws_the_same_in_any_batch(order: list[int], size: int) -> None:
    whole, rows = keyed(12), torch.tensor(order[:size])
    some = whole.select(rows)
    for draw in (lambda s: s.uniform(3, 2), lambda s: s.normal(5), lambda s: s.fork(2).integers(7, 4)):
        assert torch.equal(draw(some), draw(whole)[rows])


def test_forks_differ_and_rows_may_fork_differently() -> None:
    streams = keyed(3)
    assert not torch.equal(streams.fork(0).uniform(4), streams.fork(1).uniform(4))
    assert not torch.equal(streams.fork("a").uniform(4), streams.fork("b").uniform(4))
    mixed = streams.fork(torch.tensor([0, 1, 0])).uniform(4)
    assert torch.equal(mixed[1], streams.fork(torch.tensor([1, 1, 1])).uniform(4)[1])
    assert torch.equal(mixed[2], streams.fork(torch.tensor([0, 0, 0])).uniform(4)[2])


def test_seed_data_set_sample_and_condition_all_count() -> None:
    keys = {
        int(Streams.keyed(seed, data, [sample], condition).keys[0])
        for seed in (0, 1)
        for data in ("a", "b")
        for sample in ("1", "2")
        for condition in ("x", "y")
    }
    assert len(keys) == 16


def test_uniform_and_normal_are_what_they_say() -> None:
    streams = keyed(50, seed=3)
    uniform, normal = streams.uniform(2000), streams.fork("n").normal(2000)
    assert float(uniform.min()) >= 0.0
    assert float(uniform.max()) < 1.0
    assert stats.kstest(uniform.flatten().numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(normal.flatten().numpy(), "norm").pvalue > 1e-3
    across = torch.corrcoef(uniform)
    assert float((across - torch.eye(50)).abs().max()) < 0.12  # rows of 2,000 draws: sd 0.022


def test_integers_cover_their_range_evenly() -> None:
    counts = torch.bincount(keyed(10).integers(7, 10_000).flatten(), minlength=7)
    assert len(counts) == 7
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
