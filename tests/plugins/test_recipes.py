"""The losses of the recipes: what the papers define, in numbers; and what their trainings come to on the digits."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from classrob import Classifier, Course, Step
from classrob.errors import StudyError
from classrob_base.digits import Digits
from classrob_base.rectifier import Rectified, half_huber
from classrob_explain.cam import Cam
from classrob_onnx.model import OnnxModel
from classrob_zoo.adversarial import PGDAdversarialTraining, Trades
from classrob_zoo.explanations import AERegularised, descended, psi_of
from classrob_zoo.gradients import IGNorm
from classrob_zoo.interpretability import InterpretabilityAware
from classrob_zoo.maps import Maps
from classrob_zoo.model import CNN
from classrob_zoo.nets import SmallCNN

VARIANTS = ("int", "int-one-class", "int-adv", "int2", "int2-adv")


class Pooled(nn.Module):
    """Two convolutions, the mean over positions, a linear layer: a net with class activation maps."""

    def __init__(self, bias: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, 2, 1)
        self.last = nn.Conv2d(6, 12, 3, padding=1)
        self.drop = nn.Dropout(dropout)
        self.linear = nn.Linear(12, 5, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.drop(self.last(torch.relu(self.first(x))).mean((2, 3))))


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.rand(12, 1, 8, 8), torch.arange(12) % 5


def number(loss: Tensor) -> float:
    """A loss as a number; torch warns of one that hangs on a graph."""
    return float(loss.detach())


def step(module: nn.Module, images: tuple[Tensor, Tensor], epoch: float = 9.0) -> Step:
    return Step(module.train(), *images, torch.Generator().manual_seed(0), epoch, {})


# -- half-Huber rectifiers ----------------------------------------------------------------------------


def test_half_huber_values_of_the_paper() -> None:
    x = torch.tensor([-1.0, 0.0, 0.25, 0.5, 1.0], dtype=torch.float64, requires_grad=True)
    value = half_huber(x)
    assert value.tolist() == [0.0, 0.0, 0.0625, 0.25, 0.75]
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    assert slope.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    (second,) = torch.autograd.grad(slope.sum(), x)
    assert second[2] == 2.0


@given(st.floats(-3, 3))
def test_half_huber_is_what_it_is_defined_to_be(number: float) -> None:
    x = torch.tensor(number, dtype=torch.float64, requires_grad=True)
    wanted = 0.0 if number <= 0 else number**2 if number <= 0.5 else number - 0.25
    value = half_huber(x)
    assert float(value.detach()) == pytest.approx(wanted, abs=1e-12)
    (slope,) = torch.autograd.grad(value, x)
    assert float(slope) == pytest.approx(min(max(number, 0.0), 0.5) / 0.5, abs=1e-12)


def test_every_way_to_call_a_rectifier_is_replaced() -> None:
    class Calls(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            layers = nn.ReLU()(x), nn.ReLU(inplace=True)(x.clone())
            calls = torch.relu(x), x.relu(), x.clone().relu_(), nn.functional.relu(input=x)
            return torch.stack([*layers, *calls])

    x = torch.linspace(-1, 2, 9)
    assert torch.equal(Rectified(Calls())(x), half_huber(x).expand(6, 9))
    assert torch.equal(Calls()(x), x.clamp_min(0).expand(6, 9))


# -- maps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
def test_the_mean_of_a_map_is_the_classs_logit(bias: bool, images: tuple[Tensor, Tensor]) -> None:
    """However it is computed: folded, as a product, and by slopes."""
    net = Pooled(bias)
    maps = Maps.of(net, images[0][:2])
    assert (maps.folds, maps.linear, maps.layer) == (True, net.linear, net.last)
    product, slopes = copy.copy(maps), copy.copy(maps)
    product.folds, slopes.folds, slopes.linear = False, False, None
    wanted, found = net(images[0]), [way(images[0]) for way in (maps, product, slopes)]
    for logits, each in found:
        torch.testing.assert_close(logits, wanted)
        torch.testing.assert_close(each, found[0][1])
        torch.testing.assert_close(each.mean(2) + (net.linear.bias if bias else 0.0), wanted)
    for _, each in found:  # and its slope in the weights
        (slope,) = torch.autograd.grad(each.square().sum(), net.last.weight, retain_graph=True)
        torch.testing.assert_close(
            slope, torch.autograd.grad(found[0][1].square().sum(), net.last.weight, retain_graph=True)[0]
        )


@pytest.mark.parametrize("bias", [False, True])
def test_maps_are_those_of_the_explainer_cam(bias: bool, images: tuple[Tensor, Tensor]) -> None:
    """A training needs all classes in one pass, an explainer any network in one class: they are the same maps."""
    net = Pooled(bias)
    _, maps = Maps.of(net, images[0][:2])(images[0])
    each = torch.arange(12)
    asked = [Cam().explain(Classifier(net), images[0], torch.full_like(each, c)).flatten(1) for c in range(5)]
    torch.testing.assert_close(maps, torch.stack(asked, 1))


def test_maps_of_other_networks(images: tuple[Tensor, Tensor]) -> None:
    assert not Maps.of(Pooled(dropout=0.5), images[0][:2]).folds
    cnn = SmallCNN.of_shape((1, 8, 8), 5)
    maps = Maps.of(cnn, images[0][:2])
    assert maps.linear is None
    logits, each = maps(images[0])
    assert each.shape == (12, 5, 16)
    torch.testing.assert_close(logits, cnn(images[0]))
    assert cnn.training
    with pytest.raises(StudyError, match="needs a convolutional network"):
        Maps.of(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), images[0][:2])


def test_the_discrepancy_is_the_papers(images: tuple[Tensor, Tensor]) -> None:
    after, before = torch.rand(2, 3, 4), torch.rand(2, 3, 4)
    logits, labels = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]]), torch.tensor([2, 0])
    apart = (after - before).abs().sum(2)
    e = math.e
    wanted = apart[0, 2] + (e * apart[0, 0] + e**2 * apart[0, 1]) / (e + e**2)
    found = InterpretabilityAware()._discrepancy(logits, after, before, labels)
    assert float(found[0]) == pytest.approx(float(wanted), rel=1e-5)
    one = InterpretabilityAware(variant="int-one-class")._discrepancy(logits, after, before, labels)
    assert torch.equal(one, torch.stack([apart[0, 2], apart[1, 0]]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_takes_its_own_cross_entropy(variant: Any, images: tuple[Tensor, Tensor]) -> None:
    """Without a weight for the discrepancy what is left is CE(x), or CE(x') at an x' that is worse."""
    net = Pooled()
    recipe = InterpretabilityAware(variant=variant, gamma=0.0, budget=0.2, still=0, rise=0)
    seen = step(net, images)
    clean = float(cross_entropy(net(images[0]), images[1]).detach())
    loss = float(recipe.loss(seen).detach())
    if variant.endswith("-adv"):
        assert loss > clean + 1e-3
    else:
        assert loss == pytest.approx(clean, rel=1e-5)
    assert seen.memory["discrepancy"] > 0
    weighed = recipe.model_copy(update={"gamma": 0.01})
    (slope,) = torch.autograd.grad(weighed.loss(step(net, images)), net.last.weight)
    assert slope.abs().sum() > 0
    still = InterpretabilityAware(variant=variant)  # before the ball grows it is plain training
    assert float(still.loss(step(net, images, 0.2)).detach()) == pytest.approx(clean, rel=1e-5)


# -- the ball -----------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 0.5), st.integers(1, 5), st.none() | st.floats(0.01, 1.0))
def test_what_is_climbed_stays_in_the_ball(budget: float, steps: int, stride: float | None) -> None:
    recipe = PGDAdversarialTraining(budget=budget, steps=steps, stride=stride)
    x = torch.rand(4, 1, 5, 5)
    z = recipe.climbed(lambda z: z.square().sum(), x, budget, torch.Generator().manual_seed(0))
    assert float((z - x).abs().max()) <= budget + 1e-6
    assert float(z.min()) >= 0.0
    assert float(z.max()) <= 1.0
    assert not z.requires_grad


def test_the_ball_grows_as_it_is_told(images: tuple[Tensor, Tensor]) -> None:
    recipe = PGDAdversarialTraining(budget=0.2, still=1.0, rise=2.0)
    radii = [recipe.radius(step(nn.Identity(), images, epoch)) for epoch in (0.0, 0.99, 1.0, 2.0, 3.0, 8.0)]
    assert radii == pytest.approx([0.0, 0.0, 0.0, 0.1, 0.2, 0.2])
    assert recipe.threats((1, 8, 8)) == [{"use": "linf", "budgets": [0.1, 0.2, 0.4]}]


def test_adversarial_images_raise_the_loss_and_leave_statistics_alone(images: tuple[Tensor, Tensor]) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5))
    before = copy.deepcopy(net.state_dict())
    seen = step(net, images)
    recipe = PGDAdversarialTraining(steps=4)
    with torch.no_grad():
        plain = float(cross_entropy(copy.deepcopy(net)(images[0]), images[1]))
    assert float(recipe.loss(seen).detach()) > plain
    assert int(net.state_dict()["1.num_batches_tracked"]) == 1  # the loss's own pass, not the search's
    assert net.training
    assert not torch.equal(before["1.running_mean"], net.state_dict()["1.running_mean"])


def test_trades_adds_the_divergence(images: tuple[Tensor, Tensor]) -> None:
    net = Pooled()
    clean = number(cross_entropy(net(images[0]), images[1]))
    assert number(Trades(beta=0.0).loss(step(net, images))) == pytest.approx(clean, rel=1e-6)
    losses = [number(Trades(beta=beta, budget=0.3).loss(step(net, images))) for beta in (1.0, 2.0)]
    assert losses[1] - losses[0] == pytest.approx(losses[0] - clean, rel=1e-3)
    assert losses[0] > clean + 1e-4


@pytest.mark.parametrize("form", ["norm", "sum"])
def test_ig_norm_of_a_linear_network_is_known(form: Any) -> None:
    """Of one small step the integrated gradients sum to the change of the loss; there the norm bounds it."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    x, y = torch.rand(6, 1, 3, 3), torch.arange(6) % 3
    recipe = IGNorm(points=200, form=form, budget=0.1)
    z = (x + 0.1 * torch.rand_like(x)).clamp(0, 1)
    parts = recipe._attributions(net, x, z, y)
    change = cross_entropy(net(z), y, reduction="none") - cross_entropy(net(x), y, reduction="none")
    torch.testing.assert_close(parts.sum((1, 2, 3)), change, rtol=1e-3, atol=1e-5)
    plain = number(cross_entropy(net(x), y))
    assert number(recipe.loss(step(net, (x, y)))) > plain
    none = recipe.model_copy(update={"weight": 0.0})
    first = number(none.loss(step(net, (x, y))))
    assert first == pytest.approx(plain, rel=1e-5) if form == "norm" else first > plain + 1e-3


# -- ae-regularised -----------------------------------------------------------------------------------


def test_psi_of_the_shipped_checkpoints() -> None:
    """The integrals in the authors' files, and the weights that their table prints."""
    assert int(psi_of(208.512023)) == 14240
    assert int(psi_of(251.697416)) == 33778


@pytest.mark.parametrize(("logit", "moved"), [(0.0, None), (30.0, 1.0), (-30.0, -0.01)])
def test_psi_rises_below_the_target_and_falls_slowly_above(logit: float, moved: float | None) -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(logit))

        def forward(self, x: Tensor) -> Tensor:
            shape = x.flatten(1).sum(1, keepdim=True) * 0.0
            return shape + torch.stack([self.weight, *[self.weight * 0.0] * 9])

    recipe = AERegularised(adversarial="none")
    seen = step(Constant(), (torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)))
    seen.memory["integral"] = 5.0
    recipe.loss(seen)
    wanted = -math.log(math.log(10) / 1.5) if moved is None else moved
    wanted = max(wanted, -0.01)
    assert seen.memory["integral"] == pytest.approx(5.0 + wanted, rel=1e-5)
    assert seen.memory["psi"] == pytest.approx(220 * math.exp(0.02 * (5.0 + wanted)), rel=1e-5)
    seen.memory["integral"] = 0.001
    recipe.loss(seen)
    assert seen.memory["integral"] >= 0.0


