"""Whether a study's models rank alike: unperturbed, in a generator's codes, and in pixels."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import ClassVar, final

import numpy as np

from classrob.columnar import Columnar
from classrob.parts import Metric
from classrob.statistics.ranks import agreements
from classrob.table import Score, Table
from classrob_latent.means import Array
from classrob_latent.metrics import smallest

#: Fewer models than these cannot be ranked to any purpose.
MODELS = 3
#: The smallest noise, as a share of the variance over models, so that models without an error have some.
FLOOR = 1e-3


@final
class ModelAgreement(Metric):
    """Do the models of a study rank alike in every space? Spearman's correlation in pairs of threats, over models.

    A model ranks by its accuracy unperturbed (`none`), and by the mean of the smallest distances found under a
    threat, each cut at the largest budget. Rows `model-agreement/ONE/OTHER`, the same for every model; n counts
    models. The paper's finding is that latent performance goes with accuracy and not with robustness in pixels.
    """

    scope: ClassVar = "model"
    columns: ClassVar[frozenset[str]] = frozenset(
        {"sample", "label", "predicted", "budget", "distance", "threat", "attack"}
    )

    def compute(self, table: Table, clean: Table) -> Columnar[Score]:
        """One score a pair; nothing with fewer than three models or two conditions."""
        scores = Columnar(Score)
        if len(table.peers) < MODELS:
            return scores
        found = [_values(peer) for _, peer in sorted(table.peers.items())]
        names = sorted(set.intersection(*(set(one) for one in found)))
        if len(names) < 2:
            return scores
        mean = np.array([[one[name].mean() for name in names] for one in found])
        noise = np.array([[one[name].var() / len(one[name]) for name in names] for one in found])
        floor = FLOOR * (mean.var(0) + 1e-12)
        covariance = np.stack([np.diag(row + floor) for row in noise])
        size = np.array([min(len(one[name]) for name in names) for one in found])
        pairs = [f"model-agreement/{one}/{other}" for one, other in combinations(names, 2)]
        scores.stack(
            len(pairs), None, pairs, *(x[:-1] for x in agreements(mean, covariance, size)), len(found)
        )
        return scores


def _values(table: Table) -> dict[str, Array]:
    """By condition, each sample's verdict (1 right) without a threat, its smallest distance under one."""
    threat, attack = table["threat"].astype(str), table["attack"].astype(str)
    pairs = sorted(set(zip(threat.tolist(), attack.tolist(), strict=True)))
    searched = Counter(name for name, _ in pairs)
    found: dict[str, Array] = {}
    for of, by in pairs:
        rows = table.where((threat == of) & (attack == by))
        if np.isnan(rows["budget"]).all():
            found[of] = (rows["predicted"] == rows["label"]).astype(float)
        else:
            found[f"{of} by {by}" if searched[of] > 1 else of] = smallest(rows)[1]
    return found
