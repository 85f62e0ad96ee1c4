"""Every check of the kit fails for a part that breaks its promise, and for no other promise's sake."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from classrob.catalog import Catalog
from classrob.component import KINDS, Component
from classrob.testing.check import checks, everything
from classrob.testing.subject import PluginSubject

from . import (
    broken_attacks,
    broken_certifiers,
    broken_datasets,
    broken_detectors,
    broken_executors,
    broken_explainers,
    broken_generators,
    broken_metrics,
    broken_models,
    broken_parts,
    broken_probes,
    broken_recipes,
    broken_threats,
)
from .broken import Breaks

MODULES: dict[str, ModuleType] = {
    "part": broken_parts,
    "model": broken_models,
    "dataset": broken_datasets,
    "threat": broken_threats,
    "attack": broken_attacks,
    "certifier": broken_certifiers,
    "probe": broken_probes,
    "detector": broken_detectors,
    "metric": broken_metrics,
    "explainer": broken_explainers,
    "generator": broken_generators,
    "recipe": broken_recipes,
    "executor": broken_executors,
}

CASES = [
    pytest.param(kind, name, breaks, id=f"{kind}/{name}-{breaks.part.__name__}")
    for kind, module in MODULES.items()
    for name, several in module.BROKEN.items()
    for breaks in several
]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.installed()


@pytest.mark.parametrize(("kind", "name", "breaks"), CASES)
def test_a_part_that_breaks_the_promise_fails_its_check_and_no_other(
    kind: str, name: str, breaks: Breaks, catalog: Catalog
) -> None:
    subject = breaks.subject(catalog)
    results = {check.id.partition("/")[2]: check(subject) for check in checks(kind)}
    assert results[name].result == "FAILED", f"{name} lets it pass: {results[name]}"
    assert len(results[name].reason.splitlines()) == 1
    failed = {other for other, result in results.items() if result.result == "FAILED"}
    if "*" not in breaks.also:
        assert not failed - breaks.also - {name}, {other: results[other].reason for other in failed}


@pytest.mark.parametrize("kind", MODULES)
def test_an_honest_part_passes_every_check(kind: str, catalog: Catalog) -> None:
    honest = MODULES[kind].Honest
    subject = Breaks("metric" if kind == "part" else kind, honest).subject(catalog)
    for check in checks(kind):
        assert (result := check(subject)).result != "FAILED", result


def test_every_check_has_a_part_that_breaks_it() -> None:
    seen = {f"{kind}/{name}" for kind, module in MODULES.items() for name in module.BROKEN}
    seen |= {"plugin/declares_cheaply", "plugin/every_target_resolves"}  # below
    assert seen == {check.id for check in everything()}


def test_every_kind_of_part_has_checks() -> None:
    assert all(checks(kind) for kind in KINDS)


# -- plugins ----------------------------------------------------------------------------------------


def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> PluginSubject:
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    catalog = Catalog()
    catalog.add("sample", __import__(name))
    monkeypatch.delitem(sys.modules, name)
    return PluginSubject("sample", catalog)


DECLARES = """
{imports}
from classrob import Component, hookimpl

@hookimpl
def classrob_attacks():
    return [Component("none", "{target}", "an attack")]
"""


def verdicts(subject: PluginSubject) -> dict[str, str]:
    return {check.id: check(subject).result for check in checks("plugin")}


def test_a_plugin_that_imports_numpy_to_declare_itself_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = DECLARES.format(imports="import numpy", target="classrob_base.none:NoAttack")
    subject = plugin(tmp_path, monkeypatch, "heavy_sample", source)
    assert verdicts(subject) == {"plugin/declares_cheaply": "FAILED", "plugin/every_target_resolves": "ok"}


@pytest.mark.parametrize(
    "target", ["classrob_base.none:Nothing", "nowhere.at_all:Attack", "classrob_base.none:NoThreat"]
)
def test_a_plugin_whose_target_is_not_there_fails(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = plugin(tmp_path, monkeypatch, "vain_sample", DECLARES.format(imports="", target=target))
    assert verdicts(subject) == {"plugin/declares_cheaply": "ok", "plugin/every_target_resolves": "FAILED"}


def test_a_plugin_that_does_both_well_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = DECLARES.format(imports="", target="classrob_base.none:NoAttack")
    assert set(verdicts(plugin(tmp_path, monkeypatch, "good_sample", source)).values()) == {"ok"}


def test_component_is_what_plugins_declare() -> None:
    with pytest.raises(ValueError, match="module:Class"):
        Component("none", "classrob_base.none", "no class")
