"""AutoAttack by its authors: it predicts, attacks what stands, and judges by itself."""

from __future__ import annotations

import contextlib
import os
import re

import autoattack
from measures.clock import Now, Took
from torch import Tensor, nn

from peers.task import Task

#: What it calls the attacks, and what they are called here.
NAMES = {"APGD-CE": "apgd-ce", "APGD-T": "apgd-targeted", "FAB-T": "fab-targeted", "SQUARE": "square"}


class Log:
    """Takes the place of its logger: what it says after each attack, with the time."""

    def __init__(self, now: Now) -> None:
        self.now, self.since, self.took = now, now(), dict[str, Took]()

    def log(self, line: str) -> None:
        """Note a line."""
        if said := re.match(r"robust accuracy after (\S+): ([\d.]+)%", line):
            then, self.since = self.since, self.now()
            self.took[NAMES[said[1]]] = Took(self.since - then, float(said[2]) / 100)
        elif line.startswith("initial accuracy"):
            self.since = self.now()


def standard(
    module: nn.Module, images: Tensor, labels: Tensor, task: Task, seed: int, now: Now
) -> tuple[Tensor, dict[str, Took]]:
    """The version `standard`: which images stand, and what each attack took."""
    log = Log(now)
    with open(os.devnull, "w") as silence, contextlib.redirect_stdout(silence):
        adversary = autoattack.AutoAttack(
            module, norm="Linf", eps=task.budget, version="standard", seed=seed, device=str(images.device)
        )
        adversary.logger = log
        _, found = adversary.run_standard_evaluation(images, labels, bs=task.batch, return_labels=True)
    return found == labels, log.took


def apgd_ce(module: nn.Module, images: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Its Auto-PGD alone, one restart; it leaves alone what is misclassified anyway."""
    adversary = autoattack.AutoAttack(
        module,
        norm="Linf",
        eps=task.budget,
        version="custom",
        attacks_to_run=["apgd-ce"],
        seed=0,
        verbose=False,
        device=str(images.device),
    )
    adversary.apgd.n_restarts, adversary.apgd.n_iter = 1, task.steps
    _, found = adversary.run_standard_evaluation(images, labels, bs=task.batch, return_labels=True)
    return found == labels


ATTACKS = {"apgd-ce": apgd_ce}
