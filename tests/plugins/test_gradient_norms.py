"""Squared gradient norms of a whole batch: every rule against a plain loop of single images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from classrob_detectors.norms import GradientNorms, squared_gradient_norms
from classrob_detectors.norms.convolution import Convolution
from classrob_detectors.norms.layout import Layout, find
from classrob_detectors.norms.rules import RULES
from classrob_detectors.norms.term import Term, norms_of
from classrob_onnx.model import OnnxModel

SLOW = {"vmap", "loop"}


@pytest.fixture(autouse=True)
def doubles() -> Iterator[None]:
    """Everything in float64, from one seed."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def confounded(logits: Tensor) -> Tensor:
    """Binary cross-entropy against all ones, the mean over classes."""
    return F.softplus(-logits).flatten(1).mean(1)


def loop(module: nn.Module, images: Tensor, loss: Callable[[Any], Tensor] = confounded) -> Tensor:
    """The plain way: one backward pass an image, in evaluation mode."""
    parameters = list(module.parameters())
    was = [p.requires_grad for p in parameters]
    mode = module.training
    module.eval().requires_grad_(True)
    rows = []
    for image in images.split(1):
        found = torch.autograd.grad(loss(module(image)).sum(), parameters, allow_unused=True)
        rows.append([0.0 if g is None else float(g.square().sum()) for g in found])
    module.train(mode)
    for p, flag in zip(parameters, was, strict=True):
        p.requires_grad_(flag)
    return torch.tensor(rows, dtype=images.dtype if images.is_floating_point() else torch.float64)


def agree(
    module: nn.Module, images: Tensor, slow: bool | None = False, loss: Callable[[Any], Tensor] = confounded
) -> dict[str, str]:
    """Compare with the loop to 1e-10; no column may be slow, or some must be, or (None) either."""
    expected = loop(module, images, loss)
    norms = GradientNorms(module, loss)
    found = norms(images)
    assert found.dtype == next(module.parameters()).dtype
    assert not found.requires_grad
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-13 * float(expected.max()))
    if slow is not None:
        assert bool(SLOW & set(norms.rules.values())) == slow, norms.rules
    assert list(norms.rules) == norms.names == [name for name, _ in module.named_parameters()]
    return norms.rules


