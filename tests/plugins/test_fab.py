"""FAB: the smallest change on a linear model, inside and outside of the budget, and where its walks begin."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classrob.errors import StudyError
from classrob.live import Batch, Classifier, Meter
from classrob.pool import Pool
from classrob.streams import Streams
from classrob.testing.arena import Tint
from classrob_lp import hyperplane
from classrob_lp.balls import L2Ball, LinfBall
from classrob_lp.fab import FAB
from classrob_lp.l1 import L1Ball

N, SHAPE = 12, (3, 6, 6)
#: How far above the smallest change it may end. Untargeted it compares classes without regard to the box.
NEAR = 1.1
BALLS: list[Any] = [LinfBall, L2Ball, L1Ball]
WAYS = {LinfBall: hyperplane.linf, L2Ball: hyperplane.l2, L1Ball: hyperplane.l1}


def setting(classes: int) -> tuple[Classifier, Batch, Streams]:
    """A linear model, and images that it classifies right."""
    ids = tuple(map(str, range(N)))
    draw = Streams.keyed(0, "d", ids, "images")
    images = (1.4 * draw.uniform(*SHAPE) - 0.2).clamp(0.0, 1.0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), classes))
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_(0.1 * Streams.keyed(1, "w", [name], "w").normal(*weight.shape)[0])
        labels = module(images).argmax(1)
    return Classifier(module), Batch(ids, images, labels), Streams.keyed(0, "d", ids, "search")


def logits(classifier: Classifier, space: Any, z: Tensor) -> Tensor:
    with torch.no_grad():
        return classifier(space.render(z))


def smallest(classifier: Classifier, batch: Batch, ball: Any) -> Tensor:
    """The smallest change that makes each other class as likely as the true one, [n, classes]; inf at it."""
    weight, bias = classifier.module[1].weight.detach(), classifier.module[1].bias.detach()  # pyright: ignore
    space, every = ball(torch.ones(N), batch.images), []
    for other in range(len(bias)):
        normal = weight[other] - weight[batch.labels]
        gap = -(batch.images.flatten(1) * normal).sum(1) - bias[other] + bias[batch.labels]
        offset = WAYS[ball](normal)(batch.images.flatten(1) - 0.5, gap).offset.view_as(batch.images)
        every.append(torch.where(batch.labels == other, torch.inf, space.distance(offset)))
    return torch.stack(every, 1)


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("targets", [0, 1, 3])
def test_on_a_linear_model_it_finds_nearly_the_smallest_change(ball: Any, targets: int) -> None:
    """Every sample falls at a budget a little above its smallest change, and none below it."""
    classifier, batch, streams = setting(4)
    nearest = smallest(classifier, batch, ball)
    if targets == 1:
        first = classifier(batch.images).detach().scatter(1, batch.labels[:, None], -torch.inf).argmax(1)
        aimed = nearest.gather(1, first[:, None])[:, 0]
    else:
        aimed = nearest.amin(1)
    for share, fall in ((NEAR, True), (0.98, False)):
        budget = share * (aimed if fall else nearest.amin(1))
        space = ball(budget, batch.images)
        z = FAB(steps=30, targets=targets).search(classifier, space, batch, streams, None)
        broken = logits(classifier, space, z).argmax(1) != batch.labels
        inside = space.distance(z) <= budget * (1 + 1e-6)
        assert (broken & inside).tolist() == [fall] * N


@pytest.mark.parametrize("ball", BALLS)
def test_what_it_cannot_break_inside_it_proposes_from_outside(ball: Any) -> None:
    """The nearest misclassified point, which is only a little farther than the smallest change."""
    classifier, batch, streams = setting(4)
    nearest = smallest(classifier, batch, ball).amin(1)
    space = ball(torch.full((N,), 1e-4), batch.images)
    z = FAB(steps=30).search(classifier, space, batch, streams, None)
    assert bool((logits(classifier, space, z).argmax(1) != batch.labels).all())
    assert bool((space.distance(z) >= nearest * (1 - 1e-4)).all())
    assert bool((space.distance(z) <= nearest * NEAR).all())
    assert float((batch.images + z).min()) >= 0.0
    assert float((batch.images + z).max()) <= 1.0


@pytest.mark.parametrize(("targets", "classes", "backwards"), [(0, 5, 5), (2, 5, 2), (9, 3, 2)])
def test_a_step_costs_two_forwards_and_a_gradient_a_target(
    targets: int, classes: int, backwards: int
) -> None:
    """Untargeted it takes one for every class; there are never more targets than other classes."""
    classifier, batch, streams = setting(classes)
    classifier.meter = Meter.of(N)
    space = LinfBall(torch.full((N,), 1e-5), batch.images)
    FAB(steps=7, targets=targets).search(classifier, space, batch, streams, None)
    walks = max(1, min(targets, classes - 1))
    assert classifier.meter.backwards.tolist() == [7 * backwards] * N
    extra = walks - 1 + (targets > 0)  # a walk's end is looked at before the next, and the targets chosen
    assert int(classifier.meter.forwards.max()) <= 7 * 2 * walks + extra


@pytest.mark.parametrize("ball", BALLS)
def test_walks_begin_at_the_image_and_later_at_half_of_a_random_start(ball: Any) -> None:
    classifier, batch, streams = setting(4)
    space = ball(torch.full((N,), 0.3), batch.images)
    start = space.start(streams.fork("larger"))
    pool = Pool(classifier, space, batch.labels, streams, start)
    fab = FAB(targets=2, restarts=2)
    pool.prepare("float32", fab.targets, persists=False, restarts=fab.restarts)
    for walk in range(4):
        live = pool.live(pool.begin() + walk)
        z = fab.begin(live)["z"]
        expected = [start, space.centre(), *[0.5 * space.start(live.streams)] * 2][walk]
        assert torch.equal(z, expected)
        assert bool((space.distance(z) <= 0.3 * (1 + 1e-6)).all())


def test_another_space_is_refused_in_one_line() -> None:
    classifier, batch, streams = setting(3)
    with pytest.raises(StudyError, match="'fab' knows the threats linf, l2 and l1, not Tint; try 'pgd'"):
        FAB().search(classifier, Tint(torch.full((N,), 0.3), batch.images), batch, streams, None)
