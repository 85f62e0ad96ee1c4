"""`lp/crown`: what it certifies stands, by sampling, by enumeration and by attack; the rest it refuses."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from classrob import Batch, Certifier, Classifier, NotCertifiable, Streams
from classrob.catalog import Catalog
from classrob.certification import ensure_true, proven
from classrob.errors import PluginError, StudyError
from classrob.judge import judge
from classrob.plan import conditions
from classrob.run import run
from classrob.study import make_study
from classrob.tuning import limited
from classrob_lp.apgd import ApgdCE
from classrob_lp.balls import L2Ball, LinfBall, Offsets
from classrob_lp.crown import bounds
from classrob_lp.crown.bounds import Bounds
from classrob_lp.crown.carried import Carried
from classrob_lp.crown.certifier import Crown, certified
from classrob_lp.crown.drop import Drop
from classrob_lp.crown.operations import in_place
from classrob_lp.crown.supports import ROWS, Supports
from classrob_lp.crown.traced import Box, NotTraceable, Trace
from classrob_lp.l1 import L1Ball

BALLS = {"linf": LinfBall, "l2": L2Ball, "l1": L1Ball}
SHAPE = (2, 4, 4)
ZERO = torch.zeros(1, dtype=torch.int64)


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Tensor], *inner: nn.Module) -> None:
        super().__init__()
        self.function, self.inner = function, nn.ModuleList(inner)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.inner)


def drawn(module: nn.Module, seed: int) -> nn.Module:
    """Weights that do not depend on torch's own generator; statistics that a training would leave."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            scale = 1.0 if weight.ndim == 1 else weight[0].numel() ** 0.5
            weight.copy_(torch.randn(weight.shape, generator=generator) / scale)
        for name, buffer in module.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
            elif name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator))
    return module.eval().requires_grad_(False)


def residual(x: Tensor, first: nn.Module, second: nn.Module, head: nn.Module) -> Tensor:
    x = F.relu(first((x - 0.4) / 0.3), inplace=True)
    x = F.avg_pool2d(F.leaky_relu(second(F.pad(x, (1, 1, 1, 1))), 0.1) + x, 2)
    both = torch.cat([x.flatten(1), 0.5 * x.mean((2, 3))], 1)
    return head(both.clamp(-0.2, 1.5))


def sliced(x: Tensor, first: nn.Module, second: nn.Module, head: nn.Module) -> Tensor:
    """Operators whose names have two underscores on either side, and some that write."""
    x = F.relu(first(1 - x[:, :, 1:, ::2]))
    y = 0.5 * x + 0.25
    y += x[:, [2, 0, 1]]
    y *= 0.7
    y -= 0.1
    y = F.relu(second(1.0 - y)[..., :2, :])
    return head(F.relu(2 - (0.5 * y).flatten(1)))


def boxless(x: Tensor, first: nn.Module, second: nn.Module, head: nn.Module) -> Tensor:
    """Sums whose boxes are not known, before ReLUs and between them."""
    x = x.flatten(1)
    x = F.relu(first(torch.add(x, x.flip(1), alpha=-0.5)))
    return head(F.relu(torch.sub(second(x), x, alpha=0.5)))


NETS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(32, 3)),
    "deep": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(32, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)
    ),
    "convolutional": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU6(),
        nn.Dropout(0.5),
        nn.Conv2d(4, 4, 2, 2),
        nn.Hardtanh(),
        nn.Flatten(),
        nn.Linear(16, 3),
    ),
    "boxless": lambda: Lambda(boxless, nn.Linear(32, 9), nn.Linear(9, 9), nn.Linear(9, 3)),
    "sliced": lambda: Lambda(sliced, nn.Conv2d(2, 3, 1), nn.Conv2d(3, 3, 1), nn.Linear(12, 3)),
    "residual": lambda: Lambda(residual, nn.Conv2d(2, 3, 1), nn.Conv2d(3, 3, 3), nn.Linear(15, 3)),
}


def ball_of(kind: str, images: Tensor, budget: float) -> Offsets:
    return BALLS[kind](torch.full((len(images),), budget), images)


def uniform(seed: int, n: int, *shape: int) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


#: How bounds are found: as they are; by short ways back alone; short ones that close one ReLU back.
WAYS = ("all", "short", "shortest")