def unlike(module: nn.Module) -> nn.Module:
    """Every parameter and running statistic at random, so that no sum vanishes."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn_like(p))
        for one in module.modules():
            if isinstance(one, nn.modules.batchnorm._BatchNorm) and one.running_mean is not None:
                one.running_mean.normal_()
                one.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    return module


def head(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(4))


def cnn() -> nn.Module:
    return head(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(
            nn.Conv2d(8, 16, 3, stride=2, groups=2, padding=2, dilation=2, padding_mode="reflect"),
            nn.PReLU(16),
        ),
        *(nn.GroupNorm(4, 16), nn.ConvTranspose2d(16, 6, 3, stride=2, output_padding=1, groups=2), nn.GELU()),
        *(nn.InstanceNorm2d(6, affine=True), nn.Dropout(0.5)),
    )


@pytest.mark.parametrize(
    ("name", "options", "rules"),
    [
        ("resnet18", {}, {"convolution", "batch norm", "linear"}),
        (
            "vit_tiny_patch16_224",
            {"img_size": 32, "patch_size": 8, "depth": 3},
            {"convolution", "broadcast", "layer norm", "linear"},
        ),
        (
            "vit_tiny_patch16_224",
            {"img_size": 32, "patch_size": 8, "depth": 2, "init_values": 0.1, "global_pool": "avg"},
            {"convolution", "broadcast", "layer norm", "linear"},
        ),
        ("convnext_atto", {}, {"convolution", "broadcast", "layer norm", "linear"}),
        ("mobilenetv3_small_050", {}, {"convolution", "batch norm", "linear"}),
    ],
    ids=["resnet", "vit", "vit-layer-scale", "convnext", "mobilenet"],
)
def test_architectures_of_timm(name: str, options: dict[str, Any], rules: set[str]) -> None:
    module = unlike(timm.create_model(name, num_classes=5, **options))
    found = agree(module, torch.rand(3, 3, 32, 32))
    assert {part for rule in found.values() for part in rule.split(" + ")} == rules


def test_weights_that_are_standardised() -> None:
    """A weight of which the convolution sees (w − mean) / deviation, as in BiT."""
    module = unlike(timm.models.resnetv2.ResNetV2([1, 1], [128, 256], stem_chs=32, num_classes=5))
    assert set(agree(module, torch.rand(3, 3, 32, 32)).values()) == {"convolution", "group norm"}


def test_a_convolutional_network() -> None:
    module = cnn()
    images = torch.rand(5, 3, 13, 11)
    module(images)  # sizes of the last layer
    agree(unlike(module), images)


def test_identities_of_the_last_layer() -> None:
    """Section 3.5 of Lee et al.: the bias has Σ (σ(z) − y)² / N², the weight that times ‖h‖²."""

    class Given(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.tensor([2.0, 0, -1]))

        def forward(self, h: Tensor) -> Tensor:
            return F.linear(h, self.weight, self.bias)

    h = torch.rand(4, 2)
    ones = squared_gradient_norms(Given(), h, confounded)
    zeros = squared_gradient_norms(Given(), h, lambda z: F.softplus(z).mean(1))
    assert ones[:, 1].tolist() == pytest.approx([0.0887395536] * 4, abs=1e-10)
    assert zeros[:, 1].tolist() == pytest.approx([0.1220147756] * 4, abs=1e-10)
    assert torch.allclose(ones[:, 0], ones[:, 1] * h.square().sum(1), rtol=1e-12)
    scaled = squared_gradient_norms(Given(), h, lambda z: 3.0 * confounded(z))
    assert torch.allclose(scaled, 9.0 * ones, rtol=1e-12)
    assert torch.allclose(squared_gradient_norms(Given(), h.flip(0), confounded), ones.flip(0), rtol=1e-12)
    p = torch.softmax(torch.tensor([2.0, 0, -1]), 0)
    softmax = squared_gradient_norms(Given(), h, lambda z: -z.log_softmax(1).sum(1))
    assert float(softmax[0, 1]) == pytest.approx(float((3 * p - 1).square().sum()), rel=1e-12)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A convolution in one, two or three dimensions, or a transposed one, and a batch."""
    dims = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    side = st.integers(1, 3)

    def each(low: int) -> tuple[int, ...]:
        return tuple(draw(side) - 1 + low for _ in range(dims))

    inside, outside = groups * draw(side), groups * draw(side)
    transposed = draw(st.booleans())
    kernel, stride, dilation = each(1), each(1), each(1)
    padding = tuple(min(p, d * (k - 1)) for p, d, k in zip(each(0), dilation, kernel, strict=True))
    options: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    if transposed:
        kinds: Any = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        options["output_padding"] = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
    else:
        kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        options["padding_mode"] = draw(st.sampled_from(["zeros", "replicate", "circular"]))
    need = max(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    sizes = [draw(st.integers(need, need + 3)) for _ in range(dims)]
    module = kinds[dims - 1](inside, outside, kernel, **options)
    return module, torch.randn(draw(st.integers(1, 3)), inside, *sizes)


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_any_convolution(drawn: tuple[nn.Module, Tensor]) -> None:
    module, images = drawn
    # A transposed one with strides leaves rows that no pixel reaches. Where they lie as the samples of the probe do,
    # samples cannot be told apart, and the slow way is taken.
    gaps = isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    slow = None if gaps and max(module.stride) > 1 else False
    agree(module, images, slow, loss=lambda z: z.sigmoid().flatten(1).square().sum(1))


@settings(max_examples=20, deadline=None)
@given(convolutions())
def test_every_way_of_a_convolution(drawn: tuple[nn.Module, Tensor]) -> None:
    """`pixels`, `dual`, `grouped` and `windows` give the same norms and gradients, however channels lie."""
    module, images = drawn
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) or module.padding_mode != "zeros":
        return
    gradient = torch.randn_like(module(images))
    shape, groups = tuple(module.weight.shape), module.groups
    args: Any = (shape, module.stride, module.padding, module.dilation, groups)
    term = Convolution((None, 0), images[:, None], gradient[:, None], *args)
    innermost = images.movedim(1, -1).contiguous().movedim(-1, 1)
    other = Convolution((None, 0), innermost[:, None], gradient[:, None], *args)
    everything = slice(0, len(images))
    expected = term._grouped(everything)
    norms = norms_of(expected)
    for one in (term, other):
        assert torch.allclose(one.gradients(0, len(images)), expected)
        assert torch.allclose(norms_of(one._multiplied(everything)), norms)
        assert torch.allclose(one._grouped(everything), expected)
        assert torch.allclose(one._by_windows(everything), norms)
        assert torch.allclose(one._by_pixels(everything), norms)
        assert torch.allclose(one.squared(), norms)


