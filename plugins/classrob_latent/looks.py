"""How different images that fool a model look from the unperturbed ones, to a network and in pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from classrob.parts import Metric
from classrob.table import Score, Table
from classrob_latent.means import groups, mean


@final
class PerceptualDistance(Metric):
    """Means over the images that the model gets wrong under a threat: rows `perceptual-distance`, `image-distance`.

    The first is LPIPS, the second the root mean squared difference of pixels, both from the unperturbed image.
    Needs the probe `perceptual`.
    """

    columns: ClassVar[frozenset[str]] = frozenset({"label", "predicted", "lpips", "image-l2"})

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """All classes together, then each; n counts the images that were observed."""
        if table.budget is None:
            return
        rows = table.where(table.seen("lpips") & (table["predicted"] != table["label"]))
        for label, mine in groups(rows):
            for name, column in (("perceptual-distance", "lpips"), ("image-distance", "image-l2")):
                yield mean(label, name, rows[column][mine].astype(float), 0.0)
