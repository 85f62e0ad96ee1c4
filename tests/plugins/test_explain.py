"""Explanations against what they are defined as: closed forms, hand checks, and the properties they are used for."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import kendalltau
from torch import Tensor, nn

from classrob import Batch, Classifier, Explainer, NotExplainable, Streams
from classrob.catalog import Catalog
from classrob.errors import StudyError
from classrob.pool import Pool
from classrob.reading.results import Results
from classrob.table import Observed, Table
from classrob_classwise.area import area
from classrob_explain.adversarial import AdversarialExplanation
from classrob_explain.ara import AraDescent, AraDescentToChance
from classrob_explain.areas import AreaToChance
from classrob_explain.asking import differentiable
from classrob_explain.cam import Cam, CamPlusPlus, GradCam
from classrob_explain.compared import agreement, kendall, top
from classrob_explain.descent import length, unit
from classrob_explain.discrepancy import Explanations
from classrob_explain.gradients import InputGradient, IntegratedGradients, SmoothGrad
from classrob_explain.rmse import Rmse

from ..host.conftest import Called


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def small(bias: bool = False, head: str = "linear") -> Classifier:
    """Convolution, ReLU, convolution, mean over places, and a head, all the ways that it can be written."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2)]
        ends: dict[str, list[nn.Module]] = {
            "linear": [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4, bias=bias)],
            "convolution": [nn.Conv2d(8, 4, 1, bias=bias), nn.AdaptiveAvgPool2d(1), nn.Flatten()],
            "wide convolution": [
                nn.Conv2d(8, 4, 3, padding=1, bias=bias),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            ],
            "pooled convolution": [nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1, bias=bias), nn.Flatten()],
            "softmax": [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4), nn.Softmax(1)],
            "flat": [nn.Flatten(), nn.Linear(8 * 9, 4)],
        }
        return Classifier(nn.Sequential(*body, *ends[head]).eval())


IMAGES, LABELS = drawn(5, 1, 8, 8), torch.tensor([0, 1, 2, 3, 0])


# -- class activation maps ----------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["linear", "convolution", "wide convolution", "pooled convolution"])
@pytest.mark.parametrize("n", [1, 5])
def test_the_mean_of_a_class_activation_map_is_the_logit(head: str, n: int) -> None:
    classifier = small(head=head)
    for labels in (LABELS[:n], (LABELS[:n] + 1) % 4):
        map_ = Cam().explain(classifier, IMAGES[:n], labels)
        assert map_.shape == (n, 1, 3, 3)
        logits = classifier(IMAGES[:n]).gather(1, labels[:, None])[:, 0]
        torch.testing.assert_close(map_.mean((1, 2, 3)), logits)


def test_a_bias_is_no_part_of_the_map() -> None:
    classifier = small(bias=True)
    bias = classifier.module[-1].bias  # type: ignore[index]
    map_ = Cam().explain(classifier, IMAGES, LABELS)
    logits = classifier(IMAGES).gather(1, LABELS[:, None])[:, 0]
    torch.testing.assert_close(map_.mean((1, 2, 3)) + bias[LABELS], logits)


def test_cam_plus_plus_leaves_out_negative_weights() -> None:
    classifier = small()
    features = classifier.module[:3](IMAGES)  # type: ignore[index]
    weights = classifier.module[-1].weight.relu()[LABELS]  # type: ignore[index]
    expected = torch.einsum("nd,ndhw->nhw", weights, features)[:, None]
    torch.testing.assert_close(CamPlusPlus().explain(classifier, IMAGES, LABELS), expected)


def test_grad_cam_of_averaged_features_is_the_map_by_the_number_of_places() -> None:
    classifier = small()
    expected = Cam().explain(classifier, IMAGES, LABELS) / 9
    torch.testing.assert_close(GradCam(rectified=False).explain(classifier, IMAGES, LABELS), expected)
    torch.testing.assert_close(GradCam().explain(classifier, IMAGES, LABELS), expected.relu())


@pytest.mark.parametrize("head", ["softmax", "flat"])
@pytest.mark.parametrize("n", [1, 5])
def test_where_there_is_no_class_activation_map_the_error_says_what_to_take(head: str, n: int) -> None:
    with pytest.raises(NotExplainable, match="take 'grad-cam'"):
        Cam().explain(small(head=head), IMAGES[:n], LABELS[:n])


