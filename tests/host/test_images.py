"""From pictures to tensors: nothing clipped, nothing guessed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from classrob.images import Fit, tensor_of
from classrob.live import Samples


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([None, 1, 3]), st.integers(0, 99))
def test_bytes_come_through_exactly(height: int, width: int, channels: int | None, seed: int) -> None:
    shape = (height, width) if channels is None else (height, width, channels)
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    tensor = tensor_of(array, Fit())
    assert tensor.shape == (channels or 1, height, width)
    assert np.array_equal(
        (tensor * 255).round().to(torch.uint8).permute(1, 2, 0).numpy().reshape(shape), array
    )
    flat = array.squeeze(-1) if channels == 1 else array
    assert torch.equal(tensor_of(Image.fromarray(flat), Fit()), tensor)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16))
    assert tensor_of(deep, Fit()).flatten().tolist() == pytest.approx([0.0, 0.5, 1.0], abs=1 / 255)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_a_picture_without_a_range_is_refused(dtype: type) -> None:
    with pytest.raises(ValueError, match="no known range"):
        tensor_of(Image.fromarray(np.zeros((2, 2), dtype)), Fit())


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_values_outside_the_unit_range_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="undo the normalisation"):
        tensor_of(np.full((2, 2, 3), value, np.float32), Fit())


def test_grey_becomes_colour_but_never_the_reverse() -> None:
    grey = np.arange(4, dtype=np.uint8).reshape(2, 2)
    assert torch.equal(tensor_of(grey, Fit(channels=3)), tensor_of(grey, Fit()).expand(3, 2, 2))
    with pytest.raises(ValueError, match="has 3 channels, the model takes 1"):
        tensor_of(np.zeros((2, 2, 3), np.uint8), Fit(channels=1))


def test_resizing_follows_timms_crop() -> None:
    """Shorter side to size / crop, then the centre; an image of the right size is left alone."""
    ramp = np.tile(np.linspace(0, 255, 80, dtype=np.uint8), (40, 1))
    small = tensor_of(ramp, Fit(size=(20, 20), crop=1.0))
    assert small.shape == (1, 20, 20)
    assert float(small[0, :, 0].mean()) == pytest.approx(0.25, abs=0.02)  # the middle half of the width
    tight = tensor_of(ramp, Fit(size=(20, 20), crop=0.5))
    assert float(tight[0, :, 0].mean()) == pytest.approx(0.375, abs=0.02)
    exact = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    assert torch.equal(tensor_of(exact, Fit(size=(20, 20), crop=0.9)), tensor_of(exact, Fit()))


@pytest.mark.parametrize("error", [OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError])
def test_what_cannot_be_read_is_left_out_with_its_reason(error: type[Exception]) -> None:
    class One(Samples):
        classes = ("a",)

        def __len__(self) -> int:
            return 3

        def id(self, index: int) -> str:
            return f"s{index}"

        def label(self, index: int) -> int:
            return 0

        def picture(self, index: int) -> np.ndarray:
            if index == 1:
                raise error("torn\nin two")
            return np.full((1, 1), index, np.uint8)

    batch, broken = One().read(range(3), Fit())
    assert batch is not None
    assert batch.ids == ("s0", "s2")
    assert broken == {"s1": "torn in two"}
    assert One().read([1], Fit()) == (None, broken)