@pytest.mark.parametrize(
    ("channels", "size", "kernel", "stride", "way"),
    [
        (64, 8, 3, 1, "pixels"),
        (128, 4, 3, 1, "pixels"),
        (32, 16, 3, 1, "grouped"),
        (16, 32, 3, 1, "grouped"),
        (32, 16, 3, 2, "windows"),
        (64, 8, 1, 1, "windows"),
        (64, 32, 16, 16, "dual"),
    ],
)
def test_the_way_of_a_convolution(channels: int, size: int, kernel: int, stride: int, way: str) -> None:
    """Chosen by sizes alone: what was measured to be fastest for the layers of residual networks."""
    module = nn.Conv2d(channels, channels, kernel, stride, padding=kernel // 2 if stride < kernel else 0)
    images = torch.zeros(1, channels, size, size)
    gradient, args = module(images)[:, None], (module.stride, module.padding, module.dilation, 1)
    shape: Any = tuple(module.weight.shape)
    assert Convolution((None, 0), images[:, None], gradient, shape, *args).way == way  # type: ignore[arg-type]


def test_a_network_that_wants_channels_outermost() -> None:
    """`view` refuses channels that lie innermost, as a processor's convolutions like them best."""

    class Viewed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(64, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).view(len(x), -1))

    agree(Viewed(), torch.randn(5, 3, 6, 6))


