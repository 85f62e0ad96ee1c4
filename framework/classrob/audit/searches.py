"""Signs that two searches give away: what one of them finds at a budget and the other leaves standing."""

from __future__ import annotations

import numpy as np
import torch

from classrob.audit.setting import GRADIENTS, Probe, Setting
from classrob.audit.tally import NotChecked, Tally
from classrob.judge import judge

LONGER = Probe("lp/pgd", {"steps": 160}, "160 steps of PGD")
RESTARTED = Probe("lp/pgd", {"steps": 40, "restarts": 4}, "4 restarts of PGD")
ELSEWHERE = Probe("lp/pgd", {"steps": 40, "random_start": True}, "40 steps of PGD from a random point")
QUERIES = Probe("lp/square", {"steps": 400}, "400 queries of Square")

#: So many random images of each are looked at, drawn out to this many times a random point's distance.
DRAWS, STRETCH = 50, 4.0


def black_box(setting: Setting) -> list[Tally]:
    """Images that fall to queries alone; in the run's own records too, where it asked both kinds."""
    return [*_gained(setting, QUERIES), *setting.recorded]


def more_effort(setting: Setting) -> list[Tally]:
    """Images that fall to four times the steps, or to four restarts."""
    return [*_gained(setting, LONGER), *_gained(setting, RESTARTED)]


def random_start(setting: Setting) -> list[Tally]:
    """Images with another verdict, either way, where the search begins elsewhere."""
    broken, _ = setting.attacked(ELSEWHERE, setting.right)
    hits = setting.right[:, None] & (broken == setting.stood)
    says = f"Of {{n}} images, {{hits}} got another verdict when {GRADIENTS.title} began at a random point"
    return setting.tallies(says, hits)


def noise(setting: Setting) -> list[Tally]:
    """Images that fall to random points at the edge of the budget; the judge looks at each."""
    hits = np.zeros_like(setting.stood)
    for level, budget in enumerate(setting.budgets):
        if level:  # a point inside a budget is inside every larger one
            hits[:, level] = hits[:, level - 1] & setting.stood[:, level]
        for draw in range(DRAWS):
            rows = setting.stood[:, level] & ~hits[:, level]
            if not rows.any():
                break
            index = torch.from_numpy(np.flatnonzero(rows)).to(setting.subject.batch.labels.device)
            space = setting.at(rows, budget)
            z = space.start(setting.streams("noise").select(index).fork(draw))
            z = space.project(space.shrink(z, torch.full_like(space.budget, STRETCH)))
            batch = setting.subject.batch.select(index)
            hits[rows, level] = judge(setting.subject.classifier, space, batch, z).broken.numpy()
            setting.subject.queries += len(index)
    return setting.tallies(_says(setting, f"{DRAWS} draws of random noise"), hits)


def transfer(setting: Setting) -> list[Tally]:
    """Images that fall to what broke another model, drawn out to the whole budget."""
    if not setting.donors:
        raise NotChecked(
            "the study has no other model that was searched on the same images: add one, which need not be good"
        )
    hits = np.zeros_like(setting.stood)
    for level, budget in enumerate(setting.budgets):
        for donor in setting.donors:
            rows = setting.stood[:, level] & ~hits[:, level]
            if not rows.any():
                break
            index = torch.from_numpy(np.flatnonzero(rows)).to(setting.subject.batch.labels.device)
            space, z = setting.at(rows, budget), donor[index.cpu()].to(setting.space.centre())
            z = space.project(space.shrink(z, budget / space.distance(z).clamp_min(1e-12)))
            batch = setting.subject.batch.select(index)
            hits[rows, level] = judge(setting.subject.classifier, space, batch, z).broken.numpy()
            setting.subject.queries += len(index)
    return setting.tallies(_says(setting, "what had broken another model of the study"), hits)


def _gained(setting: Setting, probe: Probe) -> list[Tally]:
    """What a probe breaks at a budget where the plain gradient attack left it standing."""
    broken, _ = setting.attacked(probe, np.any(setting.stood, axis=1))
    return setting.tallies(_says(setting, probe.title), broken & setting.stood)


def _says(setting: Setting, other: str) -> str:
    return (
        f"Of {{n}} images that are classified right, {{hits}} withstood {setting.plain} and fell to {other}"
    )
