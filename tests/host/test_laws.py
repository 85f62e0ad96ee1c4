"""The laws of the house, read from the code and from running processes."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import classrob
from classrob.catalog import Catalog
from classrob.component import KINDS
from classrob.live import ROWS, Classifier
from report.synthetic import write_large

ROOT = Path(__file__).parents[2]
HOST = ROOT / "framework" / "classrob"

#: Law 1: data flows downwards through these rooms, so imports only ever point upwards in this list.
FLOW = (
    (
        "errors",
        "component",
        "streams",
        "images",
        "costs",
        "heap",
        "blocks",
        "convolutions",
        "scalings",
        "twin",
    ),
    ("space", "live", "scorer", "records", "packing", "columnar", "table", "fields", "environment"),
    ("decoder",),
    ("statistics",),
    ("hookspecs", "parts", "explain"),
    ("loading", "identity", "rows", "pool", "judge", "tuning"),
    ("search", "ensemble", "certification", "memory", "handed"),
    ("catalog", "ledger", "study", "subset"),
    ("nested", "named", "spotcheck"),
    ("detection",),
    ("condition", "sweep"),
    ("plan", "pictures", "drawings"),
    ("observing",),
    ("detecting",),
    ("worker", "store"),
    ("preflight",),
    ("reading",),
    ("run", "trials", "audit", "training"),
    ("report", "testing", "scaffold"),
    ("export",),
    ("cli", "__main__", "evaluation"),
)


def imports(path: Path, *, running_only: bool = True) -> set[str]:
    """The modules that a file imports when it runs (not those for type checkers alone)."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and running_only:
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def against_the_flow(room: str, imported: set[str]) -> list[str]:
    """Rooms further down the flow than `room` that it imports."""
    level = {name: i for i, names in enumerate(FLOW) for name in names}
    used = {name.split(".")[1] for name in imported if name.startswith("classrob.")}
    return sorted(other for other in used if other in level and level[other] > level[room])


@pytest.mark.parametrize("path", sorted(HOST.rglob("*.py")), ids=lambda p: str(p.relative_to(HOST)))
def test_data_flows_one_way(path: Path) -> None:
    room = path.relative_to(HOST).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    assert room in {name for names in FLOW for name in names}, f"say where '{room}' stands in the flow"
    assert against_the_flow(room, imports(path)) == []


def test_the_flow_test_sees_a_wrong_import() -> None:
    assert against_the_flow("judge", {"classrob.store", "classrob.space"}) == ["store"]


def plugins_named(imported: set[str]) -> list[str]:
    """Imports of built-in plugins."""
    return sorted(name for name in imported if name.startswith("classrob_"))


@pytest.mark.parametrize("path", sorted(HOST.rglob("*.py")), ids=lambda p: str(p.relative_to(HOST)))
def test_the_host_names_no_plugin(path: Path) -> None:
    assert plugins_named(imports(path, running_only=False)) == []


def test_the_plugin_test_sees_one() -> None:
    assert plugins_named({"classrob_lp.pgd", "torch"}) == ["classrob_lp.pgd"]


def test_without_plugins_the_catalogue_is_empty() -> None:
    assert Catalog().offers == []
    assert Catalog().plugins == []
    assert Catalog.installed().offers != []


def test_the_host_holds_no_part() -> None:
    """No final class of any kind, found by loading every module of the host."""
    code = (
        "import importlib, json, pkgutil, classrob\n"
        "from classrob.component import KINDS\n"
        "for m in pkgutil.walk_packages(classrob.__path__, 'classrob.'):\n"
        "    if not m.name.startswith(('classrob.testing', 'classrob.scaffold', 'classrob.__main__')):\n"
        "        importlib.import_module(m.name)\n"
        "def leaves(c): return [x for s in c.__subclasses__() for x in ([s] if not s.__abstractmethods__ else []) + leaves(s)]\n"
        "from classrob import parts\n"
        "print(json.dumps([c.__name__ for c in leaves(parts.Part)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_built_ins_come_in_by_the_rows_a_stranger_writes() -> None:
    rows = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["classrob"]
    installed = {plugin.name: plugin for plugin in Catalog.installed().plugins}
    assert set(rows) <= set(installed)
    assert [p.name for p in installed.values() if p.error] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_class_and_a_hook(kind: str) -> None:
    module, _, name = KINDS[kind].partition(":")
    assert module == "classrob.parts"
    assert getattr(classrob, name).__abstractmethods__
    from classrob import hookspecs

    assert f"classrob_{kind}s" in dir(hookspecs)


def test_public_names_are_sorted_and_there() -> None:
    assert classrob.__all__ == sorted(classrob.__all__)
    for name in classrob.__all__:
        assert getattr(classrob, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Attak'"):
        _ = classrob.Attak


def loaded(*arguments: str) -> set[str]:
    """The modules in memory after a command, by a real process."""
    code = (
        "import sys, io, contextlib\n"
        f"sys.argv = ['classrob', *{list(arguments)!r}]\n"
        "from classrob.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main()\n"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_help_loads_neither_torch_nor_pydantic_nor_a_plugin() -> None:
    modules = loaded("--help")
    assert not modules & {"torch", "pydantic", "numpy", "pluggy", "jinja2"}
    assert not {m for m in modules if m.startswith("classrob_")}
    assert "click" in modules


def test_plugins_loads_no_torch() -> None:
    modules = loaded("plugins")
    assert "torch" not in modules
    assert "classrob_lp" in modules


def test_scores_are_read_without_torch_and_what_else_is_slow_to_import(tmp_path: Path) -> None:
    write_large(tmp_path, 5, 60, 2)
    modules = loaded("show", str(tmp_path), "--format", "json")
    assert "classrob_classwise" in modules
    assert not modules & {"torch", "scipy.stats", "pandas", "sklearn"}


def test_the_module_test_sees_torch() -> None:
    assert "torch" in loaded("describe", "pgd")


class _Counts(torch.nn.Module):
    """Remembers how many rows it was called on."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(images))
        return images.flatten(1)[:, :3]


@pytest.mark.parametrize("n", [1, 7, 8, 9, 70])
def test_the_network_sees_a_multiple_of_rows(n: int) -> None:
    net = _Counts()
    images = torch.rand(n, 1, 2, 2)
    assert torch.equal(Classifier(net, batch_size=64)(images), images.flatten(1)[:, :3])
    assert all(rows % ROWS == 0 for rows in net.rows)


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_do_not_see_each_other(channels: int) -> None:
    """What `ROWS` is for: logits and input gradients, bit by bit, whatever stands beside an image."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(channels, 16, 4, 2, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, 1, 1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.LazyLinear(64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 10),
    )
    images = torch.rand(100, channels, 28, 28)
    classifier = Classifier(net, batch_size=256)

    def both(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.clone().requires_grad_()
        logits = classifier(x)
        (slope,) = torch.autograd.grad(logits.logsumexp(1).sum(), x)
        return logits.detach(), slope

    whole = both(images)
    for rows in (slice(0, 1), slice(3, 10), slice(50, 67), slice(0, 99)):
        for ours, theirs in zip(both(images[rows]), whole, strict=True):
            assert torch.equal(ours, theirs[rows])
