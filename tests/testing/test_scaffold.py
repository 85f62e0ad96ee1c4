"""`classrob new`: what it writes works at once, as a file, as a module and as an installed package."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from classrob.catalog import Catalog
from classrob.component import KINDS
from classrob.scaffold import class_of, write_package
from classrob.testing.cases import cases
from classrob.testing.subject import subjects

from ..host.conftest import Called


@pytest.mark.parametrize("kind", KINDS)
def test_the_scaffold_of_every_kind_keeps_every_promise(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"kit-{kind}"
    write_package(name, kind, tmp_path / "package")
    monkeypatch.syspath_prepend(tmp_path / "package")
    catalog = Catalog.installed()
    catalog.add(name, importlib.import_module(f"classrob_kit_{kind}"))
    results = [case.run() for case in cases(subjects(name, catalog, {}))]
    assert {result.check.partition("/")[0] for result in results} == {"plugin", "part", kind}
    assert not [result for result in results if result.result == "FAILED"]
    skipped = {result.check for result in results if result.result == "skipped"}
    assert skipped <= {
        "threat/offsets_pixels_where_it_says_so",
        "generator/encodes_images",
        "explainer/adds_up_as_it_says",
    }


def test_the_class_can_be_checked_as_a_file(tmp_path: Path, cli: Callable[..., Called]) -> None:
    write_package("my-attack", "attack", tmp_path / "package")
    file = tmp_path / "package" / "classrob_my_attack" / "attack.py"
    assert cli("check", f"{file}:{class_of('my-attack')}").code == 0


def test_the_command_lists_what_it_wrote(
    tmp_path: Path, cli: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("new", "hop", "--kind", "attack")
    assert done.code == 0
    assert sorted(done.out.split()) == [
        "classrob-hop/README.md",
        "classrob-hop/classrob_hop/__init__.py",
        "classrob-hop/classrob_hop/attack.py",
        "classrob-hop/pyproject.toml",
        "classrob-hop/tests/test_conformance.py",
    ]
    project = tomllib.loads(Path("classrob-hop/pyproject.toml").read_text())["project"]
    assert project["name"] == "classrob-hop"
    assert project["entry-points"]["classrob"] == {"hop": "classrob_hop"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_clean(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("ruff")
    write_package(f"kit-{kind}", kind, tmp_path / "package")
    rules = ["--isolated", "--select", "D1,E,F,I,UP,B,W", "--ignore", "D104,D105", "--line-length", "110"]
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", *rules, "."]
    done = subprocess.run(command, cwd=tmp_path / "package", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "name", ["Hop", "hop_step", "hop--step", "-hop", "hop-", "2hop", "hop/step", "höp", "", "hop "]
)
def test_a_name_that_is_none_is_refused(name: str, cli: Callable[..., Called], tmp_path: Path) -> None:
    done = cli("new", "--kind", "attack", "--out", tmp_path / "package", "--", name)
    assert done.code == 2
    assert "is no name for a plugin" in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "package").exists()


def test_a_taken_name_a_taken_folder_and_an_unknown_kind_are_refused(
    cli: Callable[..., Called], tmp_path: Path
) -> None:
    assert (
        "a plugin called 'lp' is installed already"
        in cli("new", "lp", "--kind", "attack", "--out", tmp_path / "a").err
    )
    done = cli("new", "hop", "--kind", "attack", "--out", tmp_path)
    assert (done.code, f"{tmp_path} is there already" in done.err) == (2, True)
    assert cli("new", "hop", "--kind", "attak", "--out", tmp_path / "b").code == 2
    assert cli("new", "hop", "--out", tmp_path / "c").code == 2


def test_a_folder_that_cannot_be_made_is_one_line(cli: Callable[..., Called], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = cli("new", "hop", "--kind", "attack", "--out", tmp_path / "file" / "package")
    assert (done.code, len(done.err.strip().splitlines())) == (2, 1)


def test_the_package_installs_and_works_through_its_entry_point(tmp_path: Path) -> None:
    for needed in ("pip", "hatchling"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"installing a package without a download needs {needed} in the test environment")
    write_package("hop", "attack", tmp_path / "package")
    site = tmp_path / "site"
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "install", *offline, "--target", str(site), str(tmp_path / "package")]
    subprocess.run(pip, check=True, capture_output=True, timeout=120)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def classrob(*arguments: str) -> str:
        command = [sys.executable, "-m", "classrob", *arguments, "--format", "json"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    plugins = {row["plugin"]: row for row in json.loads(classrob("plugins"))}
    assert (plugins["hop"]["distribution"], plugins["hop"]["state"]) == ("classrob-hop", "ok")
    assert {row["result"] for row in json.loads(classrob("check", "hop"))} == {"ok"}
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "package/tests"]
    done = subprocess.run(tests, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
