"""What a detector costs an image, beside a prediction of the same images: medians over the shards of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from classrob.costs import Cost
from classrob.reading.results import Results


class Price(NamedTuple):
    """What scoring one image takes.

    Attributes:
        milliseconds: by the clock, the median over shards. processor: the same of processor time.
        over_prediction: how many times a prediction's time; None where no prediction was timed.
        images: how many were scored for it.
    """

    milliseconds: float
    processor: float
    over_prediction: float | None
    images: int


def prices(results: Results) -> Mapping[tuple[str, str, str], Price]:
    """By model, data set and detector, of the conditions of the run's plan; shards taken over bring their times."""
    query = """SELECT c.model, c.dataset, json_extract(s.how, '$.costs') AS costs
               FROM plan p JOIN shard s ON s.key = p.shard JOIN condition c ON c.id = p.condition
               WHERE costs IS NOT NULL ORDER BY p.position"""
    found: dict[tuple[str, str, str], list[tuple[Cost, Cost | None]]] = {}
    for model, dataset, text in results.store.connection.execute(query):
        costs = {cost.detector: cost for cost in (Cost(*one) for one in json.loads(text))}
        for detector, cost in costs.items():
            if detector is not None and cost.images:
                found.setdefault((model, dataset, detector), []).append((cost, costs.get(None)))
    return {key: priced(shards) for key, shards in found.items()}


def priced(shards: Sequence[tuple[Cost, Cost | None]]) -> Price:
    """The price for what a detector took in each shard, and the predictions beside it."""
    ratios = [
        cost.seconds / cost.images / (beside.seconds / beside.images)
        for cost, beside in shards
        if beside is not None and beside.images and beside.seconds
    ]
    return Price(
        median(1000 * cost.seconds / cost.images for cost, _ in shards),
        median(1000 * cost.processor / cost.images for cost, _ in shards),
        median(ratios) if ratios else None,
        sum(cost.images for cost, _ in shards),
    )
