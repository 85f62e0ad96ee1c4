"""The card of a trained model, as Markdown: how it was made, what it was measured to be, how to load it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from classrob.environment import environment
from classrob.export.markdown import escaped
from classrob.parts import Recipe
from classrob.reading.score import Row
from classrob.statistics.intervals import rate
from classrob.training.course import Course, Trained
from classrob.training.measuring import inline, toml

#: The metrics that a card shows, a column each; the report has all.
_SHOWN = ("accuracy", "worst-class-accuracy")


@dataclass(frozen=True)
class Made:
    """All that a card is about: parts by the names they were called by, as tables of a study."""

    weights: str
    recipe: str
    part: Recipe
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    trained: Trained
    course: Course
    picture: str | None
    measured_by: str | None
    rows: Sequence[Row]


def card(made: Made) -> str:
    """The card."""
    parts = [_head(made), _figures(made), _training(made), _loading(made)]
    return "\n".join(part for part in parts if part)


def _head(made: Made) -> str:
    what = (inspect.getdoc(type(made.part)) or "").partition("\n")[0]
    made_of = (
        f"Trained by the recipe `{_code(made.recipe)}` on {made.trained.learned:,} images "
        f"of the data set `{_code(str(made.data['use']))}`, from the {made.part.trains} "
        f"`{_code(str(made.model['use']))}`."
    )
    return f"# {escaped(made.weights)}\n\n{escaped(what)}\n\n{made_of}\n"


def _figures(made: Made) -> str:
    lines = ["## Figures", ""]
    if made.rows and made.measured_by:
        lines += [
            f"Measured by `{_code(made.measured_by)}` on images that it has not learned from. An accuracy under a "
            "threat is an upper bound: it is what the attack named beside it left standing.",
            "",
            f"| data | threat | budget | attack | {' | '.join(f'{name} (95 %)' for name in _SHOWN)} | n |",
            f"| --- | --- | ---: | --- |{' ---: |' * (len(_SHOWN) + 1)}",
            *_rows(made.rows),
            "",
        ]
    elif made.rows:
        lines += [
            f"On images of the data set `{_code(made.rows[0].dataset)}` that it has not learned from; a "
            "reconstruction error is how far off an image is that it makes of an image's code, the root mean "
            "square over pixels in [0, 1].",
            "",
            "| class | figure | value (95 %) | n |",
            "| --- | --- | ---: | ---: |",
            *(
                f"| {escaped(row.label or 'all')} | {escaped(row.metric)} | {_number(row)} | {row.n:,} |"
                for row in made.rows
            ),
            "",
        ]
    elif made.trained.held_out:
        n, last = made.trained.held_out, made.trained.history[-1].values
        said = [
            _held_out(name.removeprefix("held-out "), value, n)
            for name, value in last.items()
            if "held" in name
        ]
        lines += [f"On {n:,} images held out from training: {', '.join(said)}.", ""]
    else:
        lines += ["None: no image was kept from training, and no test data were named.", ""]
    return "\n".join(lines)


def _rows(rows: Sequence[Row]) -> list[str]:
    """A line a data set, threat and budget."""
    found: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in rows:
        if row.label is None and row.metric in _SHOWN:
            key = row.dataset, row.threat, row.budget, row.attack
            found.setdefault(key, {})[row.metric] = row
    lines = []
    for (dataset, threat, budget, attack), metrics in found.items():
        cells = [_score(metrics.get(name)) for name in _SHOWN]
        n = max(row.n for row in metrics.values())
        where = "–" if budget is None else f"{budget:.4g}"
        names = escaped(dataset), escaped(threat or "none"), where, escaped(attack or "–")
        lines.append(f"| {' | '.join((*names, *cells, f'{n:,}'))} |")
    return lines


def _score(row: Row | None) -> str:
    return "–" if row is None or row.value is None else _share(row.value, row.low, row.high)


def _number(row: Row) -> str:
    ends = "" if row.low is None or row.high is None else f" ({row.low:.4g}–{row.high:.4g})"
    return f"{row.value:.4g}{ends}"


def _held_out(name: str, value: float, n: int) -> str:
    if name.endswith("accuracy"):
        return f"{name} {_share(value, *rate(round(value * n), n))}"
    return f"mean {name} {value:.4g}"


def _share(value: float, low: float | None, high: float | None) -> str:
    ends = "" if low is None or high is None else f" ({100 * low:.1f}–{100 * high:.1f})"
    return f"{100 * value:.1f} %{ends}"


def _training(made: Made) -> str:
    versions = environment()
    fields = {name: getattr(made.part, name) for name in type(made.part).model_fields}
    seconds = made.trained.history[-1].seconds if made.trained.history else None
    facts = {
        **fields,
        "device": made.course.device,
        "threads": made.course.threads,
        "held out": f"{made.trained.held_out:,} images" if made.trained.held_out else "none",
        **({} if seconds is None else {"seconds of training": f"{seconds:.0f}"}),
        **{name: versions[name] for name in ("classrob", "torch", "python")},
    }
    lines = ["## Training", "", "| what | value |", "| --- | --- |"]
    lines += [f"| {escaped(name)} | {escaped(_shown(value))} |" for name, value in facts.items()]
    if made.picture is not None:
        lines += ["", f"![Learning curves](<{made.picture}>)"]
    data = toml({"dataset": [made.data]}).strip()
    return "\n".join([*lines, "", "The data:", "", *_fenced(data, "toml"), ""])


def _shown(value: Any) -> str:
    if value is None or value == ():
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _loading(made: Made) -> str:
    if made.part.trains == "model":
        where, table = "In a study beside the file of weights:", toml({"model": [made.model]}).strip()
    else:
        where = "In a study beside the file of weights, where a threat or a data set takes a generator:"
        table = f"{made.part.trains} = {inline(made.model)}"
    lines = [
        "## Use",
        "",
        where,
        "",
        *_fenced(table, "toml"),
        "",
        "The file holds the network's own `state_dict`: `network.load_state_dict(safetensors.torch.load_file(…))`. "
        "What stands around the network, such as a normalisation, is in the fields above and not in the file.",
    ]
    if made.measured_by:
        lines += ["", "Measure it again:", "", *_fenced(f"classrob run {made.measured_by}", "sh")]
    return "\n".join([*lines, ""])


def _fenced(text: str, language: str) -> list[str]:
    fence = "`" * max(3, 1 + max((len(run) for run in _ticks(text)), default=0))
    return [f"{fence}{language}", text, fence]


def _ticks(text: str) -> list[str]:
    """The runs of backquotes in a text."""
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]


def _code(text: str) -> str:
    """A text that stands between backquotes."""
    return "".join(c if c.isprintable() and c != "`" else "�" for c in text)
