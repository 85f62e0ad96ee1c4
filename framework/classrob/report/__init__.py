"""Rows to one self-contained HTML page that a manager can read and a researcher can check."""

from __future__ import annotations

import os
from pathlib import Path

from classrob.catalog import Catalog
from classrob.errors import StoreError
from classrob.reading.results import Results
from classrob.reading.score import scores
from classrob.report.map import Projection
from classrob.report.page import render

__all__ = ["NAME", "render", "write_report"]

#: The page's file in the run's folder.
NAME = "report.html"


def write_report(folder: Path, projection: Projection = "pca") -> Path:
    """Write a run's report into its folder, all or nothing; returns where it is.

    `projection` is that of the map of features.

    Raises:
        UsageError: a map by UMAP is asked for, and UMAP is not installed.
        StoreError: there is no run, its store cannot be read, or the page cannot be written.
    """
    with Results.open(folder) as results:
        page = render(results, scores(results, Catalog.installed()), projection)
    target = folder / NAME
    draft = folder / f".{NAME}.{os.getpid()}"
    try:
        draft.write_bytes(page.encode("utf-8", "replace"))  # a lone surrogate in a name is no reason to fail
        draft.replace(target)
    except OSError as error:
        raise StoreError(f"the report cannot be written to {target}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    return target