def test_a_model_of_patches_is_refused_by_grad_cam() -> None:
    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cut, self.head = nn.Conv2d(1, 4, 2, 2), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.cut(x).flatten(2).mT).mean(1)

    with pytest.raises(NotExplainable, match="sequence of patches"):
        GradCam().explain(Classifier(Patches()), IMAGES, LABELS % 3)


def test_maps_are_found_in_timm_models_and_their_weights_can_be_trained_by_them() -> None:
    pytest.importorskip("timm")
    part = Catalog.installed().make("model", "timm/resnet10t", {"num_classes": 5})
    classifier = part.load("cpu")
    classifier.module.eval()
    images, labels = drawn(2, 3, 64, 64), torch.tensor([0, 3])
    map_ = Cam().explain(classifier, images, labels)
    assert map_.shape == (2, 1, 2, 2)
    bias = classifier.module.module.fc.bias  # type: ignore[union-attr]
    logits = classifier(images).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(map_.mean((1, 2, 3)) + bias[labels], logits, rtol=1e-3, atol=1e-4)
    map_.square().sum().backward()
    assert classifier.module.module.conv1[0].weight.grad.any()  # type: ignore[union-attr]


# -- slopes -------------------------------------------------------------------------------------------


def linear() -> tuple[Classifier, Tensor]:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with torch.no_grad():
        module[1].weight.copy_(drawn(4, 64, seed=1) - 0.5)  # pyright: ignore[reportCallIssue, reportArgumentType]
    weights = module[1].weight.detach().view(4, 1, 8, 8)  # pyright: ignore[reportCallIssue]
    return Classifier(module), weights


def test_of_a_linear_model_all_slopes_are_its_weights() -> None:
    classifier, weights = linear()
    for explainer in (InputGradient(), SmoothGrad(samples=3)):
        torch.testing.assert_close(explainer.explain(classifier, IMAGES, LABELS), weights[LABELS])
    found = IntegratedGradients(steps=3, baseline=0.25).explain(classifier, IMAGES, LABELS)
    torch.testing.assert_close(found, weights[LABELS] * (IMAGES - 0.25))


def test_integrated_gradients_sum_to_the_change_of_the_logit() -> None:
    classifier = small(head="flat")
    found = IntegratedGradients(steps=400).explain(classifier, IMAGES, LABELS).sum((1, 2, 3))
    logits = [classifier(x).gather(1, LABELS[:, None])[:, 0] for x in (IMAGES, 0 * IMAGES)]
    torch.testing.assert_close(found, logits[0] - logits[1], rtol=0.02, atol=2e-3)


def test_the_smooth_form_of_integrated_gradients_is_that_of_a_network_of_softplus() -> None:
    classifier, soft = small(head="flat"), small(head="flat")
    soft.module[1] = nn.Softplus()  # type: ignore[index]
    one = IntegratedGradients(steps=5, softplus=True).explain(classifier, IMAGES, LABELS)
    torch.testing.assert_close(one, IntegratedGradients(steps=5).explain(soft, IMAGES, LABELS))


def test_an_adversarial_explanation_ends_near_its_radius_and_raises_its_class() -> None:
    classifier = small(head="flat")
    offset = AdversarialExplanation(radius=0.1).explain(classifier, IMAGES, LABELS)
    assert ((offset.square().mean((1, 2, 3)).sqrt() - 0.1).abs() < 0.03).all()
    before, after = (classifier(x).softmax(1).gather(1, LABELS[:, None]) for x in (IMAGES, IMAGES + offset))
    assert (after > before).all()


# -- maps compared ------------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.booleans())
@settings(max_examples=12, deadline=None)
def test_kendall_is_scipys_and_agreement_is_a_share_of_common_places(seed: int, ties: bool) -> None:
    one, other = drawn(3, 1, 4, 4, seed=seed), drawn(3, 1, 4, 4, seed=seed + 1)
    if ties:
        one, other = (4 * one).round(), (4 * other).round()
    found = kendall(one, other)
    for value, a, b in zip(found.tolist(), one.flatten(1).numpy(), other.flatten(1).numpy(), strict=True):
        assert value == pytest.approx(float(kendalltau(a, b).statistic), abs=1e-6)
    shares = agreement(one, other, 5)
    for i, share in enumerate(shares.tolist()):
        both = set(top(one, 5)[i].flatten().nonzero()[:, 0].tolist())
        both &= set(top(other, 5)[i].flatten().nonzero()[:, 0].tolist())
        assert share == pytest.approx(len(both) / 5)


def test_a_flat_map_agrees_with_nothing() -> None:
    assert kendall(torch.ones(1, 1, 3, 3), drawn(1, 1, 3, 3)).tolist() == [0.0]