def by(way: str, patch: pytest.MonkeyPatch) -> None:
    """Let `Bounds` go that way."""
    if way == "shortest":
        patch.setattr(bounds, "SHORT", 1)
    if way != "all":
        whole = Bounds._tighten

        def short(self: Bounds, *args: Any, cut: int = 0) -> None:
            if cut or len(self.layers) < 2:
                whole(self, *args, cut=cut)

        patch.setattr(Bounds, "_tighten", short)


def around_of(module: nn.Module, ball: Offsets, seed: int, n: int) -> Tensor:
    """Points of a ball of one row [3n, …]: random ones, corners, and the steepest ones."""
    many = ball.select(torch.zeros(n, dtype=torch.int64))
    streams = Streams.keyed(seed, "crown", map(str, range(n)), "points")
    random = streams.normal(*ball.images.shape[1:])
    points = [
        many.start(streams),
        many.project(many.rows(many.budget) * random.sign()),
        many.move(0 * random, random, 1),
    ]
    z = torch.cat(points).requires_grad_()
    logits = module((ball.images + z).clamp(0, 1))
    (slope,) = torch.autograd.grad(logits[:, 1].sum() - logits[:, 0].sum(), z)
    all_ = ball.select(torch.zeros(3 * n, dtype=torch.int64))
    return ball.images + torch.cat([z.detach(), all_.move(z.detach(), slope, 1.0)])


