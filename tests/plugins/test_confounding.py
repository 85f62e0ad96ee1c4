"""Confounding gradients: the paper's identities, and what the learned detector makes of the digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from classrob.errors import StudyError
from classrob.images import Fit
from classrob.live import Batch, Classifier
from classrob.scorer import Reference
from classrob.streams import Streams
from classrob_detectors.confounding import ConfoundingGradient, Norms
from classrob_detectors.labels import confounding, loss_of
from classrob_detectors.norms import squared_gradient_norms

LOGITS = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("label", "slope", "norm"),
    [
        ("ones", (-0.03973431, -0.16666667, -0.24368619), 0.0887395536),
        ("zeros", (0.29359903, 0.16666667, 0.08964714), 0.1220147756),
    ],
)
def test_slope_in_the_logits(label: str, slope: tuple[float, ...], norm: float) -> None:
    """Section 3.5: the slope of the mean binary cross-entropy at (2, 0, −1)."""
    z = LOGITS.clone().requires_grad_()
    (got,) = torch.autograd.grad(loss_of(confounding(label, 3, 2, 0), "sigmoid")(z).sum(), z)  # type: ignore[arg-type]
    assert got[0].tolist() == pytest.approx(slope, abs=5e-9)
    assert float(got.square().sum()) == pytest.approx(norm, abs=5e-11)


def test_slopes_of_two_labels_differ_by_the_labels_alone() -> None:
    z = torch.randn(5, 6, dtype=torch.float64).requires_grad_()
    labels = [confounding("halves", 6, 2, 0), confounding("random", 6, 4, 3)]
    slopes = [torch.autograd.grad(loss_of(y, "sigmoid")(z).sum(), z)[0] for y in labels]
    wanted = ((labels[1] - labels[0]) / 6).expand(5, 6).double()
    assert torch.allclose(slopes[0] - slopes[1], wanted, atol=1e-12)


def test_softmax_slope_is_zero_for_a_uniform_prediction() -> None:
    z = torch.randn(4, 5, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(loss_of(torch.ones(5), "softmax")(z).sum(), z)
    assert torch.allclose(slope, 5 * z.detach().softmax(1) - 1, atol=1e-12)


@pytest.mark.parametrize("label", ["ones", "zeros", "halves", "random"])
def test_norms_of_a_linear_head(label: str) -> None:
    """‖∂J/∂b‖² = Σ(σ(z) − y)²/k², and that times ‖h‖² for the weights; to 1e-10 in float64."""
    torch.manual_seed(0)
    head = nn.Linear(7, 6).double()
    h, y = torch.randn(9, 7, dtype=torch.float64), confounding(label, 6, 4, 0).double()  # type: ignore[arg-type]
    weight, bias = squared_gradient_norms(head, h, loss_of(y, "sigmoid")).unbind(1)
    wanted = ((head(h).sigmoid() - y) ** 2).sum(1) / 36
    assert torch.allclose(bias, wanted, atol=1e-10, rtol=1e-10)
    assert torch.allclose(weight, wanted * h.square().sum(1), atol=1e-10, rtol=1e-10)


def test_a_confounding_label_is_no_ordinary_one() -> None:
    assert [int(confounding(k, 5, 3, 0).sum()) for k in ("ones", "zeros", "halves", "random")] == [5, 0, 2, 3]  # type: ignore[arg-type]
    assert not torch.equal(confounding("random", 50, 9, 0), confounding("random", 50, 9, 1))
    for kind, classes, ones in (("random", 5, 1), ("halves", 3, 2), ("random", 5, 6), ("ones", 1, 2)):
        with pytest.raises(StudyError, match="any number of ones but 1"):
            confounding(kind, classes, ones, 0)  # type: ignore[arg-type]


def test_the_model_is_left_as_it_was_and_scaling_the_loss_scales_the_norms() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 5))
    classifier = Classifier(net, fit=Fit((8, 8), 1))
    x = torch.rand(21, 1, 8, 8)
    with classifier.frozen():
        norms = Norms(classifier, torch.ones(5), "sigmoid")
        found = norms(x)
        assert found.shape == (21, 4)
        assert torch.allclose(norms(x.flip(0)).flip(0), found, rtol=1e-5)
        assert all(p.grad is None and not p.requires_grad for p in net.parameters())
    loss = loss_of(torch.ones(5), "sigmoid")
    thrice = squared_gradient_norms(net, x, lambda z: 3 * loss(z))
    assert torch.allclose(thrice, 9 * found, rtol=1e-4)


def test_norms_have_a_slope_in_the_images() -> None:
    """What an attack that sees the detector climbs: against a small step along it."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(108, 5)).double()
    classifier = Classifier(net, fit=Fit((8, 8), 1))
    x = torch.rand(5, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    with classifier.frozen():
        norms = Norms(classifier, torch.ones(5), "sigmoid")
        (slope,) = torch.autograd.grad(norms(x).log().sum(), x)
        step = 1e-3 * slope / slope.norm()
        with torch.no_grad():
            up, down = norms(x + step), norms(x - step)
        assert not up.requires_grad
    assert float((up.log() - down.log()).sum() / 2e-3) == pytest.approx(float(slope.norm()), rel=1e-2)


# -- section 3.6: digits ------------------------------------------------------------------------------


class Small(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip


def trained(seed: int, batch_size: int = 64) -> tuple[Classifier, Tensor, Tensor]:
    """A small CNN trained on the first 1,000 digits; the 797 others and their labels."""
    bunch = load_digits()
    x = torch.tensor(bunch.images / 16.0, dtype=torch.float32)[:, None]
    y = torch.tensor(bunch.target)
    torch.manual_seed(seed)
    net = Small()
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(60):
        for rows in torch.randperm(1000).split(batch_size):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    net.zero_grad(set_to_none=True)
    return Classifier(net.eval(), fit=Fit((8, 8), 1)), x[1000:], y[1000:]


@pytest.fixture(scope="module")
def digits() -> tuple[Classifier, Tensor, Tensor]:
    """One training."""
    classifier, x, y = trained(0)
    with torch.no_grad():
        assert float((classifier(x).argmax(1) == y).float().mean()) > 0.93
    return classifier, x, y


def outliers(what: str, classifier: Classifier, x: Tensor, y: Tensor) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    if what == "uniform":
        return torch.rand(x.shape, generator=draw)
    if what == "gaussian":
        return (0.5 + 0.25 * torch.randn(x.shape, generator=draw)).clamp(0, 1)
    if what == "inverted":
        return 1 - x
    if what == "flipped":
        return x.flip(2)
    z = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(classifier(z), y, reduction="sum"), z)
    return (x + float(what) * slope.sign()).clamp(0, 1)


#: The published figures: 1 − MSP; then sum and learned detector for all ones and for all zeros.
TABLE = {
    "uniform": (0.926, 0.315, 0.999, 0.219, 0.988),
    "gaussian": (0.926, 0.194, 0.999, 0.144, 0.989),
    "inverted": (0.890, 0.928, 1.000, 0.642, 0.998),
    "flipped": (0.796, 0.390, 0.818, 0.431, 0.832),
    "0.1": (0.871, 0.434, 0.748, 0.496, 0.752),
    "0.2": (0.793, 0.386, 0.808, 0.430, 0.784),
}


def figures(classifier: Classifier, x: Tensor, y: Tensor, what: str) -> list[float]:
    """The row of the table: pairs of an image and its outlier on one side of an 80/20 split."""
    strange = outliers(what, classifier, x, y)
    first = torch.arange(len(x)) % 5 != 0
    ids = [str(i) for i in range(len(x))]
    kept = [ids[i] for i in first.nonzero()[:, 0].tolist()]
    streams = Streams.keyed(0, "digits", kept, "")
    batch = Batch(tuple(kept), x[first], y[first])
    reference = Reference(batch, {what: Batch(tuple(kept), strange[first], y[first])}, streams)
    found = []
    with torch.no_grad():
        msp = [-classifier(one).softmax(1).amax(1) for one in (x, strange)]
    found.append(area(msp[0], msp[1]))
    for label, variant in (("ones", "sigmoid"), ("zeros", "sigmoid")):
        for read, rows in (("sum", slice(None)), ("learned", ~first)):
            part = ConfoundingGradient(label=label, variant=variant, read=read)  # type: ignore[arg-type]
            with classifier.frozen():
                scorer = part.fit(classifier, reference)
                found.append(area(scorer.score(x[rows]), scorer.score(strange[rows])))
    return found


def area(inside: Tensor, outside: Tensor) -> float:
    truth = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    return float(roc_auc_score(truth, torch.cat([inside, outside]).numpy()))


#: How far learned detectors may lie from the published figure: where the network seen is one training of many, and
#: 160 pairs tell an AUROC of 0.8 to 0.025, more than where it is 1.
NEAR, FAR = 0.03, 0.06


@pytest.mark.parametrize("what", TABLE)
def test_the_table_on_digits(what: str, digits: tuple[Classifier, Tensor, Tensor]) -> None:
    """One training against another one: learned detectors within 0.03 or 0.06, plain sums and MSP within 0.12.

    The mean of five trainings over all test images is within 0.03 in every learned cell of both sigmoid columns
    (docs/explanation/papers.md has it, and why sums and the softmax columns are not). The direction of the sums is
    published too, below 1/2 for noise.
    """
    found = figures(*digits, what)
    learned = NEAR if what in ("uniform", "gaussian", "inverted") else FAR
    for place, far in ((0, 0.12), (1, 0.12), (2, learned), (3, 0.12), (4, learned)):
        assert found[place] == pytest.approx(TABLE[what][place], abs=far), (what, place)
    if what in ("uniform", "gaussian"):
        assert max(found[1], found[3]) < 0.5
    if what == "0.1":
        assert found[0] > max(found[2], found[4]), "MSP is the better one for this small network"
