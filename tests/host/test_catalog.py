"""Names and plugins: ambiguity, clashes and broken plugins are said, and take nobody else down."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from classrob.catalog import Catalog
from classrob.component import Component
from classrob.errors import PluginError, StudyError
from classrob.hookspecs import hookimpl
from classrob.loading import load_file

from .conftest import Called


def plugin(**hooks: list[Component]) -> SimpleNamespace:
    """A plugin module that declares the given components."""
    made = {}
    for name, components in hooks.items():
        made[f"classrob_{name}"] = hookimpl(lambda components=components: components)
    return SimpleNamespace(**made)


PGD = Component("pgd", "classrob_lp.pgd:PGD", "one")


def test_a_bare_name_serves_while_it_is_unique() -> None:
    catalog = Catalog()
    catalog.add("a", plugin(attacks=[PGD]))
    assert catalog.find("attack", "pgd")[0].name == "a/pgd"
    catalog.add("b", plugin(attacks=[PGD]))
    with pytest.raises(StudyError, match="'pgd' is ambiguous: write one of a/pgd, b/pgd"):
        catalog.find("attack", "pgd")
    assert catalog.find("attack", "b/pgd")[0].plugin == "b"


def test_a_family_takes_the_rest_of_the_reference() -> None:
    catalog = Catalog()
    catalog.add("zoo", plugin(models=[Component("*", "x:Y", "all of them", field="architecture")]))
    offer, fields = catalog.find("model", "zoo/big/net.v1")
    assert (offer.name, fields) == ("zoo/*", {"architecture": "big/net.v1"})
    with pytest.raises(StudyError, match="no model is called 'zoo/'"):
        catalog.find("model", "zoo/")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            SimpleNamespace(classrob_atacks=list),
            "no hook 'classrob_atacks'.*did you mean 'classrob_attacks'",
        ),
        (plugin(attacks=[PGD, PGD]), "offers two attacks called 'pgd'"),
        (SimpleNamespace(classrob_attacks=hookimpl(lambda: ["pgd"])), "must return Components, not 'pgd'"),
    ],
)
def test_a_plugin_that_breaks_its_promise_is_refused_whole(module: SimpleNamespace, message: str) -> None:
    catalog = Catalog()
    with pytest.raises(PluginError, match=message):
        catalog.add("bad", module)
    assert catalog.offers == []


@pytest.mark.parametrize(
    ("name", "target", "field"), [("x", "no colon", None), ("*", "a:B", None), ("x", "a:B", "architecture")]
)
def test_a_component_that_makes_no_sense_is_refused(name: str, target: str, field: str | None) -> None:
    with pytest.raises(ValueError, match=name.replace("*", r"\*")):
        Component(name, target, "s", field)


def test_a_target_that_cannot_be_imported_is_a_plugins_fault() -> None:
    catalog = Catalog()
    catalog.add("bad", plugin(attacks=[Component("gone", "no_such_module:X", "s")]))
    with pytest.raises(PluginError, match=r"attack 'bad/gone' cannot be imported: ModuleNotFoundError"):
        catalog.make("attack", "bad/gone", {})


def test_names_never_collide_in_silence() -> None:
    catalog = Catalog()
    point = EntryPoint("lp", "classrob_lp", "classrob")
    catalog._load(point)
    catalog._load(point)
    assert [p.error is None for p in catalog.plugins] == [True, False]
    assert "name clash: 'lp' is already offered" in str(catalog.plugins[1].error)


BROKEN = {
    "classrob_broken/__init__.py": "import no_such_library\n",
    "classrob_misspelt/__init__.py": "def classrob_atacks(): return []\n",
    "classrob_stranger/__init__.py": (
        "from classrob import Component, hookimpl\n"
        "@hookimpl\n"
        "def classrob_attacks():\n"
        "    return [Component('pgd', 'classrob_lp.pgd:PGD', 'a second one')]\n"
    ),
    "stranger-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n",
    "stranger-1.0.dist-info/entry_points.txt": (
        "[classrob]\nbroken = classrob_broken\nmisspelt = classrob_misspelt\n"
        "stranger = classrob_stranger\nlp = classrob_stranger\n"
    ),
}


@pytest.fixture
def stranger(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A second distribution: one broken plugin, one misspelt, one that clashes and one that works."""
    for name, text in BROKEN.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); from classrob.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
        )

    return call


def test_a_broken_plugin_takes_down_nobody(stranger: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    listed = stranger("plugins", "--format", "csv")
    assert listed.returncode == 0
    states = {line.split(",")[0] + "@" + line.split(",")[1]: line for line in listed.stdout.splitlines()}
    assert "No module named 'no_such_library'" in states["broken@stranger"]
    assert "did you mean 'classrob_attacks'" in states["misspelt@stranger"]
    assert "name clash: 'lp' is already offered by classrob" in states["lp@stranger"]
    assert states["stranger@stranger"].endswith("ok")
    assert states["lp@classrob"].endswith("ok")
    assert stranger("--version").returncode == 0
    linf = stranger("describe", "linf")
    assert linf.returncode == 0, linf.stderr


def test_an_ambiguous_name_in_a_study_lists_the_candidates(
    stranger: Callable[..., subprocess.CompletedProcess[str]], study: Path
) -> None:
    done = stranger("run", str(study), "--out", str(study.parent / "out"))
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "'pgd' is ambiguous: write one of lp/pgd, stranger/pgd" in done.stderr
    study.write_text(study.read_text().replace('use = "pgd"', 'use = "broken/pgd"'))
    done = stranger("run", str(study), "--out", str(study.parent / "out"))
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "plugin 'broken' (stranger 1.0) is broken" in done.stderr


def test_a_file_can_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_it.py").write_text("X = 3\n")
    (tmp_path / "it.py").write_text("from neighbour_of_it import X\n")
    before = list(sys.path)
    assert load_file("it.py", tmp_path).X == 3
    assert sys.path == before


def test_list_and_describe(cli: Callable[..., Called]) -> None:
    import json

    rows = json.loads(cli("list", "threats", "--format", "json").out)
    assert {"lp/linf", "lp/l2", "base/none"} <= {row["name"] for row in rows}
    assert all(set(row) >= {"name", "summary", "plugin"} for row in rows)
    assert [r["name"] for r in json.loads(cli("list", "threats", "lp/*", "--format", "json").out)] == [
        "lp/linf",
        "lp/l2",
        "lp/l1",
    ]
    fields = {row["field"]: row for row in json.loads(cli("describe", "lp/pgd", "--format", "json").out)}
    assert fields["steps"]["default"] == "20"
    assert fields["loss"]["type"] == "cross-entropy | margin | dlr"
    assert "Madry" in cli("describe", "pgd").out


def test_two_factories_of_one_file_are_two_models(tmp_path: Path) -> None:
    """Their rows must never be taken for each other's."""
    from classrob.identity import identity

    (tmp_path / "nets.py").write_text("def one(): ...\n\n\ndef other(): ...\n")
    parts = [
        Catalog.installed().make("model", "torch", {"factory": f"nets.py:{name}"}, tmp_path)
        for name in ("one", "other", "one")
    ]
    first, second, again = map(identity, parts)
    assert first == again != second