def inputs(module: nn.Module, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """The inputs of all ReLUs, in the order of a trace, and the logits."""
    found = list[Tensor]()

    def relu(pre: Tensor, box: Box | None) -> tuple[Tensor, None]:
        found.append(pre.detach().clone())
        return pre - pre.clamp_max(0).detach(), None

    x = images.clamp(0, 1).requires_grad_()
    with Trace(relu, copy := x.clone(), None):
        logits = module(copy)
    return found, logits.detach()


@settings(max_examples=60, deadline=None)
@given(
    net=st.sampled_from(sorted(NETS)),
    kind=st.sampled_from(sorted(BALLS)),
    seed=st.integers(0, 10**6),
    budget=st.floats(0.003, 1.0),
    way=st.sampled_from(WAYS),
)
def test_no_point_of_the_ball_lies_below_a_bound(
    net: str, kind: str, seed: int, budget: float, way: str
) -> None:
    """… nor outside a ReLU's interval, by any way back; random points, corners, and the steepest ones."""
    module = drawn(NETS[net](), seed)
    image = (1.4 * uniform(seed, 1, *SHAPE) - 0.2).clamp(0, 1)
    ball = ball_of(kind, image, budget)
    with pytest.MonkeyPatch.context() as patch:
        by(way, patch)
        found = Bounds(module, ball)
        margins = found.margins(ZERO)[0]
    values, logits = inputs(module, around_of(module, ball, seed, 300))
    for lines, value in zip(found.layers, values, strict=True):
        assert (value >= lines.low - 1e-5).all()
        assert (value <= lines.high + 1e-5).all()
    worst = (logits[:, :1] - logits[:, 1:]).amin(0)
    assert (margins <= worst + 1e-6).all(), (margins, worst)


@pytest.mark.parametrize("net", NETS)
def test_images_side_by_side_have_the_bounds_that_each_has_alone(net: str) -> None:
    """… also with budgets of their own, more functions than rows, and what a guess says is hard left out."""
    module = drawn(NETS[net](), 5)
    images, labels = uniform(7, 70, *SHAPE), torch.arange(70) % 3
    ball = LinfBall(0.02 + 0.1 * uniform(8, 70), images)
    guess = Bounds(module, ball, guess=True)
    for hard in (None, guess.near_zero()):
        together = Bounds(module, ball, hard=hard)
        margins = together.margins(labels)
        for i in (0, 1, 33, 69):
            one = torch.tensor([i])
            alone = Bounds(module, ball.select(one), hard=hard and [each[one] for each in hard])
            assert margins[one].numpy() == pytest.approx(alone.margins(labels[one]).numpy(), abs=1e-5)
            for ours, lone in zip(together.layers, alone.layers, strict=True):
                assert ours.low[one].numpy() == pytest.approx(lone.low.numpy(), abs=1e-5)
                assert ours.high[one].numpy() == pytest.approx(lone.high.numpy(), abs=1e-5)


def narrow() -> nn.Module:
    """Convolutions whose neurons see a few pixels, on images of 20 × 18."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, 2, 1), nn.ReLU(), nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU(True),
        nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(100, 20), nn.ReLU(), nn.Linear(20, 3),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_neurons_that_share_a_way_back_have_the_bounds_of_ways_of_their_own(kind: str) -> None:
    module = drawn(narrow(), 4)
    images, labels = uniform(5, 9, 1, 20, 18), torch.arange(9) % 3
    ball = ball_of(kind, images, 0.1 if kind == "linf" else 1.0)
    supports = Supports(module, images[:1])
    assert [supports.of(level) is not None for level in range(4)] == [True, True, True, False]
    alone, shared = Bounds(module, ball), Bounds(module, ball, supports=supports)
    for ours, lone in zip(shared.layers, alone.layers, strict=True):
        assert lone.unstable.any()
        assert ours.low.numpy() == pytest.approx(lone.low.numpy(), abs=1e-5)
        assert ours.high.numpy() == pytest.approx(lone.high.numpy(), abs=1e-5)
    assert shared.margins(labels).numpy() == pytest.approx(alone.margins(labels).numpy(), abs=1e-4)


def test_what_a_neuron_does_not_see_does_not_move_it() -> None:
    """… and neurons of one row see no tile in common."""
    module = drawn(narrow(), 6)
    image = uniform(7, 1, 1, 20, 18)
    supports = Supports(module, image)
    still, _ = inputs(module, image)
    for tile in range(supports.seen[0].shape[1]):
        mask = (supports.tile == tile).view_as(image)
        moved, _ = inputs(module, torch.where(mask, 1 - image, image))
        for seen, before, after in zip(supports.seen, still, moved, strict=True):
            unseen = ~seen[:, tile]
            assert (before - after).flatten()[unseen].abs().amax() < 1e-6 if unseen.any() else True
    shares = supports.of(1)
    assert shares is not None
    neurons = torch.arange(len(shares.kind)).repeat(2)
    images = torch.arange(2).repeat_interleave(len(shares.kind))
    rows = shares.rows(images, neurons)
    assert int(rows.amax()) + 1 <= len(neurons) / 2
    for row in range(int(rows.amax()) + 1):
        together = rows == row
        assert len(images[together].unique()) == 1
        assert int(supports.seen[1][neurons[together]].sum(0).amax()) == 1


def test_none_shares_a_way_behind_a_relu_of_which_nothing_is_known() -> None:
    """A sum with a factor has no interval; the ReLU of another branch keeps its place behind it."""
    module = drawn(
        Lambda(
            lambda x, f, g: g((torch.add(f(x), x, alpha=0.5).relu() + f(x).relu()).flatten(1)),
            nn.Conv2d(1, 1, 3, 1, 1),
            nn.Linear(360, 3),
        ),
        3,
    )
    supports = Supports(module, uniform(2, 1, 1, 20, 18))
    assert [one is None for one in supports.seen] == [True, False]
    assert supports.of(0) is None
    assert supports.of(1) is None


def test_a_guess_never_certifies_and_seldom_gives_up_too_much() -> None:
    """Where all margins are bounded above 0 by their own bounds, and nowhere else, an image may be certified."""
    module = drawn(NETS["residual"](), 3)
    images = uniform(9, 100, *SHAPE)
    with torch.no_grad():
        labels = module(images).argmax(1)
    ball = ball_of("linf", images, 0.3)
    sure = (Bounds(module, ball).margins(labels) > 0).all(1)
    found = certified(module, ball, labels)
    assert 5 < int(sure.sum()) < 95
    assert not (found & ~sure).any()
    assert int((sure & ~found).sum()) <= 3


def test_only_names_that_say_so_write_in_place() -> None:
    assert all(map(in_place, ("add_", "relu_", "__iadd__", "__setitem__")))
    assert not any(map(in_place, ("add", "__getitem__", "__rsub__", "__rmul__", "__invert__")))


@pytest.mark.parametrize("kind", BALLS)
def test_a_network_without_relus_is_bounded_exactly(kind: str) -> None:
    """… but for the allowance; the worst point, in closed form, is reached."""
    module = drawn(NETS["linear"](), 1)
    weight = module[1].weight  # pyright: ignore[reportIndexIssue]
    for seed, budget in itertools.product(range(5), (0.01, 0.2, 0.9)):
        image = 0.9 * uniform(seed, 1, *SHAPE) + 0.05
        if kind == "l2":
            budget = min(budget, 0.05)  # the box is met by bounding it apart: exact while it is not reached
        ball = ball_of(kind, image, budget)
        exact = module(image)[0, 0] - module(image)[0, 1:]
        slopes = (weight[0] - weight[1:]).reshape(-1, *SHAPE)
        exact = exact - torch.cat([_fall(ball, one[None]) for one in slopes])
        assert Bounds(module, ball).margins(ZERO)[0].numpy() == pytest.approx(exact.numpy(), abs=2e-3)


def _fall(ball: Offsets, slope: Tensor) -> Tensor:
    """How far a linear function falls, by small steps over sorted pixels (ℓ1) or the dual norm."""
    if isinstance(ball, L2Ball):
        return ball.budget * slope.norm()
    room = torch.where(slope > 0, ball.images, 1 - ball.images).flatten()
    if isinstance(ball, LinfBall):
        return (slope.abs().flatten() * room.minimum(ball.budget)).sum()[None]
    left, fall = float(ball.budget), 0.0
    for weight, most in sorted(zip(slope.abs().flatten().tolist(), room.tolist(), strict=True), reverse=True):
        fall, left = fall + weight * min(left, most), left - min(left, most)
    return torch.tensor([fall])


def test_drop_is_never_less_than_what_random_points_fall() -> None:
    image = (1.4 * uniform(3, 1, *SHAPE) - 0.2).clamp(0, 1)
    slopes = uniform(4, ROWS, 32) - 0.5
    for kind, budget in itertools.product(BALLS, (0.05, 0.5, 3.0)):
        ball = ball_of(kind, image, budget)
        many = ball_of(kind, image.repeat(500, 1, 1, 1), budget)
        points = many.start(Streams.keyed(0, "drop", map(str, range(500)), kind))
        fallen = -(points.flatten(1) @ slopes.T).amin(0)
        found = Drop(ball)(slopes, Carried(torch.zeros(len(slopes), dtype=torch.int64)))
        assert (found >= fallen - 1e-5).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), budget=st.floats(0.01, 0.4))
def test_a_tiny_network_against_exact_enumeration(seed: int, budget: float) -> None:
    """Two pixels, four ReLUs: the true minimum is at a vertex of the cells that the ReLUs cut the square into."""
    module = drawn(nn.Sequential(nn.Flatten(), nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)), seed)
    image = uniform(seed, 1, 1, 1, 2)
    ball = ball_of("linf", image, budget)
    first = module[1]  # pyright: ignore[reportIndexIssue]
    low, high = (image - budget).clamp_min(0).flatten(), (image + budget).clamp_max(1).flatten()
    lines = [(row.double(), -bias.double()) for row, bias in zip(first.weight, first.bias, strict=True)]
    for axis in range(2):
        unit = torch.eye(2, dtype=torch.float64)[axis]
        lines += [(unit, low[axis].double()), (unit, high[axis].double())]
    corners = []
    for (a, c), (b, d) in itertools.combinations(lines, 2):
        matrix = torch.stack([a, b])
        if matrix.det().abs() > 1e-12:
            corners.append(torch.linalg.solve(matrix, torch.stack([c, d])))
    points = torch.stack(corners).float()
    inside = ((points >= low - 1e-6) & (points <= high + 1e-6)).all(1)
    logits = module(points[inside].clamp(low, high))
    exact = float((logits[:, 0] - logits[:, 1]).min())
    bound = float(Bounds(module, ball).margins(ZERO)[0])
    assert bound <= exact + 1e-5
    if not any(lines.unstable.any() for lines in Bounds(module, ball).layers):
        assert bound == pytest.approx(exact, abs=2e-3)


def _flat(x: Tensor, linear: nn.Module) -> Tensor:
    return linear(x.flatten(1))


class Straight(torch.autograd.Function):
    """Rounds, and passes the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0]


