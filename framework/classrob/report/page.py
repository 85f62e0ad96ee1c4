"""The page: facts into templates, style and script inlined, so that one file is all there is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from classrob.reading.results import Results
from classrob.reading.score import Row
from classrob.report import appendix, classpage, compare, detail, detectors, form, overview, words
from classrob.report.facts import views
from classrob.report.gallery import SMALL, galleries, portraits
from classrob.report.honesty import honesty
from classrob.report.map import Projection, maps
from classrob.statistics.intervals import RATE_METHOD
from classrob.trials import summaries

#: The page's scripts, in the order in which they stand in its one script element.
SCRIPTS = ("base.js", "condition.js", "picker.js", "tables.js", "highlight.js")


def render(results: Results, rows: Sequence[Row], projection: Projection = "pca") -> str:
    """The whole page of a run and its scores.

    Raises:
        UsageError: a map by UMAP is asked for, and UMAP is not installed.
    """
    found = views(results, rows)
    meta = results.meta
    failures = results.failures()
    first, last, seconds = appendix.times(results)
    pool, names = detail.Pool(), {}
    pool.index(form.NOTHING)
    conditions = [detail.payload(v, pool, names.setdefault(v.stored.classes, len(names))) for v in found]
    chapters = classpage.pages(found, names, portraits(results, found))
    paged = [chapter.key for chapter in chapters]
    data = {"paged": paged, "scores": pool.data(), "classes": list(names), "conditions": conditions}
    return (
        _environment()
        .get_template("page.html")
        .render(
            views=found,
            study=meta.get("study", {}),
            toml=appendix.toml(meta.get("study", {})),
            notes=list(meta.get("notes", {})),
            machine=meta.get("environment", {}),
            parts=appendix.parts(found, meta.get("base", "")),
            bases=appendix.bases(found),
            spent=sum(v.spent for v in found),
            queries=sum(v.queries for v in found),
            manners=appendix.manners(results),
            first=first,
            last=last,
            seconds=seconds,
            failures=failures,
            state=words.state(found, failures),
            cards=overview.cards(found),
            boards=overview.boards(found),
            start=next((v.index for v in found if not v.stored.clean), 0),
            contests=compare.contests(found, results),
            guarded=detectors.sheets(results, rows, names),
            chapters=chapters,
            places=names,
            paged=set(paged),
            galleries=galleries(results, found),
            members={v.index: [t for t in summaries(results, v.stored) if t.label is None] for v in found},
            audit=honesty(results),
            maps=maps(results, found, projection),
            small=SMALL,
            method=RATE_METHOD,
            metrics=form.METRICS,
            program=_version(),
            data=embedded(data),
            detail=detail,
            words=words,
            plural=form.plural,
            clip=form.clip,
            percent=form.percent,
            shown=form.shown,
            budget=form.budget,
            style=Markup(_text("report.css")),
            script=Markup("\n".join(map(_text, SCRIPTS))),
        )
    )


def embedded(data: Any) -> Markup:
    """Data as JSON that can stand inside a script element, whatever names it holds."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _text(name: str) -> str:
    return (files("classrob.report") / "templates" / name).read_text("utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _version() -> str:
    try:
        return version("classrob")
    except PackageNotFoundError:
        return ""