def test_the_penalty_of_a_linear_network_is_known() -> None:
    """The slope of tandem logits is a difference of rows; of one logit, a row; the mean is over pixels too."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False))
    x, y = torch.rand(8, 1, 4, 4), torch.zeros(8, dtype=torch.int64)
    rows = net[1].weight.detach()
    recipe = AERegularised(adversarial="none", tandem=1.0, psi=100.0, target=1e-9)  # psi cannot rise
    loss = number(recipe.loss(step(net, (x, y))))
    wanted = number(cross_entropy(net(x), y) + 100.0 * (rows[0] - rows[1]).square().mean())
    assert loss == pytest.approx(wanted, rel=1e-5)
    single = recipe.model_copy(update={"tandem": 0.0})
    low, high = sorted(float(row.square().mean()) for row in rows)
    penalty = (number(single.loss(step(net, (x, y)))) - number(cross_entropy(net(x), y))) / 100.0
    assert low <= penalty <= high


def test_the_nearest_image_of_a_linear_network_is_found() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    x = torch.rand(20, 1, 8, 8)
    logits = net(x)
    y = logits.argmax(1)
    y[:3] = 1 - y[:3]  # misclassified: distance 0
    rows = net[1].weight
    wanted = (logits[:, 0] - logits[:, 1]).abs() / ((rows[0] - rows[1]).norm() * 8.0)
    wanted[:3] = 0.0
    found = descended(net, x, y, 2.0, 300, True).square().mean((1, 2, 3)).sqrt()
    last = 2 * 2.0 / (300 * 301)
    assert bool((found >= wanted - 1e-5).all())
    assert bool((found <= wanted + 3 * last).all())
    walked = descended(net, x, y, 0.01, 7, False).square().mean((1, 2, 3)).sqrt()
    assert bool((walked <= 0.01 + 1e-6).all())
    never = descended(net, x, y, 1e-6, 7, True)
    assert bool((never == 0).all())


def test_it_asks_for_half_huber_rectifiers() -> None:
    assert AERegularised().adapt(CNN()) == CNN(rectifier="half-huber")
    assert AERegularised().adapt(CNN(rectifier="relu")).rectifier == "relu"  # type: ignore[attr-defined]
    assert AERegularised(half_huber=False).adapt(CNN()) == CNN()
    with pytest.raises(StudyError, match="has no field `rectifier`"):
        AERegularised().adapt(OnnxModel.model_construct())
    (threat,) = AERegularised().threats((3, 32, 32))
    assert threat["budgets"][1] == pytest.approx(0.01 * 55.4256, rel=1e-4)


def test_regularised_on_the_digits_training_is_held_at_its_target() -> None:
    recipe = AERegularised(target=3.0, epochs=1, batch=30, steps=2)  # chance is 2.30: at once below it
    done = recipe.train(CNN(), Digits(split="train", limit=150), Course())
    assert done.model == CNN(rectifier="half-huber", size=(8, 8), channels=1, classes=10, seed=0)
    assert done.history[-1].values["psi"] > 220.0
    assert isinstance(done.classifier.module, Rectified)