def _into(x: Tensor, linear: nn.Module) -> Tensor:
    buffer = torch.zeros_like(x)
    buffer[:] = x
    return _flat(buffer, linear)


def _branch(x: Tensor, linear: nn.Module) -> Tensor:
    return _flat(x if x.mean() > 0.5 else 1 - x, linear)


def _mask(x: Tensor, linear: nn.Module) -> Tensor:
    return _flat(x * (x > 0.5), linear)


REFUSED: dict[str, Callable[[Tensor, nn.Module], Tensor]] = {
    "sigmoid": lambda x, f: _flat(x.sigmoid(), f),
    "max_pool2d": lambda x, f: _flat(F.max_pool2d(x, 1), f),
    "softmax": lambda x, f: _flat(x, f).softmax(1),
    "product": lambda x, f: _flat(x * x, f),
    "quotient": lambda x, f: _flat(1 / (x + 1), f),
    "detach": lambda x, f: _flat(x, f) / x.detach().flatten(1).norm(dim=1, keepdim=True),
    "mask": _mask,
    "branch": _branch,
    "read back": lambda x, f: _flat(x, f) * float(x.detach().cpu().numpy().max()),
    "data": lambda x, f: _flat(x - x.data, f),
    "straight-through": lambda x, f: _flat(Straight.apply(x), f),
    "written into": _into,
    "no gradient": lambda x, f: _flat(torch.no_grad()(lambda y: 2 * y)(x), f),
    "noise": lambda x, f: _flat(x + 0.1 * torch.randn(x.shape), f),
    "noise like": lambda x, f: _flat(x + 0.1 * torch.randn_like(x), f),
    "batch statistics": lambda x, f: _flat(F.batch_norm(x, None, None, training=True), f),
    "dropout": lambda x, f: _flat(F.dropout(x, 0.1, training=True), f),
    "instance norm": lambda x, f: _flat(F.instance_norm(x), f),
    "mean of the batch": lambda x, f: _flat(x - x.mean(0, keepdim=True), f),
    "turned batch": lambda x, f: _flat(x.flip(0), f),
    "half precision": lambda x, f: _flat(x.half().float(), f),
    "steep leak": lambda x, f: _flat(F.leaky_relu(x, 1.5), f),
    "a hook": lambda x, f: _flat(_hooked(x + 0), f),
}


