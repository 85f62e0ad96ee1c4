"""`classrob.convolutions`: a gradient that comes back a faster way is the gradient."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from classrob.convolutions import LeanConvolutions
from classrob.live import Classifier
from classrob.tuning import tuned


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


Pair = tuple[int, int]
sides = st.integers(1, 14)
pairs = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731


def returned(x: Tensor, weight: Tensor, bias: Tensor, stride: Pair, padding: Pair, back: Tensor) -> None:
    """The lean gradient is torch's to rounding, and the values are to the bit."""
    plain = F.conv2d(x, weight, bias, stride, padding)
    with LeanConvolutions() as lean:
        other = F.conv2d(x, weight, bias, stride, padding)
    assert lean.seen == 1
    assert plain.equal(other)
    (expected,), (found,) = torch.autograd.grad(plain, x, back), torch.autograd.grad(other, x, back)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=150, deadline=None)
@given(
    channels=st.integers(1, 8),
    size=st.tuples(sides, sides),
    kernel=pairs(1, 6),
    stride=pairs(1, 6),
    padding=pairs(0, 7),
    seed=st.integers(0, 10**6),
)
def test_any_convolution_of_few_channels_has_its_own_gradient(
    channels: int, size: Pair, kernel: Pair, stride: Pair, padding: Pair, seed: int
) -> None:
    assume(channels <= 4 or min(stride) > 1)
    assume(all(k <= s + 2 * p for k, s, p in zip(kernel, size, padding, strict=True)))
    x = drawn(seed, 2, channels, *size).requires_grad_()
    weight, bias = drawn(seed + 1, 5, channels, *kernel), drawn(seed + 2, 5)
    back = drawn(seed + 3, *F.conv2d(x, weight, bias, stride, padding).shape)
    returned(x, weight, bias, stride, padding, back)


@settings(max_examples=50, deadline=None)
@given(
    channels=st.integers(1, 20),
    size=st.tuples(sides, sides),
    stride=pairs(1, 6),
    innermost=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_so_has_any_of_single_pixels_that_leaves_some_out(
    channels: int, size: Pair, stride: Pair, innermost: bool, seed: int
) -> None:
    assume(max(stride) > 1)
    x = drawn(seed, 2, channels, *size).requires_grad_()
    weight, bias = drawn(seed + 1, 5, channels, 1, 1), drawn(seed + 2, 5)
    back = drawn(seed + 3, *F.conv2d(x, weight, bias, stride).shape)
    layout = torch.channels_last if innermost else torch.contiguous_format
    returned(x, weight, bias, stride, (0, 0), back.contiguous(memory_format=layout))


@pytest.mark.parametrize("innermost", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("channels", "stride"), [(1, 1), (3, 1), (3, 2), (8, 2)])
def test_it_comes_back_in_the_type_of_the_images_whatever_their_order(
    channels: int, stride: int, dtype: torch.dtype, innermost: bool
) -> None:
    layout = torch.channels_last if innermost else torch.contiguous_format
    exact, weight = drawn(0, 2, channels, 9, 10), drawn(1, 5, channels, 3, 3)
    slopes = list[Tensor]()
    for lean, kind in ((False, torch.float64), (True, dtype)):
        x = exact.to(kind).contiguous(memory_format=layout).requires_grad_()
        with LeanConvolutions() if lean else nullcontext():
            found = F.conv2d(x, weight.to(kind).contiguous(memory_format=layout), None, stride, 1)
        back = drawn(2, *found.shape).to(kind).contiguous(memory_format=layout)
        slopes.append(torch.autograd.grad(found, x, back)[0])
    assert slopes[1].dtype == dtype
    assert torch.allclose(slopes[1].double(), slopes[0], atol=0.1 if dtype == torch.bfloat16 else 1e-4)


@pytest.mark.parametrize(("channels", "side"), [(1, 1), (1, 3), (3, 3)])
def test_it_can_be_differentiated_again_and_mapped(channels: int, side: int) -> None:
    weight = drawn(0, 3, channels, side, side)

    def network(x: Tensor) -> Tensor:
        with LeanConvolutions():
            return F.conv2d(x, weight, None, 2, side // 2).tanh()

    x = drawn(1, 2, channels, 5, 6).requires_grad_()
    assert torch.autograd.gradcheck(network, x)
    assert torch.autograd.gradgradcheck(network, x)
    alone = torch.stack([torch.func.grad(lambda one: network(one[None]).sum())(one) for one in x])
    mapped = torch.vmap(torch.func.grad(lambda one: network(one[None]).sum()))(x.detach())
    assert torch.allclose(mapped, alone)


def _calls() -> dict[str, tuple[Tensor, Tensor, dict[str, object]]]:
    image = drawn(0, 1, 2, 6, 6)
    moving, weight = image.clone().requires_grad_(), drawn(1, 4, 2, 3, 3)
    return {
        "no gradient is wanted": (image, weight, {}),
        "the weights are trained": (moving, weight.clone().requires_grad_(), {}),
        "many channels": (drawn(2, 1, 5, 6, 6).requires_grad_(), drawn(3, 4, 5, 3, 3), {}),
        "more channels": (drawn(2, 1, 9, 6, 6).requires_grad_(), drawn(3, 4, 9, 3, 3), {"stride": 2}),
        "all pixels": (drawn(2, 1, 5, 6, 6).requires_grad_(), drawn(3, 4, 5, 1, 1), {}),
        "groups": (moving, drawn(4, 4, 1, 3, 3), {"groups": 2}),
        "gaps": (moving, weight, {"dilation": 2}),
        "padding by name": (moving, weight, {"padding": "same"}),
    }


@pytest.mark.parametrize("what", _calls())
def test_other_convolutions_are_left_alone(what: str) -> None:
    images, weight, more = _calls()[what]
    with LeanConvolutions() as lean:
        found = F.conv2d(images, weight, **more)  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert lean.seen == 0
    assert found.equal(F.conv2d(images, weight, **more))  # pyright: ignore[reportCallIssue, reportArgumentType]


class Net(nn.Module):
    """One convolution and a linear layer, with fixed random weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.linear = nn.Conv2d(channels, 8, 3, padding=1), nn.Linear(8 * 64, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.conv(images).relu().flatten(1))


class Odd(Net):
    """Its gradient is another one at every call."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * torch.rand(())


@pytest.mark.parametrize(("net", "channels", "expected"), [(Net, 3, True), (Net, 6, False), (Odd, 3, False)])
def test_a_classifier_is_tuned_to_it_where_the_gradient_comes_out_the_same(
    net: type[Net], channels: int, expected: bool
) -> None:
    classifier = Classifier(net(channels))
    images = drawn(0, 20, channels, 8, 8).float().sigmoid()
    with classifier.frozen():
        tuning = tuned(classifier, images, 16)
        assert tuning.lean is expected
        if not expected:
            return
        slopes, logits = list[Tensor](), list[Tensor]()
        for lean in (False, True):
            classifier.lean = lean
            x = images.clone().requires_grad_()
            said = classifier(x)
            slopes.append(torch.autograd.grad(said.square().sum(), x)[0])
            logits.append(said)
    assert logits[0].equal(logits[1])
    assert not slopes[0].equal(slopes[1])
    assert torch.allclose(*slopes, rtol=1e-4, atol=1e-6)
