"""The page says what the rows say, whatever they hold, and loads nothing."""

from __future__ import annotations

import html
import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from classrob.cli.report import command
from classrob.errors import StoreError
from classrob.reading.comparison import compare
from classrob.reading.results import Results
from classrob.reading.score import Row
from classrob.report import detail, form, gallery, render, words, write_report
from classrob.report.appendix import toml
from classrob.report.charts import Axis
from classrob.report.compare import contests
from classrob.report.facts import View, views

from .synthetic import DIGITS, Pretence, Threat, rows, write

NASTY = (
    "<script>window.broken = 1</script>",
    "\"quoted\" & 'single'",
    "😀",
    "</script><!--\u2028-->",
    "a very long name " * 12,
    "{{ 7 * 7 }}",
)
SHAPES = {
    "ten": Pretence(),
    "two": Pretence(
        classes=("benign", "malignant"), models={"net": 0.8}, threats=(Threat("linf", (8 / 255,)),)
    ),
    "hundred": Pretence(
        classes=[f"class {i}" for i in range(100)],
        models={"a/b@v1": 1.0},
        images=8,
        threats=(Threat("linf", (0.001, 0.01, 0.1)),),
    ),
    "thousand": Pretence(
        classes=[f"n{i:08d}" for i in range(1000)],
        models={"net": 1.0},
        images=3,
        threats=(Threat("l2", (0.5, 1.0)),),
    ),
    "clean only": Pretence(threats=()),
    "one class": Pretence(classes=("only",), models={"net": 1.0}, clean_errors=0.0, pictures=0),
    "unfinished": Pretence(unfinished=2),
    "nothing yet": Pretence(unfinished=6),
    "no errors": Pretence(models={"net": 100.0}, clean_errors=0.0),
    "nasty": Pretence(
        classes=NASTY, models={"<b>m</b>/x": 1.0}, datasets=("d<1>", "d&2"), notes=("<img src=x>",)
    ),
    "failures": Pretence(failures=(("a<b>.png", "broken <PNG>"), (None, "StudyError: out of memory"))),
    "no pictures": Pretence(pictures=0),
    "guarded": Pretence(
        classes=("a", "<b>b</b>", "c"),
        models={"net": 1.0},
        threats=(
            Threat("linf", (0.1, 0.2)),
            Threat("linf", (0.1, 0.2), "evade/<i>msp</i>"),
            Threat("corruption/fog", (1, 2), None, nested=False),
        ),
        detectors=("<i>msp</i>", "energy"),
    ),
}


@contextmanager
def opened(folder: Path, run: Pretence) -> Iterator[tuple[Results, list[Row]]]:
    with Results.open(write(folder, run)) as results:
        yield results, rows(results)


@pytest.fixture(scope="module", params=SHAPES, ids=lambda name: name.replace(" ", "-"))
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    with opened(tmp_path_factory.mktemp("run"), SHAPES[request.param]) as (results, scores):
        return render(results, scores)


def made(folder: Path, run: Pretence) -> str:
    with opened(folder, run) as (results, scores):
        return render(results, scores)


def text_of(page: str) -> str:
    """What a reader sees: no style, no script, no tags, plain spaces."""
    bare = re.sub(r"<(style|script)\b.*?</\1>", " ", page, flags=re.S)
    plain = html.unescape(re.sub(r"<[^>]*>", " ", bare))
    return re.sub(r"\s+", " ", plain.replace("\u2060", ""))