class Rows(nn.Module):
    """A linear layer on [n, …, d] with positions before or after the samples."""

    def __init__(self, width: int, out: int, bias: bool, first: bool) -> None:
        super().__init__()
        self.layer, self.first = nn.Linear(width, out, bias), first

    def forward(self, x: Tensor) -> Tensor:
        if self.first:  # as PyTorch's attention has it
            return self.layer(x.transpose(0, 1).contiguous()).transpose(0, 1)
        return self.layer(x)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4), st.lists(st.integers(1, 5), max_size=2), st.integers(1, 5), st.integers(1, 5),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_any_linear_layer(
    n: int, positions: list[int], width: int, out: int, bias: bool, first: bool
) -> None:
    module = Rows(width, out, bias, first and bool(positions))
    # With sizes of 1 PyTorch may leave out a copy that it makes for three images, and then nothing is known.
    slow = None if 1 in (n, width, out, *positions) else False
    agree(module, torch.randn(n, *positions, width), slow, lambda z: z.sigmoid().flatten(1).square().sum(1))


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["batch", "layer", "group", "instance", "tracked", "rms"]),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_any_normalisation(kind: str, n: int, dims: int) -> None:
    sizes = [4, 3, 5][:dims]
    made: dict[str, Callable[[], nn.Module]] = {
        "batch": lambda: (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1](6),
        "layer": lambda: nn.LayerNorm(sizes[-1:] if dims < 3 else sizes[-2:]),
        "group": lambda: nn.GroupNorm(3, 6),
        "instance": lambda: (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[dims - 1](
            6, affine=True
        ),
        "tracked": lambda: (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[dims - 1](
            6, affine=True, track_running_stats=True
        ),
        "rms": lambda: nn.RMSNorm(sizes[-1:]),
    }
    module = unlike(made[kind]())
    agree(module, torch.randn(n, 6, *sizes), loss=lambda z: z.sigmoid().flatten(1).square().sum(1))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(2, 6), st.integers(2, 7), st.sampled_from([None, 0, -1]))
def test_any_embedding(n: int, tokens: int, size: int, padding: int | None) -> None:
    module = head(nn.Embedding(size, 3, padding_idx=padding), nn.LayerNorm(3))
    images = torch.randint(size, (n, tokens))
    images[0, :2] = torch.tensor([0, 1])  # a batch of one token alone tells nothing
    module(images)
    assert agree(module, images, slow=None)["0.weight"] in {"embedding", "vmap"}


def test_an_embedding_by_its_rule() -> None:
    module = head(nn.Embedding(7, 3, padding_idx=2))
    images = torch.randint(7, (5, 6))
    module(images)
    assert agree(module, images)["0.weight"] == "embedding"


class Attention(nn.Module):
    """PyTorch's attention, between a class token and positions that are learnt."""

    def __init__(self, first: bool, kind: str) -> None:
        super().__init__()
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 8)), nn.Embedding(5, 8)
        self.attention, self.kind, self.first = nn.MultiheadAttention(8, 2, batch_first=first), kind, first
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        x = x + self.place(torch.arange(5))
        if not self.first:
            x = x.transpose(0, 1)
        other = x.flip(-1) if self.kind == "cross" else x
        x = self.attention(x, other, other, need_weights=self.kind == "weights")[0]
        return self.out(x[:, 0] if self.first else x[0])


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", ["self", "cross", "weights"])
def test_attention_with_tokens(first: bool, kind: str) -> None:
    agree(unlike(Attention(first, kind)), torch.randn(4, 4, 8))


class Shared(nn.Module):
    """Weights that are used more than once, in functional calls, transposed, and with one another."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(3, 3, 3, 3))
        self.weight = nn.Parameter(torch.randn(5, 3))
        self.scale = nn.Parameter(torch.randn(()))
        self.unused = nn.Parameter(torch.randn(2))
        self.norm = nn.LayerNorm(3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.kernel, padding=1).tanh()
        x = F.conv2d(x, self.kernel, padding=1, stride=2).tanh()
        x = F.conv2d(x, self.kernel.flip(-1) * self.scale, padding=1)
        x = self.norm(self.norm(x.movedim(1, -1))) * self.scale
        hidden = F.linear(x, self.weight).tanh() @ self.weight  # an autoencoder with tied weights
        return (hidden / (1 + self.scale**2)).mean((1, 2))


def test_weights_that_are_shared() -> None:
    rules = agree(Shared(), torch.randn(4, 3, 6, 7))
    assert rules["kernel"].count("convolution") == 3
    assert rules["unused"] == "unused"


@pytest.mark.parametrize(
    "parametrised", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.orthogonal]
)
def test_weights_that_are_computed(parametrised: Callable[[nn.Module], nn.Module]) -> None:
    module = nn.Sequential(parametrised(nn.Linear(6, 6)), nn.Tanh(), nn.Linear(6, 3))
    agree(module, torch.randn(4, 6), slow=None)


class _Cube(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return x * weight**3

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return gradient * weight**3, (gradient * x * 3 * weight**2).sum(0)


class Odd(nn.Module):
    """What no rule covers."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.before, self.after = what, nn.Linear(4, 4), nn.Linear(4, 3)
        self.weight = nn.Parameter(torch.rand(4) + 0.5)
        self.recurrent = nn.LSTM(4, 4, batch_first=True) if what == "recurrent" else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x).sigmoid()
        match self.what:
            case "own-function":
                x = _Cube.apply(x, self.weight)  # type: ignore[assignment]
            case "power":
                x = x**self.weight
            case "recurrent" if self.recurrent is not None:
                x = self.recurrent(x[:, None].expand(-1, 3, -1))[0][:, -1] * self.weight
            case "checkpoint":  # lets nobody look at what it recomputes
                x = checkpoint(lambda y: y.tanh() * self.weight, x, use_reentrant=False)
            case "neighbours":
                x = x * self.weight - x.mean(0)
            case "size":  # another graph for three images than for four
                x = (x if len(x) == 3 else x + 0.0) * self.weight
        return self.after(x)


