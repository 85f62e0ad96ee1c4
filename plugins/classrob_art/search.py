"""One search by an attack of ART: which images together, with which budget, norm and random numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from classrob.errors import StudyError, one_line
from classrob.live import Batch, Classifier
from classrob.space import Space
from classrob.streams import Streams
from classrob_art.offer import Offer
from classrob_art.seclusion import Dice, imported, secluded
from classrob_base.foreign import Network, call, explained


class Rolled(Exception):
    """An attack has drawn from a global generator while it searched for several images."""


@final
class Gate(nn.Module):
    """The classifier as ART sees it: no weights to leave gradients in, no mode to switch, every pass counted.

    `dice` are watched while several images are searched together.
    """

    def __init__(self, network: Network, probabilities: bool, dice: Dice | None) -> None:
        super().__init__()
        self.network, self.probabilities, self.dice = network, probabilities, dice

    def forward(self, images: Tensor) -> Tensor:
        """Logits or probabilities, float32 [n, k].

        Raises:
            Rolled: something was drawn, so that the images of a batch depend on each other.
        """
        if self.dice is not None and self.dice.rolled():
            raise Rolled
        logits = self.network(images.to(self.network.place.device, torch.float32))
        return logits.softmax(1) if self.probabilities else logits


@final
@dataclass(frozen=True)
class Search:
    """An attack on some samples; `fields` are the part's own."""

    offer: Offer
    fields: Mapping[str, Any]
    classifier: Classifier
    space: Space
    batch: Batch
    streams: Streams

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"attack 'art/{self.offer.name}'"

    def run(self) -> Tensor:
        """Offsets [n, c, h, w]: samples of one budget together where that is lawful, else one by one.

        Raises:
            StudyError: ART refuses the norm or a field's value, or misses a package.
            PluginError: ART cannot go on.
        """
        imported(self.offer.source.module)  # outside, lest a module keeps what `secluded` puts in place
        budgets, y, norm = self.space.budget, self._y(), self._norm()
        answer = torch.zeros_like(self.batch.images)
        with secluded():
            for budget in budgets.unique().tolist():
                rows = (budgets == budget).nonzero()[:, 0]
                arguments = self._arguments(budget, norm)
                if self.offer.row_by_row and len(rows) > 1:
                    try:
                        answer[rows] = self._found(rows, y[rows], arguments)
                        continue
                    except Rolled:
                        pass  # with a random start: each alone, from its own seed
                for row in rows.split(1):
                    answer[row] = self._found(row, y[row], arguments)
        return answer

    def _y(self) -> Tensor:
        """One-hot labels, or, for an attack that needs a target, the likeliest wrong classes; float32 [n, k]."""
        targets = self.offer.wants == "targets"
        labels = self.batch.labels
        with torch.no_grad():
            logits = self.classifier(self.batch.images if targets else self.batch.images[:1])
        if targets:
            labels = logits.scatter(1, labels[:, None], -torch.inf).argmax(1)
        return nn.functional.one_hot(labels, logits.shape[1]).float()

    def _found(self, rows: Tensor, y: Tensor, arguments: Mapping[str, Any]) -> Tensor:
        """What the attack adds to the images of some rows; the passes are charged to them.

        Raises:
            Rolled: there are several rows, and something was drawn.
        """
        images = self.batch.images[rows]
        with call(self.classifier, self.streams, rows), torch.enable_grad(), explained(self.name):
            dice = Dice() if len(rows) > 1 else None
            estimator = self._estimator(y.shape[1], dice, images)
            attack = self._made(estimator, self._batched(arguments, len(rows)))
            try:
                found = attack.generate(x=images.cpu().numpy(), y=y.cpu().numpy())
            except ImportError as error:
                raise StudyError(f"{self.name} needs a package: pip install {error.name}") from error
            if dice is not None and dice.rolled():
                raise Rolled
        return torch.from_numpy(np.asarray(found, dtype=np.float32)).to(images) - images

    def _made(self, estimator: Any, arguments: Mapping[str, Any]) -> Any:
        cls = vars(imported(self.offer.source.module))[self.offer.source.name]
        try:
            return cls(**{self.offer.classifier: estimator}, **arguments)
        except (ValueError, TypeError) as error:  # a field's value, or a norm that the attack has not
            raise StudyError(f"{self.name}: {one_line(error)[:240]}") from error

    def _estimator(self, classes: int, dice: Dice | None, images: Tensor) -> Any:
        """ART's classifier round ours.

        The loss of a batch is its sum, so that an image's slope is what it would be alone; the mean that ART
        is usually given shrinks slopes with the batch, and with them what is compared to a fixed tolerance.
        """
        network = Network(self.classifier, images.device, alone=not self.offer.row_by_row)
        return imported("art.estimators.classification.pytorch").PyTorchClassifier(
            model=Gate(network, self.offer.probabilities, dice),
            loss=nn.CrossEntropyLoss(reduction="mean" if dice is None else "sum"),
            input_shape=tuple(images.shape[1:]),
            nb_classes=classes,
            clip_values=(0.0, 1.0),
            device_type="gpu" if images.is_cuda else "cpu",
        )

    def _arguments(self, budget: float, norm: float) -> dict[str, Any]:
        """The constructor's arguments at a budget; steps are fields in budgets."""
        values: dict[str, Any] = dict(self.fields)
        filled = self.offer.from_space
        if "eps" in filled:
            values["eps"] = budget
            if "eps_step" in values:
                values["eps_step"] *= budget
        if "norm" in filled:
            values["norm"] = norm if norm == math.inf else int(norm)
        quiet = {"verbose": False, "targeted": False}
        return values | {name: value for name, value in quiet.items() if self.offer.parameter(name)}

    def _batched(self, arguments: Mapping[str, Any], n: int) -> dict[str, Any]:
        """The arguments with ART's own batch size, or the number of images where that is larger."""
        own = self.offer.parameter("batch_size")
        return {**arguments, **({} if own is None else {"batch_size": max(own.default, n)})}

    def _norm(self) -> float:
        """The order of the norm that the space measures offsets in, told by the distance of two of them.

        A step of ART in the norm 1 moves one pixel, and does not go on when that is black or white: with a
        radius of 3 an image moved by 0.005. Such a search would make a model look robust.

        Raises:
            StudyError: the attack takes a norm or a radius, and does not search balls of this norm.
        """
        if not self.offer.from_space:
            return math.inf
        one = self.space.select(torch.arange(1, device=self.space.budget.device))
        full = torch.ones_like(one.centre())
        d = full[0].numel()
        single = torch.eye(1, d).to(full).reshape(full.shape)
        measured = float(one.distance(full)), float(one.distance(single))
        norms = {math.inf: 1.0, 2.0: math.sqrt(d), 1.0: float(d)}
        found = [p for p, length in norms.items() if np.allclose(measured, (length, 1.0), rtol=1e-4)]
        taken = self.offer.norm
        known = (math.inf, 2.0) if "eps" in self.offer.from_space else (math.inf, 2.0, 1.0)
        known = known if taken is None else (taken,)
        if not found or found[0] not in known:
            listed = " or ".join("∞" if p == math.inf else f"{p:g}" for p in known)
            raise StudyError(
                f"{self.name} searches balls of the norm {listed}, not {type(self.space).__name__}: take another "
                "attack, such as pgd, which searches in any space"
            )
        return found[0]
