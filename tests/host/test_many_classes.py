"""Scores of many classes cost what their rows do: the work is counted, not timed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from classrob.parts import Metric
from classrob.table import Table
from classrob_base import metrics
from classrob_classwise.area import AccuracyRobustnessArea
from classrob_classwise.distances import DistanceQuantiles
from classrob_classwise.flow import Flow

#: Images of a class, and how far the numbers of classes lie apart.
EACH, FEW, MANY = 4, 100, 800
METRICS = (
    metrics.Accuracy(),
    metrics.CertifiedAccuracy(),
    metrics.WorstClassAccuracy(),
    metrics.ClassGap(),
    metrics.ClassFalsePositiveScore(),
    metrics.ClassFalseNegativeScore(),
    metrics.FlipRate(),
    metrics.ImpliedError(),
    AccuracyRobustnessArea(),
    DistanceQuantiles(),
    Flow(),
)


class Counted(np.ndarray):
    """An array that adds up how many elements were computed or copied of it, and of what came of it."""

    work = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        kwargs = {k: tuple(map(plain, v)) if isinstance(v, tuple) else plain(v) for k, v in kwargs.items()}
        Counted.work += max(np.size(x) for x in inputs)
        return counted(getattr(ufunc, method)(*map(plain, inputs), **kwargs))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        found = super().__array_function__(func, types, args, kwargs)
        for one in found if isinstance(found, tuple) else (found,):
            Counted.work += np.size(one) if isinstance(one, np.ndarray) else 0
        return tuple(map(counted, found)) if type(found) is tuple else counted(found)

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        Counted.work += np.size(found)
        return found


def plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Counted) else value


def counted(value: Any) -> Any:
    return value.view(Counted) if isinstance(value, np.ndarray) else value


def tables(classes: int) -> tuple[Table, Table]:
    random = np.random.default_rng(0)
    label = np.repeat(np.arange(classes), EACH)
    n = len(label)
    wrong = random.random(n) < 0.4
    columns = {
        "sample": np.array([f"{i}" for i in range(n)], dtype=object),
        "place": np.arange(n),
        "label": label,
        "predicted": np.where(wrong, (label + 1) % classes, label),
        "budget": np.full(n, 0.1),
        "distance": random.random(n) * 0.1,
        "basis": np.where(wrong, "found", random.choice(["stood", "certified", "confirmed"], n)).astype(
            object
        ),
    }
    names = tuple(f"c{i}" for i in range(classes))
    whole = Table(names, 0.1, {k: counted(v) for k, v in columns.items()}, certified=True)
    return whole, Table(names, None, {**whole.columns, "predicted": counted(label.copy())})


def work(metric: Metric, classes: int) -> int:
    table, clean = tables(classes)
    Counted.work = 0
    assert list(metric.compute(table, clean))
    return Counted.work


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: type(m).__name__)
def test_eight_times_the_classes_are_about_eight_times_the_work(metric: Metric) -> None:
    work(metric, FEW)  # what is kept from call to call
    assert work(metric, MANY) < 2 * MANY / FEW * work(metric, FEW)


def test_the_count_sees_a_mask_a_class_and_a_matrix_of_all_pairs() -> None:
    def masks(table: Table) -> None:
        for i in range(len(table.classes)):
            np.flatnonzero(table["label"] == i)

    for careless in (masks, Table.confusion):
        found = []
        for classes in (FEW, MANY):
            Counted.work = 0
            careless(tables(classes)[0])
            found.append(Counted.work)
        assert found[1] > 4 * MANY / FEW * found[0]