class Checker(HTMLParser):
    """Tags nest, ids are unique, headings skip no level, and nothing is fetched."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.targets: set[str] = set()
        self.level = 0
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert len(values) == len(attrs), f"an attribute twice in <{tag}>"
        if ident := values.get("id"):
            assert ident not in self.ids, f"id {ident} twice"
            self.ids.add(ident)
        for name in ("href", "src", "action", "data", "srcset"):
            if value := values.get(name):
                assert value.startswith(("data:", "#")), f"{tag} {name} leaves the page: {value}"
                self.targets |= {value[1:]} if value.startswith("#") else set()
        self.targets |= set((values.get("aria-labelledby") or "").split())
        assert not [name for name in values if name.startswith("on")]
        if re.fullmatch("h[1-6]", tag):
            assert int(tag[1]) <= self.level + 1, f"{tag} after h{self.level}"
            self.level = int(tag[1])
        if tag == "img":
            assert values.get("alt")
        if tag == "svg":
            assert values.get("role") == "img"
            assert values.get("aria-labelledby")
        self.scripts += tag == "script"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_whole_and_loads_nothing(page: str) -> None:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert not checker.open
    assert checker.targets <= checker.ids
    assert checker.scripts == 3
    assert "@import" not in page
    assert "url(" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)


def test_page_is_small_beside_its_pictures(page: str) -> None:
    assert len(re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page).encode()) < 3_000_000


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    assert not re.search(r"[<>&\u2028\u2029]", found[1])
    return json.loads(found[1])


def test_data_agrees_with_rows(tmp_path: Path) -> None:
    with opened(tmp_path, Pretence()) as (results, scores):
        data = embedded(render(results, scores))
    wanted = {(r.model, r.threat, r.budget, r.label): r for r in scores if r.metric == "accuracy"}
    seen = 0
    for condition in data["conditions"]:
        threat = condition["threat"].split(" · ")[0]
        threat = "none" if threat == "unperturbed" else threat
        budgets = (
            next(t.budgets for t in Pretence().threats if t.name == threat) if threat != "none" else (None,)
        )
        column = condition["cells"][condition["accuracy"]]
        for at, budget in enumerate(budgets):
            for index, name in enumerate(data["classes"][condition["classes"]]):
                text, interval, n, value, low, high = data["scores"][column[at][index]]
                row = wanted[condition["model"], threat, budget, name]
                assert (text, interval, n) == (
                    form.percent(row.value),
                    form.between(row.low, row.high),
                    row.n,
                )
                assert (value, low, high) == pytest.approx((row.value, row.low, row.high), abs=1e-5)
                seen += 1
    assert seen == 2 * (1 + 8 + 5) * 10


def test_names_arrive_whole_and_harmless(tmp_path: Path) -> None:
    page = made(tmp_path, SHAPES["nasty"])
    data = embedded(page)
    assert data["classes"] == [list(NASTY)]
    assert "<script>window" not in page
    assert "<img src=x>" not in page
    assert "<b>m</b>" not in page
    assert "49" not in re.findall(r"<bdi>([^<]*)</bdi>", page)
    assert "<b>m</b>/x" in text_of(page)


def test_summary_states_what_matters(tmp_path: Path) -> None:
    with opened(tmp_path, Pretence(notes=("looks normalised twice",))) as (results, scores):
        said = text_of(render(results, scores))
        view = next(v for v in views(results, scores) if v.stored.threat == "linf")
    for place in (view.middle, -1):
        row = view.row("accuracy", view.cuts[place])
        assert row
        assert f"{form.percent(row.value)}".replace(form.THIN, " ") in said
    assert "Note of the run: looks normalised twice" in said
    assert "turned out wrong (implied error 0 %" in said
    assert "most of any class (CFPS)" in said
    assert "mid-P Clopper–Pearson" in said
    assert "attacked at this budget, and not broken" in said
    spent = sum(v.spent for v in _views(tmp_path))
    assert f"{spent:,} gradient evaluations" in said


def _views(folder: Path) -> list[View]:
    with Results.open(folder) as results:
        return views(results, rows(results))


@pytest.fixture
def view(tmp_path: Path) -> View:
    return next(
        v for v in _views(write(tmp_path, Pretence(models={"net": 1.0}))) if v.stored.threat == "linf"
    )


def accuracies(view: View, values: dict[str, tuple[float, float, float]]) -> float:
    """Give a view's first budget other class accuracies (value, low, high); returns the budget."""
    cut = view.cuts[0]
    assert cut is not None
    like = next(iter(view.scores["accuracy", cut].values()))
    at = {k: like._replace(label=k, value=v, low=lo, high=hi, n=50) for k, (v, lo, hi) in values.items()}
    view.scores["accuracy", cut] = {**at}
    view.scores.pop(("worst-class-accuracy", cut), None)
    return cut