@given(st.integers(0, 2**31), st.floats(0.0, 0.5))
@settings(max_examples=15, deadline=None)
def test_the_two_class_discrepancy_is_never_below_its_bound(seed: int, far: float) -> None:
    """Whatever the change of an image is: where another class beats the true one, both maps had to move so far."""
    classifier = small(bias=True)
    moved = (IMAGES + far * (2 * drawn(5, 1, 8, 8, seed=seed) - 1)).clamp(0, 1)
    with torch.no_grad():
        after = classifier(moved).argmax(1)
        labels = torch.where(after == LABELS, (LABELS + 1) % 4, LABELS)
        batch = Batch(tuple("abcde"), IMAGES, labels)
        columns = Explanations(explainer=Cam()).observe(classifier, batch, moved)
    found, bound = columns["discrepancy-bound"].unbind(1)
    assert (found >= bound - 1e-5).all()


def test_nothing_moves_where_nothing_changed() -> None:
    batch = Batch(tuple("abcde"), IMAGES, LABELS)
    columns = Explanations(explainer=Cam()).observe(small(), batch, IMAGES.clone())
    assert not columns["discrepancy-l1"].any()
    assert not columns["discrepancy-l2"].any()
    torch.testing.assert_close(columns["agreement"], torch.ones(5, 2))


def test_the_discrepancies_are_those_of_the_definition() -> None:
    classifier, moved = small(), drawn(5, 1, 8, 8, seed=9)
    batch = Batch(tuple("abcde"), IMAGES, LABELS)
    with torch.no_grad():
        columns = Explanations(explainer=Cam()).observe(classifier, batch, moved)
        features = [classifier.module[:3](x) for x in (IMAGES, moved)]  # type: ignore[index]
        weights = classifier.module[-1].weight  # type: ignore[index]
        clean, after = (torch.einsum("kd,ndhw->nkhw", weights, one) for one in features)
        scale = clean.flatten(2).amax(2) - clean.flatten(2).amin(2)
        off = (after - clean).abs().flatten(2).sum(2) / scale
        said = classifier(moved)
        rival = said.scatter(1, LABELS[:, None], -torch.inf).argmax(1)
    own, other = off.gather(1, LABELS[:, None])[:, 0], off.gather(1, rival[:, None])[:, 0]
    expected = torch.stack([own, (own + other) / 2, off.mean(1)], 1)
    torch.testing.assert_close(columns["discrepancy-l1"], expected)


def test_a_study_is_told_of_an_explainer_that_is_not_there(study: Path, cli: Callable[..., Called]) -> None:
    done = cli("plan", study, "--set", 'probe=[{use="explanations", explainer="comb"}]')
    assert done.code == 3
    assert "no explainer is called 'comb'; did you mean 'cam'?" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_describe_names_the_explainer_that_is_meant_where_none_is(cli: Callable[..., Called]) -> None:
    done = cli("describe", "against-interpretability", "--format", "json")
    (found,) = (row for row in json.loads(done.out) if row["field"] == "explainer")
    assert found["default"] == '"InputGradient(times_input=False)"'


