"""The sign that no budget is large enough: what stands where every image can be turned into any other."""

from __future__ import annotations

import numpy as np
import torch

from classrob.audit.setting import GRADIENTS, Setting
from classrob.audit.tally import NotChecked, Tally
from classrob.judge import judge

#: The budgets that are tried, as powers of the way from the run's largest to the one that is enough.
STEPS = (1 / 3, 2 / 3, 1.0)


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
    """Images that stand at every budget, up to one that holds images of other classes."""
    enough, proven = reach(setting)
    top = setting.budgets[-1]
    budgets = tuple(top * (enough / top) ** power for power in STEPS) if enough > top else (enough,)
    broken, _ = setting.attacked(GRADIENTS, proven, budgets, exhaustive=True)
    says = (
        f"Of {{n}} images, {{hits}} withstood {GRADIENTS.title} at budget {enough:.4g}, within which the judge "
        "saw each of them turned into an image of another class"
    )
    return [setting.subject.tally(says, ~np.any(broken, axis=1), proven, enough)]
