"""Tuning: the faster choices are taken, the number of threads is put back, a given batch size is kept."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch

from classrob.live import Classifier
from classrob.tuning import limited, tuned


class Pretending(torch.nn.Module):
    """Takes as long as it is told: for a call, for an image, and more on one thread or on several."""

    def __init__(self, call: float, image: float, one: float = 1.0, several: float = 1.0) -> None:
        super().__init__()
        self.call, self.image, self.one, self.several = call, image, one, several

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        factor = self.one if torch.get_num_threads() == 1 else self.several
        time.sleep(factor * (self.call + self.image * len(images)))
        return images.flatten(1)[:, :2]


IMAGES = torch.zeros(8, 1, 2, 2)


@pytest.mark.parametrize(("one", "several", "expected"), [(5, 1, 2), (1, 1, 1), (1, 5, 1)])
def test_the_faster_choice_is_taken(one: float, several: float, expected: int) -> None:
    with limited(2):
        found = tuned(Classifier(Pretending(0.01, 0.0, one, several)), IMAGES, 16)
        assert (found.threads, found.batch_size) == (expected, 16)
        assert torch.get_num_threads() == 2


def test_a_call_that_costs_more_than_its_images_gets_many_of_them() -> None:
    with limited(1):
        assert tuned(Classifier(Pretending(0.02, 0.0)), IMAGES, None).batch_size == 256


def test_images_that_cost_all_stay_few() -> None:
    with limited(1):
        assert tuned(Classifier(Pretending(0.0, 0.005)), IMAGES, None).batch_size == 16


def test_the_number_is_put_back_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), limited(before + 1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


class Detached(torch.nn.Module):
    """Lets no gradient through."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.detach().flatten(1)[:, :2]


def test_a_model_without_a_gradient_is_timed_forwards() -> None:
    assert tuned(Classifier(Detached()), IMAGES, 16).batch_size == 16


class Convolving(torch.nn.Module):
    """One convolution, whose result is read as rows of numbers by a view or by a reshape."""

    def __init__(self, views: bool) -> None:
        super().__init__()
        self.views, self.conv = views, torch.nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.conv(images)
        rows = found.view(len(found), -1) if self.views else found.flatten(1)
        return rows[:, :2]


@pytest.mark.parametrize(
    ("side", "views", "expected"), [(24, False, True), (24, True, False), (16, False, False)]
)
def test_channels_go_innermost_where_it_pays_and_the_model_takes_it(
    side: int, views: bool, expected: bool
) -> None:
    classifier, images = Classifier(Convolving(views)), torch.zeros(8, 1, side, side)
    with classifier.frozen(), limited(1):
        classifier.channels_last = tuned(classifier, images, 16).channels_last
        assert classifier.channels_last == expected
        assert classifier.twin()(images).shape == (8, 2)


def test_tuning_brings_in_no_compiler() -> None:
    """It would take a second of every process."""
    code = """
import sys, torch
from classrob.live import Classifier
from classrob.tuning import tuned
tuned(Classifier(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten())), torch.rand(16, 1, 8, 8), 16)
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