class Signs(Explainer):
    """The image's signs."""

    differentiable: ClassVar[bool] = False

    def explain(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        return images.sign()


def test_an_attack_refuses_maps_that_cannot_be_followed() -> None:
    with pytest.raises(StudyError, match="'Signs' cannot be differentiated"):
        differentiable(Signs())


@pytest.mark.parametrize("attack", ["against-interpretability", "interpretability-sneaking"])
def test_an_explainer_is_made_when_a_study_is_read_and_not_at_every_step(
    attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the catalogue takes longer than a step; four fifths of these searches had been that."""
    made: Any = Catalog.installed().make("attack", attack, {"explainer": "cam", "steps": 12})
    assert made.explainer == Cam()

    def unexpected() -> Catalog:
        raise AssertionError("the catalogue was read in a search")

    monkeypatch.setattr(Catalog, "installed", unexpected)
    streams = Streams.keyed(0, "", list("abcde"), "")
    batch, classifier = Batch(tuple("abcde"), IMAGES, LABELS), small()
    space = Rmse(budgets=(0.1,)).open(batch, classifier, streams)
    moved = made.search(classifier, space.at(torch.full((5,), 0.1)), batch, streams, None)
    assert moved.shape == IMAGES.shape


# -- the Accuracy-Robustness Area ---------------------------------------------------------------------


def test_the_papers_hand_check_of_an_area() -> None:
    """Section 3.2 of the notes: distances 0, .1, .2, .3 and ten classes make 0.12."""
    assert area(np.array([0.0, 0.1, 0.2, 0.3]), 1.0, 0.1)[0] == pytest.approx(0.12)


@given(st.floats(0.1, 30), st.integers(1, 500))
@settings(max_examples=50, deadline=None)
def test_the_steps_of_the_descent_sum_to_its_path(path: float, steps: int) -> None:
    assert sum(length(path, steps, s) for s in range(steps)) == pytest.approx(path)


@given(st.integers(0, 2**31), st.floats(1e-4, 1e6))
@settings(max_examples=12, deadline=None)
def test_a_unit_direction_has_a_root_mean_square_of_one(seed: int, scale: float) -> None:
    found = unit(scale * (drawn(3, 2, 4, seed=seed) - 0.5))
    torch.testing.assert_close(found.square().flatten(1).mean(1), torch.ones(3), rtol=0.05, atol=0.0)


def _searched(
    attack: Any, classifier: Classifier, images: Tensor, labels: Tensor, budget: float
) -> tuple[Any, Tensor]:
    batch = Batch(tuple(map(str, range(len(images)))), images, labels)
    streams = Streams.keyed(0, "test", batch.ids, "ara")
    space = Rmse(budgets=(budget,), clip=False).open(batch, classifier, streams)
    with classifier.frozen():
        return space, attack.walk(Pool(classifier, space, labels, streams, None))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_descent_finds_the_border_of_a_linear_model(momentum: float) -> None:
    """The distance is |margin| / (‖w_a − w_b‖ √D), to within the last few steps of 0.0002, never below it."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        module[1].weight.copy_(drawn(2, 64, seed=2) - 0.5)  # pyright: ignore[reportCallIssue, reportArgumentType]
        module[1].bias.zero_()  # pyright: ignore[reportCallIssue, reportArgumentType]
    classifier = Classifier(module)
    images = drawn(20, 1, 8, 8, seed=3)
    with torch.no_grad():
        logits = classifier(images)
    labels, gap = logits.argmax(1), (logits[:, 0] - logits[:, 1]).abs()
    away = module[1].weight[0] - module[1].weight[1]  # pyright: ignore[reportIndexIssue]
    exact = (gap / (away.norm() * 8)).detach()
    attack = AraDescent(steps=451, path=10.0, momentum=momentum)
    space, z = _searched(attack, classifier, images, labels, 2.0)
    found = space.distance(z)
    assert (found >= exact - 1e-5).all()
    assert (found <= exact + 6e-4).all()
    assert float((found - exact).mean()) < (5e-5 if momentum else 3e-4)


def test_down_to_chance_of_two_classes_is_the_border() -> None:
    """Of two classes chance is one half, so both searches end at the same place."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    classifier, images = Classifier(module), drawn(6, 1, 8, 8, seed=3)
    with torch.no_grad():
        module[1].weight.copy_(drawn(2, 64, seed=2) - 0.5)  # pyright: ignore[reportCallIssue, reportArgumentType]
        module[1].bias.zero_()  # pyright: ignore[reportCallIssue, reportArgumentType]
        labels = classifier(images).argmax(1)
    ends = [
        (lambda pair: pair[0].distance(pair[1]))(_searched(one, classifier, images, labels, 2.0))
        for one in (AraDescent(steps=101, rays=8), AraDescentToChance(steps=101, rays=8))
    ]
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-3, atol=1e-4)


def test_what_is_down_to_chance_at_once_has_distance_zero() -> None:
    classifier, _ = linear()
    with torch.no_grad():
        worst = classifier(IMAGES).argmin(1)
    space, z = _searched(AraDescentToChance(steps=11), classifier, IMAGES, worst, 2.0)
    assert not space.distance(z).any()


def test_halving_the_ray_only_brings_points_nearer() -> None:
    classifier = small(head="flat")
    with torch.no_grad():
        labels = classifier(IMAGES).argmax(1)
    plain, halved = (
        (lambda pair: pair[0].distance(pair[1]))(
            _searched(AraDescent(steps=n, rays=rays), classifier, IMAGES, labels, 5.0)
        )
        for n, rays in ((41, 0), (49, 8))
    )
    assert (halved <= plain + 1e-6).all()
    assert (halved < plain - 1e-5).any()


# -- a study's explainers, drawn ----------------------------------------------------------------------


def test_a_study_draws_its_explainers_on_the_pages_of_the_classes(
    study: Path, cli: Callable[..., Called]
) -> None:
    folder = study.parent / "runs" / "drawn"
    entries = (
        '[{use="input-gradient", name="<b>slope</b>"}, {use="adversarial-explanation", steps=3}, {use="cam"}]'
    )
    done = cli("run", study, "--out", folder, "--set", f"explainer={entries}")
    assert done.code == 0
    assert "explainer 'cam' draws nothing" in done.err
    with Results.open(folder) as results:
        attacked = [one for one in results.conditions if not one.clean and results.examples(one)]
        assert attacked
        for condition in attacked:
            drawn = results.drawings(condition)
            for example in results.examples(condition):
                names = [one.explainer for one in drawn[example.sample, example.budget]]
                assert names == ["<b>slope</b>", "adversarial-explanation"]
        (one, *_), *_ = drawn.values()
    for image in (one.original, one.perturbed, one.difference):
        assert Image.open(io.BytesIO(image)).mode == "RGB"
    assert cli("report", folder).code == 0
    page = (folder / "report.html").read_text("utf-8")
    assert "&lt;b&gt;slope&lt;/b&gt; of the original" in page
    assert "<b>slope</b>" not in page
    assert "What changed in it" in page


def test_an_explainer_changes_the_addresses_of_pictured_shards_alone(
    study: Path, cli: Callable[..., Called]
) -> None:
    folder = study.parent / "runs" / "addresses"
    assert cli("run", study, "--out", folder, "--set", "pictures=0").code == 0
    more = ["--set", "pictures=0", "--set", 'explainer=[{use="input-gradient"}]']
    assert "0 to do" in cli("run", study, "--out", folder, *more).err


WANDERS = """
import classrob


class Wanders(classrob.Attack):
    \"""Goes to a random point, and looks for nothing.\"""

    seeks_errors = False

    def search(self, classifier, space, batch, streams, start):
        assert start is None
        return space.start(streams)
"""


def test_an_attack_that_seeks_no_errors_is_asked_at_every_budget_for_every_sample(
    study: Path, cli: Callable[..., Called]
) -> None:
    folder = study.parent / "runs" / "wanders"
    (study.parent / "wanders.py").write_text(WANDERS)
    attack = 'threat=[{use="linf", budgets=[0.1, 0.2], attack={use="./wanders.py:Wanders", name="wanders"}}]'
    assert cli("run", study, "--out", folder, "--set", attack).code == 0
    with Results.open(folder) as results:
        (condition,) = [one for one in results.conditions if not one.clean]
        table = results.table(condition)
    assert set(table["basis"].tolist()) <= {"stood", "found"}
    assert (table["spent"] == 0).all()
    assert (table["distance"] > 0).all()


def test_what_is_not_clipped_is_judged_as_it_is() -> None:
    """A black image that has to become darker than black to be misclassified."""
    from classrob.judge import judge

    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([[1.0] * 4, [0.0] * 4]))  # pyright: ignore[reportCallIssue, reportArgumentType]
        module[1].bias.copy_(torch.tensor([0.2, 0.0]))  # pyright: ignore[reportCallIssue, reportArgumentType]
    batch = Batch(("black",), torch.zeros(1, 1, 2, 2), torch.tensor([0]))
    classifier, streams = Classifier(module), Streams.keyed(0, "test", batch.ids, "box")
    broken = []
    for clip in (True, False):
        space = Rmse(budgets=(0.5,), clip=clip).open(batch, classifier, streams)
        broken.append(bool(judge(classifier, space, batch, torch.full((1, 1, 2, 2), -0.1)).broken))
    assert broken == [False, True]


def test_an_area_down_to_chance_counts_confidence_and_not_errors() -> None:
    """Two of four samples are down to chance, at 0.1 and 0.3; the other two stand to the largest budget of 1."""
    columns = {
        "sample": np.array(list("abcd"), dtype=object),
        "label": np.zeros(4, np.int64),
        "predicted": np.array([1, 1, 0, 1]),
        "budget": np.ones(4),
        "distance": np.array([0.1, 0.2, 0.3, 0.4]),
    }
    seen = {"confidence": Observed(np.array([0.05, 0.5, 0.1, 0.9], np.float32), np.arange(4))}
    table = Table(tuple("0123456789"), None, columns, observed=seen)
    (whole, _) = AreaToChance().compute(table, table)
    assert whole.name == "ara-btr"
    assert whole.value == pytest.approx(0.1 * 0.9 + 0.2 * 0.65 + 0.7 * 0.4)
    assert whole.n == 4