def test_worst_class_is_certain_only_where_no_interval_overlaps(view: View) -> None:
    cut = accuracies(view, {"a": (0.2, 0.1, 0.3), "b": (0.5, 0.4, 0.6), "c": (0.8, 0.7, 0.9)})
    assert words.worst(view, cut).endswith("so the finding is clear.")
    cut = accuracies(view, {"a": (0.2, 0.1, 0.45), "b": (0.5, 0.4, 0.6), "c": (0.8, 0.7, 0.9)})
    assert "The interval of “b” overlaps, so which class is worst is not certain." in words.worst(view, cut)
    cut = accuracies(view, {"a": (0.2, 0.1, 0.3), "b": (0.2, 0.1, 0.3), "c": (0.8, 0.7, 0.9)})
    assert "“a” and “b”" in words.worst(view, cut)
    assert "no class is certainly the worst" in words.worst(view, cut)
    cut = accuracies(view, {"a": (0.0, 0.0, 0.1), "b": (0.0, 0.0, 0.1)})
    assert words.worst(view, cut).startswith("All 2 classes are alike: 0")


def test_worst_class_interval_allows_for_the_choice(view: View) -> None:
    lowest = {cut: [row.value for row in view.ranking(cut)] for cut in view.cuts}
    cut = next(cut for cut, values in lowest.items() if values[0] != values[1])
    row = view.row("worst-class-accuracy", cut)
    assert row
    assert form.between(row.low, row.high) in words.worst(view, cut)
    assert "allowing for the choice among 10 classes" in words.worst(view, cut)


def test_without_errors_nothing_swallows(tmp_path: Path) -> None:
    said = text_of(made(tmp_path, SHAPES["no errors"]))
    assert "No image is misclassified" in said
    assert "no errors" in said


def test_unfinished_and_failures_come_first(tmp_path: Path) -> None:
    said = text_of(made(tmp_path / "a", SHAPES["unfinished"]))
    assert "This run is not finished: 4 of 6 shards are there" in said
    assert "Nothing of this condition is finished yet." in said
    said = text_of(made(tmp_path / "b", SHAPES["failures"]))
    assert "1 image and 1 shard could not be measured" in said
    assert "broken <PNG>" in said
    assert "No threat was measured" in text_of(made(tmp_path / "c", SHAPES["clean only"]))


def test_many_classes_get_pairs_instead_of_a_matrix(tmp_path: Path) -> None:
    page = made(tmp_path, SHAPES["thousand"])
    assert 'class="heat' not in page
    assert page.count('class="pairs"') == 3
    assert page.count("980 classes between") == 2
    assert 'class="heat' in made(tmp_path / "few", Pretence(threats=()))


def test_models_side_by_side_as_the_command_compares_them(tmp_path: Path) -> None:
    """Differences, intervals, p values and verdicts of the page are those of `classrob compare DIR`."""

    def points(share: float) -> str:
        return f"{100 * share:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0").replace("-", "−")

    with opened(tmp_path, Pretence(classes=DIGITS[:3], images=20)) as (results, scores):
        changes = {
            (c.model, c.threat, c.attack, c.budget, c.label): c
            for c in compare([("run", results)]).changes
            if c.metric == "accuracy"
        }
        found = contests(views(results, scores), results)
        page = html.unescape(render(results, scores))
    assert len(found) == 3
    seen, verdicts = 0, set[bool]()
    for contest in found:
        first, other = contest.views
        lines = [(cut, None, line) for cut, line in zip(first.cuts, contest.overall[::2], strict=True)]
        for cut, (_, some) in zip(first.cuts, contest.classes, strict=True):
            lines += [(cut, line.head, line) for line in some]
        for cut, label, line in lines:
            change = changes[other.stored.model, other.stored.threat, other.stored.attack, cut, label]
            (lead,) = line.leads
            assert lead is not None
            assert (lead.value, lead.significant) == (change.difference, change.changed)
            assert lead.interval == f"{points(change.low)} to {points(change.high)}"
            assert f"{lead.interval} · {lead.p}{', significant' if lead.significant else ''}" in page
            seen += 1
            verdicts.add(lead.significant)
    assert seen == len(changes)
    assert verdicts == {False, True}
    assert all(line.leads == [None] for contest in found for line in contest.overall[1::2])


def test_unknown_metrics_and_detectors_are_shown_as_they_are(tmp_path: Path) -> None:
    with opened(tmp_path, Pretence(models={"net": 1.0})) as (results, scores):
        like = next(r for r in scores if (r.threat, r.budget) == ("linf", 0.15))
        own = like._replace(metric="my-score", value=12.5, low=10.0, high=15.0, n=7)
        scores += [
            own,
            own._replace(label="3", value=2.25, low=None, high=None),
            own._replace(budget=None, metric="over-all-budgets", label=None, value=0.125),
            own._replace(metric="auroc", label=None, detector="energy", value=0.75),
        ]
        said = text_of(render(results, scores))
    for wanted in (
        "my-score",
        "12.5",
        "10 to 15",
        "2.25",
        "over-all-budgets",
        "0.125",
        "energy",
        "auroc",
        "0.75",
    ):
        assert wanted in said


