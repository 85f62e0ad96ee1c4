"""The map of features: escaped, described, small, and drawn for few classes and for a thousand."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from classrob.reading.results import Stored
from classrob.report.facts import View
from classrob.report.map import (
    HEIGHT,
    LETTER,
    LINE,
    ROOM,
    WIDTH,
    Drawn,
    Label,
    Map,
    Plane,
    _chosen,
    _labels,
    _map,
)

from ..host.conftest import Called, cli, study

__all__ = ["cli", "study"]

HOSTILE = '</svg><script>alert("1")</script>'


def drawn(k: int, points: int) -> tuple[Map, View]:
    """A map of k classes, the first of which has a hostile name."""
    names = (HOSTILE, *(f"class {i}" for i in range(1, k)))
    stored = Stored(1, "net", "data", "linf", "pgd", (0.1,), names, {})
    view = View(1, stored, 1, 1, k, {}, [], (0.1,), ("0.1",))
    rng = np.random.default_rng(0)
    place = rng.normal(size=(k, 2)) * 5
    spots = [place[i] + rng.normal(size=(points, 2)) for i in range(k)]
    shown = np.arange(points) < 2
    found = [Drawn(i, (place[i], place[i] + 1), (s, s + 1), shown) for i, s in enumerate(spots)]
    return _map(view, found, Plane(lambda x: x[:, :2], True, "two numbers"), _chosen(view)), view


@pytest.mark.parametrize(("k", "coloured"), [(2, 2), (12, 12), (1000, 10)])
def test_the_picture_is_sound_whatever_the_classes(k: int, coloured: int) -> None:
    one, _ = drawn(k, 60)
    tree = ElementTree.fromstring(str(one.picture))
    assert tree.attrib["role"] == "img"
    labels = {child.attrib["id"]: child.text for child in tree if "id" in child.attrib}
    assert set(tree.attrib["aria-labelledby"].split()) == set(labels)
    assert all(labels.values())
    assert len(one.means) == coloured
    assert one.left_out == k - coloured
    assert one.choose == (k > coloured)
    assert len(tree.findall("./g[@class='quiet']/g")) == k - coloured
    assert len(tree.findall("./g[@class='means']/g")) == coloured
    assert len(one.picture) < ROOM
    assert "<script" not in one.picture


@pytest.mark.parametrize("spread", [3, 30, 300])
@pytest.mark.parametrize("seed", range(5))
def test_names_hide_neither_points_nor_each_other(seed: int, spread: int) -> None:
    """… and stay inside the picture, also where the means of twelve classes lie on one heap at its edge."""
    rng = np.random.default_rng(seed)
    spots = np.clip(rng.normal((WIDTH - 40, 100), spread, (12, 2, 2)), 10, (WIDTH - 10, HEIGHT - 10)).astype(
        int
    )
    wanted = [
        Label(f"automobile {i}", i, (tuple(a.tolist()), tuple(b.tolist()))) for i, (a, b) in enumerate(spots)
    ]
    boxes = []
    for text in re.findall(r"<text[^>]*>[^<]*", "".join(_labels(wanted))):
        x, y, name = re.findall(r'x="(\d+)" y="(\d+)">(.*)', text)[0]
        boxes.append((int(x), int(y) - LINE + 4, LETTER * len(name), LINE))
    assert len(boxes) == 12
    points = [(x - 6, y - 6, 12, 12) for x, y in spots.reshape(-1, 2).tolist()]
    for i, (x, y, wide, high) in enumerate(boxes):
        assert 0 <= x <= WIDTH - wide
        assert 0 <= y <= HEIGHT - high
        for a, b, c, d in [*boxes[:i], *points]:
            assert x + wide <= a or a + c <= x or y + high <= b or b + d <= y


def test_colours_are_as_many_as_classes_in_colour() -> None:
    style = (
        Path(importlib.util.find_spec("classrob").origin).parent / "report/templates/map.html"
    ).read_text()  # type: ignore[union-attr, arg-type]
    one, _ = drawn(12, 3)
    for mean in one.means:
        assert f".k{mean.colour} {{" in style


def test_a_run_with_features_gets_a_map(study: Path, cli: Callable[..., Called]) -> None:
    names = [HOSTILE, "b", "c", "d"]
    text = study.read_text().replace('path = "data.npz"', f'path = "data.npz"\nclasses = {names!r}')
    study.write_text(text + '\n[[probe]]\nuse = "features"\n')
    out = study.parent / "runs" / "a"
    assert cli("run", study, "--out", out).code == 0
    assert cli("report", out).code == 0
    page = (out / "report.html").read_text()
    assert page.count('<svg class="map"') == 2
    assert HOSTILE not in page
    section = page[page.index('<section id="map"') :]
    section = section[: section.index("</section>")]
    assert section.count("The same as a table") == 2
    assert len(re.findall(r'<th scope="row"><span class="swatch', section)) == 8
    assert re.search(r"hold (>?[\d.]+)\u202f% of their variance", section)
    assert len(section) < 300_000
    again = page
    assert cli("report", out).code == 0
    assert (out / "report.html").read_text() == again
    if importlib.util.find_spec("umap") is None:
        done = cli("report", out, "--map", "umap")
        assert done.code == 2
        assert "needs umap-learn: install classrob[umap]" in done.err
        assert len(done.err.strip().splitlines()) == 1
