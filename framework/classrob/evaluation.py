"""`classrob.evaluate`: a network and tensors in a notebook, measured by the very path that a study takes."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import warnings
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from torch import nn

from classrob.catalog import Catalog
from classrob.cli.progress import Progress
from classrob.errors import ClassrobError, RequirementNotMet, StudyError, UsageError
from classrob.export import export
from classrob.export.notebook import fragment
from classrob.export.sheet import sheets
from classrob.handed import arrays_of
from classrob.live import Classifier
from classrob.memory import Held, digest_of
from classrob.reading.comparison import compare
from classrob.reading.query import query
from classrob.reading.requirement import On, Requirement
from classrob.reading.results import Results
from classrob.reading.score import Row, scores
from classrob.report import write_report
from classrob.run import Observer, run
from classrob.study import Study, make_study

if TYPE_CHECKING:
    import pandas as pd

Threats = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@final
class Run:
    """A finished run in a folder, for reading.

    Attributes:
        folder: where it is; one that `evaluate` made for itself lives as long as this object.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        with Results.open(self.folder):
            pass  # says at once that there is no run

    @cached_property
    def rows(self) -> list[Row]:
        """The scores, as `classrob show` has them."""
        with Results.open(self.folder) as results:
            return list(scores(results, Catalog.installed()))

    def scores(self) -> pd.DataFrame:
        """The scores as a pandas DataFrame, one row a number.

        Raises:
            UsageError: pandas is not installed.
        """
        return _frame([row.as_dict() for row in self.rows], list(Row._fields))

    def failures(self) -> list[str]:
        """Why samples or shards were not measured, a line each."""
        with Results.open(self.folder) as results:
            return [failure.reason for failure in results.failures()]

    def report(self) -> Path:
        """Write the report into the folder, one HTML file; returns where it is."""
        return write_report(self.folder)

    def query(self, sql: str, *, rows: int = 10_000, seconds: float = 60.0) -> pd.DataFrame:
        """The answer to one SELECT over the store, as `classrob query` gives it."""
        with Results.open(self.folder) as results:
            answer = query(results, sql, rows=rows, seconds=seconds)
        if answer.cut:
            raise UsageError(f"there are more than {rows} rows: ask for fewer, or give a larger `rows`")
        return _frame(list(answer.rows), list(answer.columns))

    def compare(self, *others: Run) -> pd.DataFrame:
        """What changed from this run to others, as `classrob compare` says it; its notes are `attrs["notes"]`."""
        with ExitStack() as stack:
            runs = [
                (one.folder.name, stack.enter_context(Results.open(one.folder))) for one in (self, *others)
            ]
            found = compare(runs)
        changes = [change.as_dict() for change in found.changes]
        frame = _frame(changes, list(changes[0]))
        frame.attrs["notes"] = list(found.notes)
        return frame

    def require(self, *requirements: str, on: On = "value") -> None:
        """Hold the scores to requirements such as `accuracy[threat=linf, label=*] >= 0.3`.

        Raises:
            UsageError: one cannot be read. RequirementNotMet: one is not met, or matches no row.
        """
        for requirement in [Requirement.read(text) for text in requirements]:
            checked = list(requirement.check(self.rows, on))
            bad = [one for one in checked if one.state != "met"]
            if bad and bad[0].row is None:
                raise RequirementNotMet(f"{requirement.text}: {requirement.why_none(self.rows)}")
            if bad:
                raise RequirementNotMet(f"{requirement.text}: not met by {len(bad)} of {len(checked)} rows")

    def export(self, path: str | Path, to: str, *, what: str = "scores", metric: str = "accuracy") -> Path:
        """Write scores or judgements to a file, as `classrob export` does; returns where it is."""
        with Results.open(self.folder) as results:
            content = export(results, to, what, metric)
        Path(path).write_bytes(content)
        return Path(path)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {len(self.rows)} scores)"

    def _repr_html_(self) -> str:
        """The first metric with its intervals, a row for a threat and budget: over all, and of the classes."""
        return fragment(sheets(self.rows, self.rows[0].metric)) if self.rows else "<p>no scores</p>"


