"""The plugins that come along keep the promises of their kinds, held to them as a stranger's would be."""

from __future__ import annotations

import pytest

from classrob.catalog import Catalog
from classrob.testing import conformance
from classrob.testing.check import checks
from classrob.testing.metrics import _tables
from classrob.testing.subject import Subject, subjects

#: Fewer steps than by default, to save time; the kit shortens ensembles itself.
SHORT = {
    "explain/adversarial-explanation": {"steps": 4},
    "explain/against-interpretability": {"steps": 1},
    "explain/ara-descent": {"steps": 8},
    "explain/ara-descent-to-chance": {"steps": 3},
    "explain/integrated-gradients": {"steps": 3},
    "explain/interpretability-sneaking": {"steps": 3, "inner": 1, "form": "1-class"},
    "explain/smoothgrad": {"samples": 2},
    "lp/apgd-ce": {"steps": 10},
    "lp/apgd-dlr": {"steps": 10},
    "lp/apgd-targeted": {"steps": 5, "targets": 2},
    "lp/fab": {"steps": 10},
    "lp/minimum-norm": {"steps": 10},
    "lp/square": {"steps": 60},
    "transform/grid": {"steps": 3},
}

test_lp = conformance("lp", fields=SHORT)
test_base = conformance("base")
test_classwise = conformance("classwise")
test_explain = conformance("explain", fields=SHORT)
test_corruption = conformance("corruption")
test_transform = conformance("transform", fields=SHORT)


@pytest.mark.parametrize("promise", ["executor/brings_every_shard_back_once", "executor/stops_when_closed"])
def test_the_local_executor_keeps_its_promises_with_several_processes(promise: str) -> None:
    (executor,) = subjects("base/local", Catalog.installed(), {"base/local": {"workers": 2}})
    check = next(one for one in checks("executor") if one.id == promise)
    assert check(executor).result == "ok", check(executor).reason


@pytest.mark.parametrize(
    "name",
    [
        "corruption/mce",
        "corruption/severity-limit",
        "corruption/worst-severity-accuracy",
        "classwise/rank-persistence",
    ],
)
def test_metrics_of_whole_models_find_something_to_score(name: str) -> None:
    """Else their checks would pass on nothing."""
    (metric,) = subjects(name, Catalog.installed(), {})
    assert isinstance(metric, Subject)
    assert any(list(metric.part.compute(table, clean)) for _, table, clean in _tables(metric))
