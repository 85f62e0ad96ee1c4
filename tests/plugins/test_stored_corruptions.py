"""Ready-made sets: the right image for every sample and severity, and one clear line where they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from classrob.catalog import Catalog
from classrob.errors import StudyError
from classrob.live import Batch, Classifier
from classrob.space import Space
from classrob.streams import Streams

CATALOG = Catalog.installed()
N = 6


def opened(
    path: Path, ids: tuple[str, ...], labels: list[int], budgets: Any = (1, 5), side: int = 4
) -> Space:
    batch = Batch(ids, torch.zeros(len(ids), 3, side, side), torch.tensor(labels))
    threat = CATALOG.make("threat", "corruption/stored", {"path": str(path), "budgets": budgets})
    return threat.open(batch, Classifier(torch.nn.Identity()), Streams.keyed(0, "s", ids, "t"))


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Image i at severity s is grey of the value 10 s + i; labels 0, 1, 2, 0, 1, 2, for every severity."""
    level = (10 * np.arange(1, 6)[:, None] + np.arange(N)).reshape(-1, 1, 1, 1)
    np.save(tmp_path / "fog.npy", np.broadcast_to(level, (5 * N, 4, 4, 3)).astype(np.uint8))
    np.save(tmp_path / "labels.npy", np.tile(np.arange(N) % 3, 5).astype(np.uint8))
    return tmp_path / "fog.npy"


def grey(space: Space) -> list[float]:
    images = space.render(space.centre())
    assert images.shape[1:] == (3, 4, 4)
    return (images[:, 0, 0, 0] * 255).round().tolist()


def test_rows_of_arrays(arrays: Path) -> None:
    space = opened(arrays, ("4", "test/1"), [1, 1])
    assert grey(space) == [54, 51]
    assert grey(space.at(torch.tensor([1.0, 3.0]))) == [14, 31]
    assert grey(space.select(torch.tensor([1]))) == [51]
    np.save(arrays.with_name("labels.npy"), np.arange(N) % 3)  # once for all severities
    assert grey(opened(arrays, ("4",), [1])) == [54]


@pytest.mark.parametrize(
    ("ids", "labels", "said"),
    [
        (("4",), [2], r"row 4 has the label 1, but sample '4' has 2"),
        (("6",), [0], r"holds 6 samples by number, and '6' is none of them"),
        (("cat/4.png",), [1], r"'cat/4.png' is none of them"),
    ],
)
def test_other_samples_are_refused(arrays: Path, ids: tuple[str, ...], labels: list[int], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        opened(arrays, ids, labels)


def test_a_label_that_differs_at_one_severity_is_seen(arrays: Path) -> None:
    labels = np.tile(np.arange(N) % 3, 5)
    labels[4 * N + 4] = 0
    np.save(arrays.with_name("labels.npy"), labels)
    with pytest.raises(StudyError, match="row 28 has the label 0"):
        opened(arrays, ("4",), [1])
    assert grey(opened(arrays, ("4",), [1], budgets=[1, 2])) == [24]


def test_files_that_are_no_such_arrays(arrays: Path) -> None:
    with pytest.raises(StudyError, match="five severities"):
        opened(arrays.with_name("labels.npy"), ("0",), [0])
    with pytest.raises(StudyError, match=r"\[3, 4, 4\], but the sample is \[3, 8, 8\]"):
        grey(opened(arrays, ("4",), [1], side=8))
    np.save(arrays.with_name("labels.npy"), np.zeros(7, np.int64))
    with pytest.raises(StudyError, match="no labels of the 30 images"):
        opened(arrays, ("0",), [0])
    arrays.with_name("labels.npy").unlink()
    with pytest.raises(StudyError, match="not a usable"):
        opened(arrays, ("0",), [0])


def test_folders(tmp_path: Path) -> None:
    for severity in (1, 5):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / "fog" / str(severity) / name
            folder.mkdir(parents=True)
            Image.new("RGB", (4, 4), (10 * severity + label,) * 3).save(folder / "0.png")
    ids = ("dog/0.png", "cat/0.png")
    space = opened(tmp_path / "fog", ids, [1, 0])
    assert grey(space) == [51, 50]
    assert grey(space.at(torch.ones(2)).select(torch.tensor([1]))) == [10]
    with pytest.raises(StudyError, match=r"no '2/dog/0\.png'"):
        opened(tmp_path / "fog", ids, [1, 0], budgets=[2])
    (tmp_path / "fog/1/cat/0.png").write_bytes(b"nothing")
    with pytest.raises(StudyError, match=r"cat/0\.png: .*cannot identify"):
        grey(opened(tmp_path / "fog", ids, [1, 0], budgets=[1]))


def test_a_study_reads_them_as_its_own_corruptions(arrays: Path) -> None:
    """A study over stored images has the rows of the model on those images, and a mean corruption error."""
    from classrob.reading.results import Results
    from classrob.reading.score import scores
    from classrob.run import run
    from classrob.study import make_study

    folder = arrays.parent
    (folder / "nets.py").write_text(
        "import torch\n\n\nclass Net(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        level = (x[:, 0, 0, 0] * 255).round() % 10\n"
        "        return torch.nn.functional.one_hot((level % 3).long(), 3).float() + 0 * x.mean()\n"
    )
    np.savez(folder / "clean.npz", x=np.load(arrays)[:N], y=np.arange(N) % 3)
    study = make_study(
        {
            "name": "stored",
            "model": [{"use": "torch", "factory": "nets.py:Net"}],
            "dataset": [{"use": "arrays", "path": "clean.npz"}],
            "threat": [{"use": "corruption/stored", "path": "fog.npy", "name": "fog"}],
            "metric": [{"use": "accuracy"}, {"use": "mce"}],
        }
    )
    assert run(study, folder, folder / "out", reuse=False) == 0
    with Results.open(folder / "out") as results:
        rows = {(row.threat, row.budget, row.metric, row.label): row for row in scores(results, CATALOG)}
    assert [rows["fog", s, "accuracy", None].value for s in (1.0, 3.0, 5.0)] == [1.0, 1.0, 1.0]
    assert rows[None, None, "corruption-error/fog", None].value == 0.0
