"""The metrics of latent space, under the paper's names and beside them under those that every study uses.

Buzhinsky, Nerinovsky and Tripakis, "Metrics and methods for robustness evaluation of neural networks with
generative models" (Machine Learning 112, 2023; arXiv 2003.01993). G stands for images that the generator made
of codes it drew, R for images that were encoded and made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from classrob.parts import Metric
from classrob.table import Score, Table
from classrob_latent.means import Array, first_told, groups, initial, mean, nearest_found, share

#: What smallest distances are read from.
_DISTANCE = frozenset({"sample", "label", "predicted", "budget", "distance"})


def smallest(table: Table) -> tuple[Table, Array]:
    """One row for each sample of a sweep, and its smallest distance found, at most the largest budget."""
    rows = table.where(~np.isnan(table["budget"]))
    number = rows.numbers
    _, first = np.unique(number, return_index=True)
    budget = rows["budget"]
    largest = float(budget.max(initial=0.0))
    known = np.where(np.isnan(rows["distance"]), budget, rows["distance"])
    broken = rows["predicted"] != rows["label"]
    found = np.full(len(first), largest)
    np.minimum.at(found, number[broken], known[broken])
    return rows.where(first), found


@final
class MeanDistance(Metric):
    """The mean of the smallest distances found, per class and over all, in the threat's unit.

    A sample that stands at every budget counts with the largest one: where there are such, the mean is that of
    the distances cut there, and the true one is larger. One that is misclassified unperturbed counts with 0.
    """

    scope: ClassVar = "sweep"
    columns: ClassVar[frozenset[str]] = _DISTANCE

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """All classes together, then each; nothing without a budget."""
        rows, found = smallest(table)
        for label, mine in groups(rows):
            yield mean(label, "mean-distance", found[mine], 0.0)


@final
class LatentSeverity(Metric):
    """LAGS or LARS: the mean of the smallest shifts found that change the prediction, as scaled norms.

    Rows `latent-severity`, and `LAGS` where the codes were drawn, `LARS` where they were encoded. See
    `mean-distance` for samples that stand, or are misclassified already when decayed.
    """

    scope: ClassVar = "sweep"
    columns: ClassVar[frozenset[str]] = _DISTANCE | {"latent-drawn"}

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """All classes together, then each, under each name."""
        rows, found = smallest(table)
        for name in _names("latent-severity", "LA{}S", initial(table, "latent-drawn")):
            for label, mine in groups(rows):
                yield mean(label, name, found[mine], 0.0)


@final
class LatentAccuracy(Metric):
    """LAGA or LARA: the share of samples still classified right after the search within a budget of the code.

    Rows `latent-accuracy`, and `LAGA` where the codes were drawn, `LARA` where they were encoded.
    """

    columns: ClassVar[frozenset[str]] = frozenset({"label", "predicted", "latent-drawn"})

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """All classes together, then each, under each name; nothing without a budget."""
        if table.budget is None:
            return
        right = table["predicted"] == table["label"]
        for name in _names("latent-accuracy", "LA{}A", initial(table, "latent-drawn")):
            for label, mine in groups(table):
                yield share(label, name, right[mine])


@final
class SourceAccuracy(Metric):
    """LGA or LRA: the share of generated, or of encoded and made again, images that are classified right.

    Rows `generation-accuracy` and `LGA`, or `reconstruction-accuracy` and `LRA`; for the latter also
    `reconstruction-error`, how far those images are off (root mean square, pixels in [0, 1]), and
    `poor-reconstructions`, the share that the threat flagged as too far off. Beside them `decayed-accuracy`, of the
    images at the centres of the search.
    """

    scope: ClassVar = "sweep"
    columns: ClassVar[frozenset[str]] = frozenset(
        {
            "sample",
            "label",
            "latent-drawn",
            "latent-source",
            "latent-decayed",
            "latent-error",
            "latent-poor",
        }
    )

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """All classes together, then each, under each name."""
        rows = first_told(table, "latent-source")
        drawn = initial(table, "latent-drawn")
        label = rows["label"]
        right, decayed = rows["latent-source"] == label, rows["latent-decayed"] == label
        whose = {"G": "generation-accuracy", "R": "reconstruction-accuracy", None: "source-accuracy"}[drawn]
        for name in _names(whose, "L{}A", drawn):
            for of, mine in groups(rows):
                yield share(of, name, right[mine])
        for of, mine in groups(rows):
            yield share(of, "decayed-accuracy", decayed[mine])
            if drawn != "G":
                yield mean(of, "reconstruction-error", rows["latent-error"][mine].astype(float), 0.0)
                yield share(of, "poor-reconstructions", rows["latent-poor"][mine] > 0)


@final
class LocalNoiseAccuracy(Metric):
    """LLNA: the share of images with noise in their code that are classified right, at each magnitude.

    Rows `local-noise-accuracy` and `LLNA`, of the threat `latent-noise`.
    """

    columns: ClassVar[frozenset[str]] = frozenset({"label", "predicted", "latent-noise"})

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """All classes together, then each, under both names; nothing without a budget."""
        if table.budget is None:
            return
        right = table["predicted"] == table["label"]
        for name in ("local-noise-accuracy", "LLNA"):
            for label, mine in groups(table):
                yield share(label, name, right[mine])


@final
class LatentShift(Metric):
    """What the nearest perturbations found change: in the code's length, and in the image.

    Of the samples that were broken. Rows `latent-gain`, how much longer than the centre the found code is (scaled
    norm), and `image-shift-l2` (root mean square), `image-shift-l1` (mean), `image-shift-linf` (largest): the
    difference from the centre's image, pixels in [0, 1]; in the paper's pixels from −1 to 1 they are twice as large.
    """

    scope: ClassVar = "sweep"
    columns: ClassVar[frozenset[str]] = _DISTANCE | {"latent-gain", "latent-l2", "latent-l1", "latent-linf"}

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """All classes together, then each."""
        rows = nearest_found(table, "latent-gain")
        for column, name, low in (
            ("latent-gain", "latent-gain", -np.inf),
            ("latent-l2", "image-shift-l2", 0.0),
            ("latent-l1", "image-shift-l1", 0.0),
            ("latent-linf", "image-shift-linf", 0.0),
        ):
            values = rows[column].astype(float)
            for label, mine in groups(rows):
                yield mean(label, name, values[mine], low)


@final
class LatentRealism(Metric):
    """Of the perturbations found, the share whose codes are as likely as those of images: rows `latent-likely`.

    A code counts where no more than 95 % of what the generator's prior draws is likelier. No row is dropped for it.
    """

    scope: ClassVar = "sweep"
    columns: ClassVar[frozenset[str]] = _DISTANCE | {"latent-tail"}

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """All classes together, then each."""
        rows = nearest_found(table, "latent-tail")
        likely = rows["latent-tail"] >= 0.05
        for label, mine in groups(rows):
            yield share(label, "latent-likely", likely[mine])


def _names(general: str, paper: str, drawn: str | None) -> list[str]:
    return [general] if drawn is None else [general, paper.format(drawn)]