def evaluate(
    model: nn.Module,
    data: object,
    threats: Threats = (),
    *,
    classes: Sequence[str] | None = None,
    metrics: Sequence[Mapping[str, Any] | str] = (),
    name: str = "model",
    device: str | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Measure a network class by class; the same judge, sweeps and intervals as `classrob run`.

    Args:
        model: a network of images float32 [n, c, h, w] in [0, 1] to logits [n, k]; it is left as it is.
        data: a pair (images, labels) of tensors or arrays, a torch Dataset or a DataLoader; images uint8 or
            floats in [0, 1].
        threats: `{"linf": ["2/255", "8/255"]}`: budgets by threat; or a list of tables as in a study file,
            `[{"use": "linf", "budgets": ["8/255"], "attack": "autoattack"}]`.
        classes: the classes' names in label order; their numbers where not given.
        metrics: names or tables; every one where none is named.
        name: how rows call the model.
        device: `cpu`, `cuda`, …; None: where the model is.
        folder: where to keep the run, so that the same call resumes it; None: a temporary one, which goes
            when the returned object goes.
        progress: say on standard error how far it is.
        settings: other keys of a study: `seed`, `batch_size`, `shard_size`, `exhaustive`, …

    Raises:
        StudyError: the model, the data or a threat cannot be used; one line.
        ClassrobError: nothing could be measured.
    """
    if not isinstance(model, nn.Module):
        raise StudyError(f"model must be a torch.nn.Module, not a {type(model).__name__}")
    images, labels = arrays_of(data)
    where = device or _device(model)
    names = _names(model, images, labels, classes, where)
    study = make_study(
        {
            "name": re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:100] or "model",
            "device": where,
            "model": [{"use": "memory", "name": name, "module": Held(value=model, digest=digest_of(model))}],
            "dataset": [{"use": "memory", "name": "data", "samples": _samples(images, labels, names)}],
            "threat": _threats(threats),
            "metric": [{"use": one} if isinstance(one, str) else dict(one) for one in metrics],
            **settings,
        },
        "evaluate",
    )
    if folder is not None:
        _compute(study, Path(folder), progress)
        return Run(folder)
    place = Path(tempfile.mkdtemp(prefix="classrob-"))
    try:
        _compute(study, place, progress)
        made = Run(place)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    weakref.finalize(made, shutil.rmtree, place, ignore_errors=True)
    return made


def _compute(study: Study, folder: Path, progress: bool) -> None:
    shown = Progress(sys.stderr)
    observer = Observer(shown.note, shown.started, shown.finished) if progress else Observer()
    try:
        failed = run(study, Path.cwd(), folder, reuse=False, observer=observer)
    finally:
        shown.close() if progress else None
    if failed:
        with Results.open(folder) as results:
            reasons = [one.reason for one in results.failures() if one.sample is None]
            some = any(results.progress(condition)[0] for condition in results.conditions)
        line = f"{failed} shards failed; the first: {reasons[0] if reasons else 'no reason was given'}"
        if not some:
            raise ClassrobError(line)
        warnings.warn(f"{line} (the rest is there)", stacklevel=3)


def _samples(images: Any, labels: Any, names: tuple[str, ...]) -> Held:
    return Held(value=(images, labels, names), digest=digest_of((images, labels)))


def _names(
    model: nn.Module, images: Any, labels: Any, classes: Sequence[str] | None, device: str
) -> tuple[str, ...]:
    """The classes' names: those given, or the numbers of the model's outputs."""
    most = int(labels.max())
    if classes is not None:
        if most >= len(classes):
            raise StudyError(f"label {most}, but `classes` names {len(classes)}")
        if len(set(classes)) < len(classes):
            raise StudyError("`classes` names a class twice")
        return tuple(map(str, classes))
    first = torch.from_numpy(images[:1].copy()).to(device)
    first = first[:, None] if first.ndim == 3 else first.movedim(3, 1)
    first = first.float() / 255 if first.dtype == torch.uint8 else first
    with Classifier(model, device=device).frozen() as classifier, torch.no_grad():
        outputs = classifier(first.contiguous()).shape[1]
    return tuple(map(str, range(max(outputs, most + 1))))


def _device(model: nn.Module) -> str:
    """Where the model is, as a study calls it."""
    device = next((t.device for t in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    return str(device) if device.type == "cuda" else device.type


def _threats(threats: Threats) -> list[dict[str, Any]]:
    if isinstance(threats, Mapping):
        return [{"use": use, "budgets": budgets} for use, budgets in threats.items()]
    return [dict(one) for one in threats]


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    try:
        import pandas as pd
    except ImportError:
        raise UsageError(
            "pandas is not installed: pip install 'classrob[notebook]'; `rows` needs none"
        ) from None
    return pd.DataFrame(rows, columns=pd.Index(columns))
