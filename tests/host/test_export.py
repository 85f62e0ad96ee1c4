"""Files for other programs: they hold the very rows, whatever names hold, and LaTeX sets them."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classrob.errors import UsageError
from classrob.export.flat import csv_of, score_rows
from classrob.export.latex import escape, latex
from classrob.export.markdown import markdown
from classrob.export.notebook import fragment
from classrob.export.sheet import sheets
from classrob.reading.score import Row

from .conftest import Called

#: Names that hurt: marks of LaTeX, HTML, Markdown and CSV, formulas, accents, other scripts.
EVIL = [
    "a_b & 50% #1 {x} ~^ \\textbf $",
    "\"quoted\", 'single' `tick`",
    "=cmd|' /C calc'!A0",
    "two\nlines",
    "<b>bold</b> | [a](b)",
    "Žluťoučký café ß Æ łódź ı",
    "猫 🐈 ℓ∞",
    "--- [b]",
    "@sum +1",
]


def row(
    label: str | None,
    value: float | None = 0.534,
    budget: float | None = 8 / 255,
    model: str = "m",
    **rest: object,
) -> Row:
    fields = {
        "model": model,
        "dataset": "d_1",
        "threat": "linf",
        "budget": budget,
        "attack": "pgd",
        "detector": None,
    }
    fields |= {"metric": "accuracy", "label": label, "value": value, "low": 0.481, "high": 0.586, "n": 100}
    return Row(**{**fields, **rest})  # type: ignore[arg-type]


def rows(classes: Sequence[str]) -> list[Row]:
    names = [None, *classes]
    return [
        row(c, i / len(names), b, m)
        for m in ("m_1", "m2")
        for b in (4 / 255, 8 / 255)
        for i, c in enumerate(names)
    ]


@settings(deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=5))
def test_csv_gives_back_every_name_and_holds_no_formula(names: list[str]) -> None:
    read = list(csv.reader(io.StringIO(csv_of(score_rows([row(n) for n in names])).decode(), newline="")))
    place = read[0].index("label")
    for name, cells in zip(names, read[1:], strict=True):
        assert cells[place].removeprefix("'") == name.removeprefix("'")
        assert not cells[place].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        assert float(cells[read[0].index("value")]) == 0.534


def test_negative_numbers_stay_numbers() -> None:
    (read,) = csv.DictReader(io.StringIO(csv_of(score_rows([row("a", -0.25)])).decode()))
    assert read["value"] == "-0.25"


@pytest.fixture
def done(study: Path, cli: Callable[..., Called]) -> Path:
    folder = study.parent / "out"
    assert cli("run", study, "--out", folder).code == 0
    return folder


def test_exported_rows_are_those_of_show(done: Path, cli: Callable[..., Called], tmp_path: Path) -> None:
    shown = json.loads(cli("show", done, "--format", "json").out)
    assert cli("export", done, "--to", "parquet", "--output", tmp_path / "x.parquet").code == 0
    assert pq.read_table(tmp_path / "x.parquet").to_pylist() == shown
    read = list(csv.DictReader(io.StringIO(cli("export", done, "--to", "csv").out)))
    assert [float(r["value"]) if r["value"] else None for r in read] == [r["value"] for r in shown]
    some = list(
        csv.DictReader(
            io.StringIO(cli("export", done, "--to", "csv", "--where", "budget=3/10,threat=linf").out)
        )
    )
    assert len(some) == sum(r["budget"] == 0.3 and r["threat"] == "linf" for r in shown)


def test_exported_judgements_are_those_of_the_view(
    done: Path, cli: Callable[..., Called], tmp_path: Path
) -> None:
    file = tmp_path / "x.parquet"
    assert cli("export", done, "--to", "parquet", "--rows", "judgements", "--output", file).code == 0
    view = json.loads(cli("query", done, "SELECT * FROM judgement", "--format", "json").out)

    def key(one: dict[str, object]) -> tuple[str, ...]:
        return tuple(str(one[name]) for name in ("threat", "sample", "budget"))

    table = pq.read_table(file)
    assert table.column_names == list(view[0])
    assert sorted(table.to_pylist(), key=key) == sorted(view, key=key)
    read = list(csv.DictReader(io.StringIO(cli("export", done, "--to", "csv", "--rows", "judgements").out)))
    assert len(read) == len(view)


def test_export_refuses_in_one_line(done: Path, cli: Callable[..., Called], tmp_path: Path) -> None:
    for arguments in (
        ("--to", "latex", "--rows", "judgements"),
        ("--to", "latex", "--metric", "accurcy"),
        ("--to", "csv", "--where", "thread=linf"),
        ("--to", "csv", "--where", "threat=nothing"),
        ("--to", "csv", "--output", tmp_path / "no" / "x.csv"),
    ):
        called = cli("export", done, *arguments)
        assert (called.code, called.err.count("\n")) == (2, 1), arguments
    assert list(tmp_path.glob(".x*")) == []


def balanced(text: str) -> bool:
    """Do braces pair up, escaped ones aside?"""
    depth = 0
    for sign in re.sub(r"\\[\\{}]", "", text):
        depth += (sign == "{") - (sign == "}")
        if depth < 0:
            return False
    return depth == 0


@settings(deadline=None)
@given(st.text(max_size=30))
def test_latex_escapes_any_name(name: str) -> None:
    text = escape(name)
    assert text.isascii()
    assert balanced(text)
    assert not re.search(r"(?<!\\)[#%&_]", text)
    assert "\n" not in text


def test_latex_reads_like_a_papers_table() -> None:
    text = latex(sheets(rows(["cat", "dog"]), "accuracy"))
    assert balanced(text)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert r"Model & Threat & All & cat & dog \\" in text
    assert r"m\_1 & linf 4/255 & 0.0 & 33.3 & 66.7 \\" in text
    assert r"{\scriptsize 48.1--58.6}" in text
    widths = {line.count("&") for line in text.splitlines() if line.endswith(r"\\")}
    assert widths == {4}


def test_a_thousand_classes_leave_the_lowest_and_the_highest() -> None:
    made = sheets(rows([f"c{i:04}" for i in range(1000)]), "accuracy")
    assert made[0].columns == (*[f"c{i:04}" for i in range(5)], *[f"c{i:04}" for i in range(995, 1000)])
    for text in (latex(made), markdown(made)):
        assert "of 1000 classes, the 5 lowest and highest" in text


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'accuracy'"):
        sheets(rows(["a"]), "acuracy")


def test_markdown_and_html_show_names_as_they_are() -> None:
    made = sheets(rows(EVIL), "accuracy")
    lines = [line for line in markdown(made).splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert widths == {len(EVIL) + 4}
    assert "<b>" not in markdown(made)
    assert "<b>" not in fragment(made)
    assert "&lt;b&gt;bold" in fragment(made)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(tmp_path: Path) -> None:
    many = rows([f"class {i}" for i in range(40)])
    tables = latex(sheets(rows(EVIL), "accuracy")) + latex(sheets(many, "accuracy"))
    preamble = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "x.tex").write_text(preamble + tables + "\\end{document}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace"
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "x.pdf").is_file()
