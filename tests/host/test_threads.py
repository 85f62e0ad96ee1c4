"""Threads: the faster choice is taken, and the number is put back."""

from __future__ import annotations

import time

import pytest
import torch

from classrob.live import Batch, Classifier
from classrob.threads import limited, worth


class Pretending(torch.nn.Module):
    """Takes as long as it is told for one thread and for several."""

    def __init__(self, one: float, several: float) -> None:
        super().__init__()
        self.one, self.several = one, several

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(self.one if torch.get_num_threads() == 1 else self.several)
        return images.flatten(1)[:, :2]


@pytest.mark.parametrize(("one", "several", "expected"), [(0.05, 0.01, 2), (0.02, 0.02, 1), (0.01, 0.05, 1)])
def test_the_faster_choice_is_taken(one: float, several: float, expected: int) -> None:
    batch = Batch(tuple("abcdefgh"), torch.rand(8, 1, 2, 2), torch.zeros(8, dtype=torch.int64))
    with limited(2):
        assert worth(Classifier(Pretending(one, several)), batch) == expected
        assert torch.get_num_threads() == 2


def test_the_number_is_put_back_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), limited(before + 1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == before
