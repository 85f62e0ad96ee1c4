"""The plugins that come along keep the promises of their kinds, held to them as a stranger's would be."""

from __future__ import annotations

import pytest

from classrob.catalog import Catalog
from classrob.testing import conformance
from classrob.testing.check import checks
from classrob.testing.subject import subjects

test_lp = conformance("lp")
test_base = conformance("base")


@pytest.mark.parametrize("promise", ["executor/brings_every_shard_back_once", "executor/stops_when_closed"])
def test_the_local_executor_keeps_its_promises_with_several_processes(promise: str) -> None:
    (executor,) = subjects("base/local", Catalog.installed(), {"base/local": {"workers": 2}})
    check = next(one for one in checks("executor") if one.id == promise)
    assert check(executor).result == "ok", check(executor).reason
