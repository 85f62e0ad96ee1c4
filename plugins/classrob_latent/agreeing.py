"""How often other models still see the class in an image that a model gets wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from classrob.parts import Metric
from classrob.table import Score, Table
from classrob_latent.means import groups, share


@final
class SecondOpinionShare(Metric):
    """The share of images in which most of the study's other models see the class; rows `second-opinion`.

    Under a threat, of the images that this model gets wrong: near 1, what was found still looks like its class.
    Without one, of all images. Needs the probe `second-opinion`.
    """

    columns: ClassVar[frozenset[str]] = frozenset({"label", "predicted", "second-opinion"})

    def compute(self, table: Table, clean: Table) -> Iterator[Score]:
        """All classes together, then each; n counts the images that were asked about."""
        asked = table.seen("second-opinion")
        if table.budget is not None:
            asked = asked & (table["predicted"] != table["label"])
        rows = table.where(asked)
        agree = rows["second-opinion"] > 0.5
        for label, mine in groups(rows):
            yield share(label, "second-opinion", agree[mine])
