"""`classrob.scalings`: a model whose normalisation waits for the first convolution says what it always says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from classrob.live import Classifier
from classrob.twin import Twin

Scale = Callable[[Tensor, Tensor, Tensor], Tensor]


def _read_between(x: Tensor, mean: Tensor, std: Tensor, write: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Somebody looks at the values of what is written into afterwards."""
    y = x - mean
    read = y.flip(3)
    write(y, std)
    return y + read


#: What may come before a convolution, of images, numbers a channel, and others above 0.
SCALINGS: dict[str, Scale] = {
    "nothing": lambda x, mean, std: x,
    "a normalisation": lambda x, mean, std: (x - mean) / std,
    "one in place": lambda x, mean, std: (x - mean).div_(std),
    "by methods": lambda x, mean, std: x.sub(mean).mul(1 / std),
    "by functions": lambda x, mean, std: torch.div(torch.sub(x, mean), std),
    "of rows": lambda x, mean, std: (x - mean[None]) / std[None],
    "onto −1 to 1": lambda x, mean, std: x * 2 - 1,
    "whole numbers": lambda x, mean, std: 255 * x + 1,
    "of the same type": lambda x, mean, std: ((x + mean).to(x.dtype) * std).to(x.dtype),
}
#: The same, by what has to look at the scaled values.
LOOKING: dict[str, Scale] = {
    "out of a number": lambda x, mean, std: 1 - (x - mean),
    "a number to each pixel": lambda x, mean, std: (x - mean) * x.new_full(x.shape[1:], 2.0),
    "clamped": lambda x, mean, std: ((x - mean) / std).clamp(-0.5, 0.5),
    "written into": lambda x, mean, std: (x - mean).neg_().mul_(std),
    "padded": lambda x, mean, std: F.pad((x - mean) / std, (1, 1, 1, 1), value=0.5),
    "of a power": lambda x, mean, std: torch.add(x - mean, std, alpha=2),
    "read and then scaled on": lambda x, mean, std: _read_between(x, mean, std, torch.Tensor.div_),
    "read and then written over": lambda x, mean, std: _read_between(x, mean, std, lambda y, s: y.neg_()),
    "by names": lambda x, mean, std: torch.flatten(input=torch.sub(input=x, other=mean), start_dim=2).view_as(
        x
    ),
    "twice": lambda x, mean, std: torch.cat([(half := x - mean)[:, :1] * 2, half[:, 1:]], 1),
}


class Net(nn.Module):
    """A convolution behind a scaling, and a second one of the scaled images beside it."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, scale: Scale, channels: int, stride: int, padding: int, bias: bool, twice: bool
    ) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.scale, self.twice = scale, twice
        self.register_buffer("mean", torch.rand(channels, 1, 1))
        self.register_buffer("std", 0.2 + torch.rand(channels, 1, 1))
        self.conv = nn.Conv2d(channels, 8, 3, stride, padding, bias=bias)
        self.other = nn.Conv2d(channels, 8, 3, stride, padding)
        self.linear = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.scale(images, self.mean, self.std)
        found = self.conv(x).relu_()
        if self.twice:
            found = found + self.other(x) + x.mean()
        return self.linear(F.softsign(found).mean((2, 3)))


def said(model: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    x = images.clone().requires_grad_()
    logits = model(x)
    return logits.detach().float(), torch.autograd.grad(logits.float().square().sum(), x)[0]


def frozen(net: Net) -> Net:
    return net.requires_grad_(False).eval()


@settings(max_examples=60, deadline=None)
@given(
    scale=st.sampled_from([*SCALINGS, *LOOKING]),
    channels=st.integers(1, 4),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    bias=st.booleans(),
    twice=st.booleans(),
    channels_last=st.booleans(),
)
def test_a_lean_form_says_what_the_model_says(
    scale: str, channels: int, stride: int, padding: int, bias: bool, twice: bool, channels_last: bool
) -> None:
    net = frozen(Net((SCALINGS | LOOKING)[scale], channels, stride, padding, bias, twice))
    images = torch.rand(5, channels, 9, 10)
    before = images.clone()
    form = Twin(net, "float32", channels_last, lean=True)
    for _ in range(2):  # the second call finds what the first one kept
        for found, expected in zip(said(form, images), said(net, images), strict=True):
            assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            assert torch.allclose(form(images), net(images), rtol=1e-4, atol=1e-5)
    assert images.equal(before)


@pytest.mark.parametrize("scale", SCALINGS)
def test_a_scaling_costs_no_pass(scale: str) -> None:
    """The convolution is given the images themselves."""
    net = frozen(Net(SCALINGS[scale], 3, 1, 1, True, False))
    form = Twin(net, "float32", False, lean=True)
    with torch.no_grad(), torch.profiler.profile(record_shapes=True) as profile:
        form(torch.rand(16, 3, 8, 8))
        first = len(form.kept.folded)
        form(torch.rand(16, 3, 8, 8))
    assert first == len(form.kept.folded) == 1
    whole = [one.name for one in profile.events() or () if [16, 3, 8, 8] in one.input_shapes]
    assert not {"aten::sub", "aten::div", "aten::mul", "aten::add", "aten::addcmul"}.intersection(whole)


def test_weights_that_are_trained_are_folded_again() -> None:
    net = frozen(Net(SCALINGS["a normalisation"], 3, 1, 1, True, False))
    form, images = Twin(net, "float32", False, lean=True), torch.rand(5, 3, 8, 8)
    form(images)
    with torch.no_grad():
        net.conv.weight.mul_(2.0)
        net.mean.add_(0.1)
        assert torch.allclose(form(images), net(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", SCALINGS)
def test_in_bfloat16_the_images_are_seen_in_float32(scale: str) -> None:
    """A change below what bfloat16 can tell in a bright pixel is not lost, and the form is the one that is fast."""
    net = frozen(Net(SCALINGS[scale], 3, 2, 1, True, False))
    images = 0.9 + 0.01 * torch.rand(16, 3, 8, 8)
    form = Twin(net, "bfloat16", False, lean=True)
    logits, slope = said(form, images)
    assert form.whole is not None
    assert form.innermost
    exact, expected = said(net, images)
    assert torch.allclose(logits, exact, rtol=0.05, atol=0.02)
    assert F.cosine_similarity(slope.flatten(), expected.flatten(), 0) > 0.98
    assert slope.dtype == torch.float32
    seen = next(iter(form.kept.folded.values()))
    assert seen.weight.dtype == torch.float32


def test_a_search_in_float32_has_a_form_of_its_own_where_that_is_lean() -> None:
    net = Net(SCALINGS["a normalisation"], 3, 1, 1, True, False)
    classifier = Classifier(net, lean=True)
    with classifier.frozen():
        search, images = classifier.twin(), torch.rand(16, 3, 8, 8)
        assert search is not classifier
        assert search.module is classifier.twin().module
        assert torch.allclose(search(images), classifier(images), rtol=1e-4, atol=1e-5)
        assert not search(images).equal(classifier(images))
    assert net.conv.weight.requires_grad  # the form holds the model itself, and left it as it was
