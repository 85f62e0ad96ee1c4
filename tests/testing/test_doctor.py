"""`classrob doctor`: every fault is found, with a remedy, and is worth exit code 4."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ..host.conftest import Called


def installed(folder: Path, name: str, version: str, source: str, entry_points: str = "") -> None:
    """A distribution in a folder, as pip would leave it."""
    module = name.replace("-", "_")
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if entry_points:
        (info / "entry_points.txt").write_text(f"[classrob]\n{entry_points}\n")
    (folder / f"{module}.py").write_text(source)


def findings(done: Called) -> dict[str, dict[str, str]]:
    return {row["what"]: row for row in json.loads(done.out)}


def test_a_healthy_installation_is_told_so(
    cli: Callable[..., Called], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = cli("doctor", "--format", "json")
    rows = findings(done)
    assert done.code == 0
    assert done.err.strip() == "everything needed works"
    assert rows["torch"]["state"] == rows["device cpu"]["state"] == rows["cache"]["state"] == "ok"
    assert {"base", "lp"} <= set(rows["plugins"]["found"].split(", "))
    assert not list(tmp_path.iterdir()), "looking leaves nothing behind"


def test_a_torchvision_of_another_build_is_said_with_a_remedy(
    cli: Callable[..., Called], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "raise RuntimeError('operator torchvision::nms does not exist')"
    installed(tmp_path, "torchvision", "0.0.1", source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "torchvision", raising=False)
    row = findings(cli("doctor", "--format", "json"))["torchvision"]
    assert row["state"] == "absent"
    assert row["found"] == "0.0.1 does not import: RuntimeError: operator torchvision::nms does not exist"
    assert "install torch and torchvision from the same index" in row["remedy"]


def test_a_broken_plugin_and_a_clash_are_found(
    cli: Callable[..., Called], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "classrob-sick", "1.2", "import no_such_module_anywhere", "sick = classrob_sick")
    installed(tmp_path, "classrob-other", "3.4", "", "lp = classrob_other")
    monkeypatch.syspath_prepend(tmp_path)
    done = cli("doctor", "--format", "json")
    rows = findings(done)
    assert done.code == 4
    assert "no_such_module_anywhere" in rows["plugin sick"]["found"]
    assert rows["plugin sick"]["remedy"] == "uninstall classrob-sick, or repair it"
    assert rows["plugin lp"]["remedy"] == "uninstall classrob-other, or the other one"
    assert "lp" in rows["plugins"]["found"], "the first one still serves"
    assert done.err.strip() == "2 things need a remedy"


def test_a_cache_that_cannot_be_written_is_found(
    cli: Callable[..., Called], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    done = cli("doctor", "--format", "json")
    row = findings(done)["cache"]
    assert done.code == 4
    assert row["state"] == "broken"
    assert "XDG_CACHE_HOME" in row["remedy"]