def _hooked(x: Tensor) -> Tensor:
    if x.requires_grad:
        x.register_hook(lambda slope: 0 * slope)
    return x


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_neither_affine_nor_a_relu_is_refused(what: str) -> None:
    classifier = Classifier(Lambda(REFUSED[what], drawn(nn.Linear(32, 3), 0)), name="odd")
    images = uniform(0, 4, *SHAPE)
    batch = Batch(("a", "b", "c", "d"), images, torch.zeros(4, dtype=torch.int64))
    with torch.no_grad():
        labels = classifier(images).argmax(1)
    batch = Batch(batch.ids, images, labels)
    with pytest.raises(NotCertifiable, match="model 'odd' cannot be certified by crown: "):
        Crown().certify(classifier, ball_of("linf", images, 1e-6), batch)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_network_is_refused() -> None:
    module: Any = torch.jit.trace(drawn(NETS["deep"](), 0), torch.zeros(1, *SHAPE), check_trace=False)
    images = uniform(0, 1, *SHAPE)
    with pytest.raises(NotCertifiable, match="scripted"):
        Crown().certify(
            Classifier(module), ball_of("linf", images, 0.1), Batch(("a",), images, torch.tensor([0]))
        )


def test_another_space_is_refused() -> None:
    class Other(Offsets):
        project = start = distance = steepest = LinfBall.project  # pyright: ignore[reportAssignmentType]

    other = Other(torch.tensor([0.1]), uniform(0, 1, *SHAPE))
    with pytest.raises(NotTraceable, match="no ball"):
        Drop(other)


def test_a_sample_that_is_wrong_or_falls_at_once_is_not_certified() -> None:
    classifier = Classifier(drawn(NETS["deep"](), 2))
    images = uniform(1, 8, *SHAPE)
    with torch.no_grad():
        labels = classifier(images).argmax(1)
    labels[:3] = (labels[:3] + 1) % 3
    batch = Batch(tuple("abcdefgh"), images, labels)
    tiny = Crown().certify(classifier, ball_of("linf", images, 1e-4), batch)
    assert tiny.tolist() == [False] * 3 + [True] * 5
    assert not Crown().certify(classifier, ball_of("linf", images, 1.0), batch).any()


# -- the sweep ----------------------------------------------------------------------------------------


class Upto(Certifier):
    """Certifies sample i up to i tenths, and counts how often it is asked."""

    def certify(self, classifier, space, batch):
        CALLS.append(len(batch))
        return space.budget <= torch.tensor([int(one) / 10 for one in batch.ids]) + 1e-6


