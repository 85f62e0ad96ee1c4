"""Scores and judgements as files for other programs: CSV, Parquet, LaTeX, Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from classrob.catalog import Catalog
from classrob.errors import UsageError
from classrob.export.flat import csv_of, judgements, parquet_of, score_rows
from classrob.export.latex import latex
from classrob.export.markdown import markdown
from classrob.export.sheet import sheets
from classrob.reading.requirement import Choice
from classrob.reading.results import Results
from classrob.reading.score import scores

__all__ = ["FORMATS", "export"]

#: What a run can be exported to.
FORMATS = ("csv", "parquet", "latex", "markdown")


def export(
    results: Results, to: str, what: str = "scores", metric: str = "accuracy", where: Sequence[Choice] = ()
) -> bytes:
    """A run as the content of a file.

    Args:
        to: one of `FORMATS`.
        what: `scores`, the rows of `show`, or `judgements`, one row a sample and budget; the latter as
            CSV or Parquet alone.
        metric: which LaTeX and Markdown tables show, class by class.
        where: which rows of scores are exported; all.

    Raises:
        UsageError: the run has no such metric, or the format cannot hold what is asked for.
    """
    if what == "judgements":
        if to not in ("csv", "parquet") or where:
            raise UsageError(
                "judgements go to csv or parquet, and all of them: 'classrob query' chooses among them"
            )
        table = judgements(results)
    else:
        rows = [r for r in scores(results, Catalog.installed()) if all(choice.admits(r) for choice in where)]
        if not rows:
            raise UsageError("no row of scores is so")
        if to in ("latex", "markdown"):
            made = sheets(rows, metric)
            return (latex(made) if to == "latex" else markdown(made)).encode("utf-8", "replace")
        table = score_rows(rows)
    return csv_of(table) if to == "csv" else parquet_of(table)