@pytest.mark.parametrize(
    ("what", "rule"),
    [
        ("own-function", {"vmap", "loop"}),
        ("power", {"vmap"}),
        ("recurrent", {"broadcast"}),
        ("checkpoint", {"vmap", "loop"}),
        ("neighbours", {"vmap", "loop"}),
        ("size", {"vmap"}),
    ],
)
def test_what_no_rule_covers_is_exact_and_named(what: str, rule: set[str]) -> None:
    """Also where autograd's graph hides the use of a weight, and where a batch's samples mix."""
    images = torch.randn(4, 4)
    assert agree(Odd(what), images, slow=True)["weight"] in rule


def test_a_rule_that_is_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image of the first batch is computed alone; what differs there is never taken from a rule again."""
    _, right = RULES["AddmmBackward0"]

    def wrong(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
        return right(node, operand, gradient * 1.01 if operand else gradient, layout, n)

    monkeypatch.setitem(cast("dict[str, Any]", RULES), "AddmmBackward0", ("linear", wrong))
    module = nn.Linear(4, 3)
    norms = GradientNorms(module, confounded)
    for _ in range(2):
        images = torch.randn(4, 4)
        assert torch.allclose(norms(images), loop(module, images), rtol=1e-10)
        assert norms.rules == {"weight": "loop", "bias": "linear"}


@pytest.mark.parametrize("which", ["cnn", "shared", "vit", "odd"])
def test_norms_have_a_slope_where_asked(which: str) -> None:
    """Against the slope of the loop's norms, through what made the images; no flag of the module changes."""
    vit = {"num_classes": 3, "img_size": 16, "patch_size": 8, "depth": 1}
    made: dict[str, Callable[[], nn.Module]] = {
        "cnn": cnn_ready,
        "shared": Shared,
        "vit": lambda: timm.create_model("vit_tiny_patch16_224", **vit),
        "odd": lambda: Odd("power"),
    }
    size = {"cnn": (3, 13, 11), "shared": (3, 6, 7), "vit": (3, 16, 16), "odd": (4,)}[which]
    module = unlike(made[which]()).eval().requires_grad_(False)
    z = torch.rand(3, *size, requires_grad=True)
    norms = GradientNorms(module, confounded)
    found = norms(z.sin().relu(), differentiable=True)
    assert not any(p.requires_grad for p in module.parameters())
    weight = torch.rand(found.shape) / (1 + found.detach())
    (slope,) = torch.autograd.grad((found * weight).sum(), z)
    module.requires_grad_(True)
    parameters = list(module.parameters())
    total = torch.zeros(())
    for image, row in zip(z.sin().relu().split(1), weight, strict=True):
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
            loss = confounded(module(image)).sum()
        grads = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        total = total + sum(w * g.square().sum() for w, g in zip(row, grads, strict=True) if g is not None)
    (expected,) = torch.autograd.grad(total, z)
    assert float(expected.abs().max()) > 0
    assert torch.allclose(slope, expected, rtol=1e-8, atol=1e-10 * float(expected.abs().max()))
    assert bool(SLOW & set(norms.rules.values())) == (which == "odd")
    assert not norms(z).requires_grad


