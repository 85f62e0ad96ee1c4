"""The sign that no budget is large enough: what stands where every image can be turned into any other."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from classrob.audit.setting import Probe, Setting
from classrob.audit.tally import NotChecked, Tally
from classrob.judge import judge

#: The budgets that are tried, as powers of the way from the run's largest to the one that is enough.
STEPS = (1.0, 2 / 3, 1 / 3)
#: The margin has a slope where the softmax is saturated, as it is on honest models far from their images.
CLIMB = Probe("lp/pgd", {"steps": 40, "loss": "margin"}, "40 steps of PGD on the margin")
#: Walks of one image at one budget: from the image itself, then from random points that are classified right.
WALKS = 4
#: A random point that is misclassified is drawn half the way to the image, at most so often.
HALVINGS = 6


def reach(setting: Setting) -> tuple[float, np.ndarray]:
    """A budget within which every image can be turned into one of another class, and the proof of it.

    Returns:
        The budget, and bool [n]: the images that the judge saw replaced by another of the batch, within
        it and misclassified.

    Raises:
        NotChecked: the threat is no offset of pixels, or the model knows a single class only.
    """
    if not setting.threat.part.pixels:
        raise NotChecked("the threat is no offset of pixels, so it may never turn an image into any other")
    batch, right = setting.subject.batch, setting.right
    labels = batch.labels.cpu().numpy()
    pool = np.flatnonzero(right)
    if not (labels[pool] != labels[pool[:1]]).any():
        raise NotChecked(
            "the model classifies images of a single class right, so none can take another's place"
        )
    index = np.arange(len(labels))
    donors = [next(j for j in np.roll(pool, -i) if labels[j] != labels[i]) for i in index]
    z = batch.images[torch.tensor(donors, device=batch.labels.device)] - batch.images
    enough = float(setting.space.distance(z).max()) * (1 + 1e-5)
    setting.subject.queries += len(labels)
    verdict = judge(setting.subject.classifier, setting.at(np.ones(len(labels), bool), enough), batch, z)
    return enough, right & verdict.broken.numpy()


def growth(setting: Setting) -> list[Tally]:
    """Images that stand at every budget, up to one that holds images of other classes, wherever a walk begins.

    A walk begins where the image is still classified right, so that only the gradient can break it: at such a
    budget most random points are misclassified, whatever the gradient is worth.
    """
    enough, proven = reach(setting)
    top = setting.budgets[-1]
    budgets = [top * (enough / top) ** power for power in STEPS] if enough > top else [enough]
    stands = proven.copy()
    for walk, budget in ((walk, budget) for walk in range(WALKS) for budget in budgets):
        if stands.any():
            stands[stands] = ~setting.walked(CLIMB, stands, budget, _origins(setting, stands, budget, walk))
    says = (
        f"Of {{n}} images, {{hits}} withstood {CLIMB.title}, from the image and from {WALKS - 1} random points, "
        f"at budgets up to {enough:.4g}, within which the judge saw each of them turned into an image of another "
        "class"
    )
    return [setting.subject.tally(says, stands, proven, enough)]


def _origins(setting: Setting, rows: np.ndarray, budget: float, walk: int) -> Tensor:
    """Where the rows' walk begins: at the image, or at a random point drawn to it until it is classified right."""
    space = setting.at(rows, budget)
    z = space.centre().clone()
    if not walk:
        return z
    index = torch.from_numpy(np.flatnonzero(rows)).to(z.device)
    batch = setting.subject.batch.select(index)
    drawn, found = (
        space.start(setting.streams("growth").select(index).fork(walk)),
        torch.zeros(len(index), dtype=torch.bool),
    )
    for halving in range(HALVINGS):
        point = space.shrink(drawn, torch.full_like(space.budget, 0.5**halving))
        setting.subject.queries += len(index)
        fresh = ~found & ~judge(setting.subject.classifier, space, batch, point).broken
        z[fresh.to(z.device)] = point[fresh.to(z.device)]
        found |= fresh
        if found.all():
            break
    return z