def test_areas_and_medians_have_a_column_and_flows_have_none(tmp_path: Path) -> None:
    with opened(tmp_path, Pretence(models={"net": 1.0})) as (results, scores):
        page = render(results, scores)
        view = next(v for v in views(results, scores) if v.stored.threat == "linf")
    titles = [column.title for column in detail.columns(view)]
    assert titles[0] == "Clean accuracy"
    assert titles[-2:] == ["ARA", "Median distance"]
    assert {"ARA", "Median distance"} <= {column.title for column in detail.figures(view)}
    assert any(row.metric.startswith("flow-to/") for row in scores)
    assert "flow-to/" not in page
    assert "distance-q" not in page
    row = view.row("ara", view.cuts[0], "3")
    assert row is not None
    assert row.value is not None
    assert form.plain(row.value) in text_of(page)
    assert "Accuracy-Robustness Area" in text_of(page)


def text_and_ends(row: Row) -> tuple[str, str]:
    return form.shown(row).text, form.shown(row).interval


def test_what_lies_beyond_the_largest_budget_is_said_to() -> None:
    like = Row("net", "digits", "linf", None, "pgd", None, "distance-median", "3", None, 0.25, None, 20)
    assert text_and_ends(like) == ("beyond", "0.25 or more")
    assert text_and_ends(like._replace(value=0.3)) == ("0.3", "0.25 or more")
    assert text_and_ends(like._replace(value=0.3, high=0.35)) == ("0.3", "0.25 to 0.35")


def test_a_study_without_accuracy_still_makes_a_page(tmp_path: Path) -> None:
    with opened(tmp_path, Pretence()) as (results, scores):
        page = render(results, [r for r in scores if r.metric == "flip-rate"])
        Checker().feed(page)
        Checker().feed(render(results, []))
    assert "Flip rate" in text_of(page)


def test_gallery_shows_both_ends_and_keeps_to_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Pretence(models={"net": 1.0})
    with opened(tmp_path, run) as (results, scores):
        found = views(results, scores)
        view = next(v for v in found if v.stored.threat == "linf")
        shelves = gallery.galleries(results, found)[view.index]
        ranked = view.ranking(view.cuts[view.middle])
        assert [s.label for s in shelves] == [form.quoted(ranked[0].label), form.quoted(ranked[-1].label)]
        picture = shelves[0].pictures[0]
        assert picture.small
        assert (picture.gain, picture.distance) == ("5", "0.09877")
        assert picture.fooled
        size = len(picture.original + picture.perturbed + picture.difference)
        monkeypatch.setattr(gallery, "BYTES", 2 * size)
        thinned = gallery.galleries(results, found)
        assert sum(s.left_out for one in thinned.values() for s in one) >= 8
        assert "left out to keep this file small" in text_of(render(results, scores))


def test_axis_is_logarithmic_for_wide_ranges_only() -> None:
    assert not Axis.of((0.1, 0.2, 0.3)).log
    assert not Axis.of((8 / 255,)).log
    wide = Axis.of((0.001, 0.01, 0.1))
    assert wide.log
    assert wide.places[2] - wide.places[1] == pytest.approx(wide.places[3] - wide.places[2])


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0.0, "0 %"), (1.0, "100 %"), (0.9999, ">99.9 %"), (0.0001, "<0.1 %"), (0.312, "31.2 %"), (None, "–")],
)
def test_percent_is_extreme_only_when_exact(value: float | None, wanted: str) -> None:
    assert form.percent(value).replace(form.THIN, " ") == wanted


@pytest.mark.parametrize(
    ("value", "wanted"), [(8 / 255, "8/255"), (0.1, "0.1"), (1 / 16, "0.0625"), (3.0, "3"), (1 / 3, "1/3")]
)
def test_budgets_read_as_they_were_written(value: float, wanted: str) -> None:
    assert form.budget(value) == wanted


def test_study_reads_back_as_toml() -> None:
    study = {
        "name": 'a "b"',
        "seed": 3,
        "exhaustive": False,
        "model": [{"use": "torch", "mean": [0.5, 0.25]}],
        "threat": [
            {"use": "linf", "budgets": ["8/255", 0.1], "attack": {"use": "pgd", "steps": 4}},
            {"use": "l2"},
        ],
    }
    assert tomllib.loads(toml(study)) == study