def test_everything_is_left_as_it_was() -> None:
    module = unlike(cnn_ready())
    module.train()
    module[1].eval()  # type: ignore[index]
    for i, p in enumerate(module.parameters()):
        p.requires_grad_(i % 2 == 0)
        p.grad = torch.ones_like(p) if i % 3 == 0 else None
    modes = [m.training for m in module.modules()]
    flags = [p.requires_grad for p in module.parameters()]
    held = [None if p.grad is None else p.grad.clone() for p in module.parameters()]
    state = {k: v.clone() for k, v in module.state_dict().items()}
    images = torch.rand(3, 3, 13, 11)

    def broken(logits: Tensor) -> Tensor:
        raise ZeroDivisionError

    expected = loop(deepcopy(module), images)
    with torch.inference_mode():
        found = squared_gradient_norms(module, images, confounded)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-13 * float(expected.max()))
    with pytest.raises(ZeroDivisionError):
        squared_gradient_norms(module, images, broken)
    with pytest.raises(ValueError, match="give one number an image"):
        squared_gradient_norms(module, images, lambda logits: logits.sum())
    assert [m.training for m in module.modules()] == modes
    assert [p.requires_grad for p in module.parameters()] == flags
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())
    for p, g in zip(module.parameters(), held, strict=True):
        assert (p.grad is None) if g is None else torch.equal(p.grad, g)  # type: ignore[arg-type]
    assert not images.requires_grad


def cnn_ready() -> Any:
    module = cnn()
    module(torch.rand(2, 3, 13, 11))
    return module


def test_a_module_without_parameters_and_a_batch_without_images() -> None:
    assert squared_gradient_norms(nn.Flatten(), torch.rand(2, 3), confounded).shape == (2, 0)
    assert squared_gradient_norms(nn.Linear(3, 2), torch.rand(0, 3), confounded).shape == (0, 2)


def test_steps_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is room for one sample at a time."""
    monkeypatch.setattr("classrob_detectors.norms.term.STEP", 1)
    agree(unlike(cnn_ready()), torch.rand(4, 3, 13, 11))
    agree(Shared(), torch.randn(4, 3, 6, 7))
    agree(Rows(2, 9, True, first=True), torch.randn(3, 2, 2))


@pytest.mark.parametrize(
    "name", ["cifar10-ae-resnet44-adv-train", "cifar10-ae-resnet44-all", "cifar10-resnet-2b"]
)
def test_models_from_onnx_files_need_no_fall_back(shared: Path, name: str) -> None:
    torch.set_default_dtype(torch.float32)
    module = OnnxModel(path=shared / f"models/{name}.onnx").load("cpu").module
    images = torch.rand(3, 3, 32, 32)
    norms = GradientNorms(module, confounded)
    found, expected = norms(images), loop(module, images)
    assert not SLOW & set(norms.rules.values())
    assert {rule for n, rule in norms.rules.items() if "running" in n} <= {"unused"}
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6 * float(expected.max()))


@settings(max_examples=60)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(2, 4),
    st.integers(0, 2),
    st.randoms(use_true_random=False),
)
def test_the_layout_is_found(outer: int, inner: int, n: int, dim: int, random: Any) -> None:
    shape = [2, 5, 7]
    shape[dim] = outer * n * inner
    x = torch.zeros(shape, dtype=torch.bool)
    layout = Layout(dim, outer, inner)
    assert layout.fits(x.shape, n)
    sample = random.randrange(n)
    layout.split(x, n)[sample] = True  # a view
    assert find(x, n, sample) == layout
    x.flatten()[random.randrange(math.prod(shape))] = True
    assert find(x, n, sample) in {layout, None}
    assert find(torch.ones_like(x), n, sample) is None
    assert find(torch.zeros_like(x), n, sample) is None