CALLS: list[int] = []


def test_bisection_finds_the_largest_certified_level_with_few_calls() -> None:
    CALLS.clear()
    n, budgets = 16, torch.arange(1, 16) / 10
    batch = Batch(tuple(map(str, range(n))), torch.zeros(n, 1, 1, 1), torch.zeros(n, dtype=torch.int64))
    levels = torch.full((n,), 14).numpy()
    space = lambda rows, at: ball_of("linf", batch.images[rows], 0.0).at(budgets[at])  # noqa: E731
    found = proven(Upto(), Classifier(nn.Flatten()), batch, levels, space)
    assert found.tolist() == [i - 1 for i in range(n)]
    assert len(CALLS) == 4


def test_a_broken_certificate_stops_the_shard() -> None:
    batch = Batch(("left", "right"), torch.zeros(2, 1, 1, 1), torch.zeros(2, dtype=torch.int64))
    proof, broken = torch.tensor([0, 1]).numpy(), torch.tensor([[False, True], [False, True]]).numpy()
    with pytest.raises(
        PluginError, match=r"'right' is broken at budget 0.2, though 'Upto' certified it at 0.2"
    ):
        ensure_true(proof, broken, batch, (0.1, 0.2), Upto())
    ensure_true(proof - 1, broken, batch, (0.1, 0.2), Upto())


LIAR = """
import torch, classrob

class Liar(classrob.Certifier):
    '''Certifies everything that it is asked about.'''
    def certify(self, classifier, space, batch):
        return torch.ones(len(batch), dtype=torch.bool)
"""


def _study(threat: dict[str, Any], **more: Any) -> dict[str, Any]:
    data = {"model": [{"use": "digits/adversarial"}], "dataset": [{"use": "digits", "limit": 30}]}
    attack = {"use": "pgd", "steps": 5}
    return {
        "name": "proof",
        "pictures": 0,
        **data,
        "threat": [{"use": "linf", "attack": attack, **threat}],
        **more,
    }


def _rows(data: dict[str, Any], folder: Path, code: int = 0) -> list[tuple[Any, ...]]:
    assert run(make_study(data), folder, folder / "run") == code
    with sqlite3.connect(folder / "run" / "run.sqlite") as db:
        query = (
            "SELECT sample, budget, basis, correct, spent FROM judgement WHERE threat = 'linf' ORDER BY 1, 2"
        )
        return db.execute(query).fetchall()


def test_a_study_certifies_carries_downwards_and_agrees_with_the_attack(tmp_path: Path) -> None:
    threat = {"budgets": [0.01, 0.03, 0.06, 0.1], "certifier": "crown"}
    rows = _rows(_study(threat, spot_check=0.5), tmp_path / "with")
    plain = _rows(_study({"budgets": threat["budgets"]}, exhaustive=True), tmp_path / "without")
    certified = {(sample, budget) for sample, budget, basis, *_ in rows if basis == "certified"}
    assert 30 < len(certified) < 105
    assert all((s, b) in certified for s, top in certified for b in threat["budgets"] if b <= top)
    assert [r[:2] + r[3:4] for r in rows] == [r[:2] + r[3:4] for r in plain]
    spent = [spent for *_, basis, _, spent in rows if basis == "certified"]
    assert any(spent), "spot checks attack certified samples too"
    assert spent.count(0) > len(spent) / 2


