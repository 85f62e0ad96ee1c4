"""Requirements: their grammar, which rows they match, and what the command says and writes."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classrob.errors import UsageError
from classrob.reading.junit import junit
from classrob.reading.requirement import KEYS, Requirement
from classrob.reading.score import Row

from .conftest import Called


def row(label: str | None, value: float | None = 0.5, **rest: object) -> Row:
    fields = {
        "model": "m",
        "dataset": "d",
        "threat": "linf",
        "budget": 8 / 255,
        "attack": "pgd",
        "detector": None,
    }
    fields |= {"metric": "accuracy", "label": label, "value": value, "low": 0.4, "high": 0.6, "n": 20}
    return Row(**{**fields, **rest})  # type: ignore[arg-type]


def states(text: str, rows: list[Row], on: str = "value") -> list[str]:
    return [one.state for one in Requirement.read(text).check(rows, on)]  # type: ignore[arg-type]


ROWS = [
    row(None),
    row("cat", 0.3),
    row("dog", 0.7),
    row("dog", 0.9, budget=4 / 255),
    row("a, [b] \"c\" 'd' \\", 0.8),
]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("accuracy >= 0.3", ["met"] * 5),
        ("accuracy[] >= 0.3", ["met"] * 5),
        ("accuracy[label=*,budget=8/255] >= 0.5", ["failed", "met", "met"]),
        ("accuracy[label=null]>0.49", ["met"]),
        ("accuracy[ label = dog , budget = 8/255 ] >= 0.7", ["met"]),
        ("accuracy[label=do*] > 7/10", ["failed", "met"]),
        ("accuracy[budget=0.03137254901960784] == 0.3", ["failed", "met", "failed", "failed"]),
        ("accuracy[budget=0.0313] >= 0", ["no row"]),
        ("accuracy[label='null'] >= 0", ["no row"]),
        ("accuracy[label='*'] >= 0", ["no row"]),
        ("accuracy[detector=*] >= 0", ["no row"]),
        ("accurac >= 0", ["no row"]),
        (r"""accuracy[label="a, [b] \"c\" 'd' \\"] <= 8e-1""", ["met"]),
        ("'accuracy'[label=cat] < .31", ["met"]),
    ],
)
def test_which_rows_must_meet_it(text: str, wanted: list[str]) -> None:
    assert states(text, ROWS) == wanted


def test_an_undefined_number_is_not_met_and_an_end_can_be_asked() -> None:
    assert states("accuracy >= 0", [row(None, None)]) == ["undefined"]
    assert states("accuracy >= 0.45", [row(None)]) == ["met"]
    assert states("accuracy >= 0.45", [row(None)], "low") == ["failed"]
    assert states("accuracy <= 0.55", [row(None)], "high") == ["failed"]
    (checked,) = Requirement.read("accuracy >= 0.45").check([row(None)], "low")
    assert checked.short == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("", 1, "metric"),
        ("accuracy", 9, ">="),
        ("accuracy[threat=linf budget=0.1] >= 0.3", 28, "',' or ']'"),
        ("accuracy[threat=linf,] >= 0.3", 22, "a key"),
        ("accuracy[thread=linf] >= 0.3", 10, "did you mean 'threat'"),
        ("accuracy[label=a,label=b] >= 0.3", 18, "one of"),
        ("accuracy[label=] >= 0.3", 16, "a value"),
        ("accuracy[label 1] >= 0.3", 16, "'='"),
        ("accuracy[label='x] >= 0.3", 16, "a closing quote"),
        ("accuracy[budget=x] >= 0.3", 17, "8/255"),
        ("accuracy[budget=1/0] >= 0.3", 17, "8/255"),
        ("accuracy = 0.3", 10, ">="),
        ("accuracy >= nan", 13, "a number"),
        ("accuracy >= 0.3 and more", 17, "the end"),
        ("accuracy >=", 12, "its end"),
    ],
)
def test_a_bad_expression_points_at_the_place(text: str, column: int, expected: str) -> None:
    with pytest.raises(UsageError) as error:
        Requirement.read(text)
    assert f"column {column}:" in str(error.value)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    with contextlib.suppress(UsageError):
        Requirement.read(text)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=20), st.floats(0, 1))
def test_any_name_can_be_quoted(name: str, number: float) -> None:
    name = name.replace("\n", " ")
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert states(f"accuracy[label={quoted}] >= {number}", [row(name, number)]) == ["met"]


def test_every_key_of_a_row_can_be_chosen() -> None:
    values = {"metric", "value", "low", "high", "n"}
    assert set(KEYS) == set(Row._fields) - values


@settings(deadline=None)
@given(st.text(max_size=20))
def test_junit_is_well_formed_whatever_names_hold(name: str) -> None:
    requirement = Requirement.read("accuracy >= 0.6")
    checked = list(requirement.check([row(name, 0.5), row("b", 0.7)]))
    root = ElementTree.fromstring(junit([(requirement, checked)], name))
    (suite,) = root
    assert suite.attrib | {"name": ""} == {
        "name": "",
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
        "time": "0",
    }
    first, second = suite
    assert [c.tag for c in first] == ["failure"]
    assert len(second) == 0
    assert set(first.attrib) == {"name", "classname", "time"}


#: What junit-10.xsd allows of what a gate writes (Jenkins' xUnit plugin): attributes that an element must have and may
#: have, and the elements within it. Its types are text, but for a time, which is digits with a point.
SCHEMA = {
    "testsuites": ((), ("name", "time", "tests", "failures", "errors"), ("testsuite",)),
    "testsuite": (
        ("name", "tests", "failures", "errors"),
        ["group", "time", "skipped", "timestamp", "hostname", "id", "package", "file", "log", "url"],
        ("testsuite", "properties", "testcase", "system-out", "system-err"),
    ),
    "testcase": (("name",), ("time", "classname", "group"), ("skipped", "error", "failure")),
    "failure": ((), ("type", "message"), ()),
}


def against_the_schema(element: ElementTree.Element) -> list[str]:
    must, may, within = SCHEMA[element.tag]
    wrong = [f"{element.tag} lacks {name}" for name in must if name not in element.attrib]
    wrong += [f"{element.tag} has {name}" for name in element.attrib if name not in (*must, *may)]
    if not re.fullmatch(r"[0-9]*(\.[0-9]*)?", element.get("time", "")):
        wrong.append(f"{element.tag} has time {element.get('time')}")
    if element.tag != "failure" and (element.text or "").strip():
        wrong.append(f"{element.tag} holds text")
    for child in element:
        inside = against_the_schema(child) if child.tag in within and child.tag in SCHEMA else []
        wrong += inside if child.tag in within else [f"{element.tag} holds {child.tag}"]
    return wrong


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(max_size=8), max_size=3), st.text(max_size=8))
def test_junit_follows_the_schema(labels: list[str], name: str) -> None:
    groups = [
        (requirement, list(requirement.check([row(label, 0.5) for label in labels])))
        for requirement in map(Requirement.read, ("accuracy >= 0.6", "cfps <= 1"))
    ]
    root = ElementTree.fromstring(junit(groups, name))
    assert root.tag == "testsuites"
    assert against_the_schema(root) == []
    root.set("skipped", "0")
    root[0].set("time", "1 s")
    del root[0].attrib["tests"]
    assert against_the_schema(root) == [
        "testsuites has skipped",
        "testsuite lacks tests",
        "testsuite has time 1 s",
    ]


@pytest.fixture
def done(study: Path, cli: Callable[..., Called]) -> Path:
    folder = study.parent / "out"
    assert cli("run", study, "--out", folder).code == 0
    return folder


def test_the_command(done: Path, cli: Callable[..., Called], tmp_path: Path) -> None:
    file = tmp_path / "gate.xml"
    met = cli("gate", done, "--require", "accuracy[threat=none,label=*] >= 0", "--format", "json")
    assert met.code == 0
    assert [r["state"] for r in json.loads(met.out)] == ["met"] * 4
    failed = cli(
        "gate", done, "--require", "accuracy[threat=linf,budget=3/10,label=*] > 1", "--require",
        "accuracy[threat=lnf] >= 0", "--require", "accuracy[threat=none] >= 0", "--junit", file, "--format", "json",
    )  # fmt: skip
    assert failed.code == 6
    rows = json.loads(failed.out)
    assert {r["state"] for r in rows} == {"failed", "no row", "met"}
    shown = json.loads(cli("show", done, "--format", "json").out)
    values = {
        r["label"]: r["value"]
        for r in shown
        if (r["metric"], r["budget"], r["threat"]) == ("accuracy", 0.3, "linf")
    }
    for one in rows:
        if one["state"] == "failed":
            assert one["value"] == values[one["label"]]
            assert one["short"] == pytest.approx(1 - one["value"])
    assert "did you mean 'linf'" in failed.err
    root = ElementTree.parse(file).getroot()
    assert (root.attrib["tests"], root.attrib["failures"]) == ("10", "5")
    assert cli("gate", done, "--require", "accuracy[threat=none] >= 1.1", "--on", "high").code == 6


def test_the_command_refuses_in_one_line(done: Path, cli: Callable[..., Called], tmp_path: Path) -> None:
    bad = cli("gate", done, "--require", "accuracy[label=*]")
    assert bad.code == 2
    assert bad.err.count("\n") == 1
    assert bad.out == ""
    assert cli("gate", tmp_path, "--require", "accuracy >= 0").code == 5
    unwritable = cli("gate", done, "--require", "accuracy >= 0", "--junit", tmp_path / "no" / "x.xml")
    assert unwritable.code == 2