def test_paths_beside_the_study_lose_their_folder(tmp_path: Path) -> None:
    with opened(tmp_path, Pretence()) as (results, scores):
        stored = results.conditions[0]
        stored.parts["model"]["weights"] = "/somewhere/nets/a.pth"
        assert results.meta["base"] == "/somewhere"
        page = render(results, scores)
    assert "nets/a.pth" in page
    assert "/somewhere" not in page


def test_command_writes_the_page_and_prints_its_path_alone(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", Pretence(classes=DIGITS[:3], models={"net": 1.0}, images=4))
    result = CliRunner().invoke(command, [str(folder)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{folder / 'report.html'}\n"
    assert sorted(p.name for p in folder.iterdir() if p.name.startswith((".", "report"))) == ["report.html"]
    Checker().feed((folder / "report.html").read_text("utf-8"))


def test_no_run_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="classrob run"):
        write_report(tmp_path)


# -- colours: text has a contrast of 4.5 and lines of 3 to what lies behind them, in both themes ----------


def _palettes() -> dict[str, dict[str, str]]:
    style = (files("classrob.report") / "templates" / "report.css").read_text("utf-8")
    found = {}
    for name, selector in (("light", r":root"), ("system dark", r':root:not\(\[data-theme="light"\]\)'),
                           ("dark", r':root\[data-theme="dark"\]')):  # fmt: skip
        block = re.search(rf"^\s*{selector} \{{(.*?)\}}", style, re.S | re.M)
        assert block, name
        found[name] = dict(re.findall(r"--([\w-]+):\s*([^;]+);", block[1]))
    return found


def _rgb(colour: str) -> tuple[float, ...]:
    if colour.startswith("#"):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        return tuple(int(digits[i : i + 2], 16) for i in (0, 2, 4))
    return tuple(float(part) for part in colour.split())


def _contrast(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    def luminance(colour: tuple[float, ...]) -> float:
        linear = [
            c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_have_contrast(theme: str) -> None:
    palette = _palettes()[theme]
    for behind in ("bg", "surface", "soft", "notice"):
        for colour in ("ink", "muted", "accent"):
            assert _contrast(_rgb(palette[colour]), _rgb(palette[behind])) >= 4.5, (colour, behind)
    for number in range(6):
        assert _contrast(_rgb(palette[f"c{number}"]), _rgb(palette["surface"])) >= 3
    for kind in ("hit", "miss"):
        for percent in range(1, 101):
            shade = (percent / 100) ** 0.5 * float(palette["k"])
            cell = tuple(
                s + (t - s) * shade
                for s, t in zip(_rgb(palette["surface"]), _rgb(palette[kind]), strict=True)
            )
            text = palette["on-deep"] if percent > 60 else palette["on"]
            assert _contrast(_rgb(text), cell) >= 4.5, (kind, percent)


def test_both_ways_to_dark_are_alike() -> None:
    palettes = _palettes()
    assert palettes["dark"] == palettes["system dark"]
    assert palettes["dark"].keys() == palettes["light"].keys()


def test_a_class_page_names_the_nearest_centroid_and_where_images_move(tmp_path: Path) -> None:
    """Where features were recorded at the largest budget only, of that; and where there are none it says so."""
    with Results.open(write(tmp_path / "run")) as results:
        plain = rows(results)
        last = next(row for row in plain if (row.threat, row.label, row.budget) == ("linf", "3", 0.4))
        far = {
            "centroid-distance-to/5": 4.0,
            "centroid-distance-to/7": 2.0,
            "drift-to/1": -0.25,
            "drift-to/8": 0.125,
        }
        more = [last._replace(metric=name, value=value, low=-1.0, high=5.0) for name, value in far.items()]
        without, page = render(results, plain), render(results, [*plain, *more])
    chapters = [text_of(one.split('id="class-0-3"')[1].split("</details>")[0]) for one in (without, page)]
    assert "Nearest centroid Not known: no probe recorded features." in chapters[0]
    assert " 0.4 7 2 −1 to 5 8 0.125 −1 to 5" in chapters[1]
    other = text_of(page.split('id="class-0-4"')[1].split("</details>")[0])
    assert "no other centroid is near enough" in other