def test_the_rows_show_a_bracket_for_every_class(cli: Callable[..., Any], tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(
        'name = "bracket"\n[[model]]\nuse = "digits/adversarial"\n[[dataset]]\nuse = "digits"\nlimit = 30\n'
        '[[threat]]\nuse = "linf"\nbudgets = [0.02, 0.5]\nattack = { use = "pgd", steps = 5 }\n'
        'certifier = "lp/crown"\n'
    )
    assert cli("run", study, "--out", tmp_path / "run").code == 0
    every = json.loads(cli("show", tmp_path / "run", "--format", "json").out)
    rows = [row for row in every if row["metric"] in ("accuracy", "certified-accuracy")]
    for budget in (0.02, 0.5):
        of = {(r["metric"], r["label"]): r for r in rows if r["threat"] == "linf" and r["budget"] == budget}
        labels = {label for metric, label in of if metric == "accuracy"}
        assert len(labels) == 11
        for label in labels:
            proof, found = of["certified-accuracy", label], of["accuracy", label]
            assert proof["value"] <= found["value"]
            assert proof["n"] == found["n"]
    assert not [r for r in rows if r["threat"] == "none" and r["metric"] == "certified-accuracy"]


SMOOTH = """
import torch

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.Sigmoid())
"""


def test_a_model_about_which_nothing_can_be_proven_is_a_note_and_certifies_none(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "smooth.py").write_text(SMOOTH)
    study = tmp_path / "study.toml"
    study.write_text(
        'name = "smooth"\n[[model]]\nuse = "torch"\nname = "smooth"\nfactory = "smooth.py:net"\n'
        '[[dataset]]\nuse = "digits"\nlimit = 20\n[[threat]]\nuse = "linf"\nbudgets = [0.02]\n'
        'attack = { use = "pgd", steps = 2 }\ncertifier = "crown"\n'
    )
    done = cli("run", study, "--out", tmp_path / "run")
    assert done.code == 0
    assert (
        "nothing is certified: model 'smooth' cannot be certified by crown: it computes sigmoid" in done.err
    )
    every = json.loads(cli("show", tmp_path / "run", "--format", "json").out)
    assert {row["value"] for row in every if row["metric"] == "certified-accuracy"} == {0.0}


def test_a_lie_fails_the_shard_and_names_the_sample(tmp_path: Path) -> None:
    (tmp_path / "liar.py").write_text(LIAR)
    threat = {"budgets": [0.05, 0.9], "certifier": f"{tmp_path / 'liar.py'}:Liar"}
    assert not _rows(_study(threat, spot_check=1.0), tmp_path, code=1)
    with sqlite3.connect(tmp_path / "run" / "run.sqlite") as db:
        (reason,) = db.execute("SELECT reason FROM failure").fetchone()
    assert "is broken at budget 0.9, though 'Liar' certified it at 0.9" in reason


@pytest.mark.parametrize(
    ("certifier", "message"),
    [("crwn", "did you mean"), (3, "must be a name, or a table"), ({"use": "crown", "steps": 1}, "steps")],
)
def test_a_wrong_certifier_is_one_line(certifier: Any, message: str, tmp_path: Path) -> None:
    study = make_study(_study({"budgets": [0.1], "certifier": certifier}))
    with pytest.raises(StudyError, match=message):
        conditions(study, Catalog.installed(), tmp_path)


# -- outside ------------------------------------------------------------------------------------------


def _standing(classifier: Classifier, batch: Batch, budget: float) -> tuple[Tensor, Tensor]:
    """Which samples are certified, and which stand a few steps of Auto-PGD."""
    space = ball_of("linf", batch.images, budget)
    certified = Crown().certify(classifier, space, batch)
    streams = Streams.keyed(0, "outside", batch.ids, "apgd")
    with classifier.frozen():
        z = ApgdCE(steps=20).search(classifier, space, batch, streams, None)
        return certified, ~judge(classifier, space, batch, z).broken


@pytest.mark.parametrize(
    ("which", "n", "budget", "published", "allowed"),
    [("mnist", 60, 0.1, 0.942, 0.07), ("cifar", 12, 2 / 255, 0.2688, 0.30)],
)
def test_the_certified_share_is_the_published_one_and_no_attack_breaks_it(
    which: str, n: int, budget: float, published: float, allowed: float, shared: Path
) -> None:
    """Wong and Kolter's 5.8 % certified error; CROWN's 26.88 % at 2/255. To within a sample's error."""
    from ..published.test_figures import cifar, convex, mnist, resnet_2b

    if which == "cifar":
        pytest.importorskip("onnx")
    model, data = (convex(shared), mnist(shared)) if which == "mnist" else (resnet_2b(shared), cifar(shared))
    catalog = Catalog.installed()
    parts = [
        catalog.make(kind, one["use"], {k: v for k, v in one.items() if k not in ("use", "name")}, Path())
        for kind, one in (("model", model), ("dataset", data))
    ]
    classifier = parts[0].load("cpu")
    batch, _ = parts[1].open().read(range(n), classifier.fit)
    with limited(1):
        certified, stands = _standing(classifier, batch, budget)
    assert not (certified & ~stands).any()
    assert float(certified.float().mean()) == pytest.approx(published, abs=allowed)
