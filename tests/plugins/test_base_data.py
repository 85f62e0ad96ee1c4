"""The data sets of classrob_base: what they read, what they refuse, and what they hold in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from classrob.errors import StudyError
from classrob.images import Fit
from classrob.live import Samples
from classrob.subset import opened
from classrob_base.arrays import Arrays
from classrob_base.digits import Digits
from classrob_base.folder import Folder
from classrob_base.parquet import Parquet
from classrob_base.windows import KEPT, ROWS, Windows


def png(value: int, size: tuple[int, int] = (4, 4), mode: str = "L") -> bytes:
    stream = BytesIO()
    Image.new(mode, size, value if mode == "L" else (value,) * 3).save(stream, "PNG")
    return stream.getvalue()


def table(n: int, names: list[str] | None = None, image: str = "picture", label: str = "kind") -> pa.Table:
    """n grey images; row i has the grey level i % 256 and the label i % 3."""
    cells = [{"bytes": png(i % 256), "path": f"{i}.png"} for i in range(n)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    made = pa.table(
        {"id": pa.array(range(n)), image: pa.array(cells, kind), label: pa.array([i % 3 for i in range(n)])}
    )
    if names is None:
        return made.drop_columns(["id"])
    features = {
        image: {"_type": "Image"},
        label: {"names": names, "_type": "ClassLabel"},
        "id": {"dtype": "int64"},
    }
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def levels(samples: Samples, fit: Fit | None = None) -> list[int]:
    """The grey level of every image."""
    batch, broken = samples.read(range(len(samples)), fit or Fit())
    assert not broken
    assert batch is not None
    assert batch.images.dtype == torch.float32
    return (batch.images.mean((1, 2, 3)) * 255).round().int().tolist()


def refusal(dataset: Any) -> str:
    with pytest.raises(StudyError) as caught:
        dataset.open()
    text = str(caught.value)
    assert "\n" not in text
    return text


# -- digits --------------------------------------------------------------------------------------------


def test_digits_splits_are_a_stratified_partition() -> None:
    train, test = Digits(split="train").open(), Digits().open()
    ids = [{s.id(i) for i in range(len(s))} for s in (train, test)]
    assert len(ids[0]) == len(train) == 1260
    assert len(ids[1]) == len(test) == 537
    assert ids[0] | ids[1] == {f"digits/{i}" for i in range(1797)}
    counts = [np.bincount([s.label(i) for i in range(len(s))]) for s in (train, test)]
    share = counts[1] / (counts[0] + counts[1])
    assert share.min() > 0.29
    assert share.max() < 0.31
    assert test.id(0) == "digits/20"
    assert tuple(test.classes) == tuple("0123456789")


def test_digits_are_the_images_of_their_ids() -> None:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    samples = Digits().open()
    batch, _ = samples.read(range(len(samples)), Fit())
    assert batch is not None
    rows = [int(one.partition("/")[2]) for one in batch.ids]
    assert torch.equal(batch.images[:, 0] * 16, torch.tensor(bunch.images[rows], dtype=torch.float32))
    assert batch.labels.tolist() == bunch.target[rows].tolist()


# -- parquet -------------------------------------------------------------------------------------------


def test_parquet_takes_names_and_columns_from_the_metadata(tmp_path: Path) -> None:
    pq.write_table(table(10, ["ant", "bee", "cat"]), tmp_path / "a.parquet", row_group_size=4)
    samples = Parquet(path=tmp_path / "a.parquet").open()
    assert tuple(samples.classes) == ("ant", "bee", "cat")
    assert [samples.label(i) for i in range(10)] == [i % 3 for i in range(10)]
    assert [samples.id(i) for i in range(10)] == [str(i) for i in range(10)]
    assert levels(samples) == list(range(10))


def test_parquet_without_metadata_names_classes_by_number(tmp_path: Path) -> None:
    plain = pa.table({"x": pa.array([png(7), png(9)]), "y": pa.array([0, 3], pa.uint8())})
    pq.write_table(plain, tmp_path / "a.parquet")
    samples = Parquet(path=tmp_path / "a.parquet").open()
    assert tuple(samples.classes) == ("0", "1", "2", "3")
    assert levels(samples) == [7, 9]


def test_parquet_folder_of_shards_and_splits(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("test", 20)):
        for part in range(2):
            rows = table(30).slice(first + 5 * part, 5)
            pq.write_table(rows, tmp_path / f"{split}-0000{part}-of-00002.parquet", row_group_size=2)
    (tmp_path / ".test-9.parquet").write_bytes(b"hidden")
    samples = Parquet(path=tmp_path, split="test").open()
    assert levels(samples) == list(range(20, 30))
    assert samples.id(9) == "9"
    assert "set `split` to one of test, train" in refusal(Parquet(path=tmp_path))
    assert "no split 'val': set `split` to one of test, train" in refusal(Parquet(path=tmp_path, split="val"))
    one = tmp_path / "test-00000-of-00002.parquet"
    assert "one file: leave `split` out" in refusal(Parquet(path=one, split="test"))
    assert len(Parquet(path=one).open()) == 5


def test_parquet_asks_where_columns_are_unclear(tmp_path: Path) -> None:
    two = (
        table(3, image="a")
        .append_column("b", pa.array([png(1)] * 3))
        .append_column("fine", pa.array([0, 1, 2]))
    )
    pq.write_table(two, tmp_path / "a.parquet")
    assert "set `image` to one of the columns a, b" in refusal(Parquet(path=tmp_path))
    assert "set `label` to one of the columns kind, fine" in refusal(Parquet(path=tmp_path, image="b"))
    assert levels(Parquet(path=tmp_path, image="b", label="fine").open()) == [1, 1, 1]
    assert "no column 'fin'; did you mean 'fine'?" in refusal(Parquet(path=tmp_path, image="b", label="fin"))
    assert "cannot hold labels" in refusal(Parquet(path=tmp_path, image="a", label="b"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": [1.5], "y": [0]}, "no column of images (it has x: double, y: int64)"),
        ({"x": [b"a"], "y": ["cat"]}, "no column of labels"),
        ({"x": [b"a", b"b"], "y": [0, -1]}, "row 1 has label -1; is this an unlabelled split?"),
        ({"x": [b"a", b"b"], "y": [0, None]}, "1 rows have no 'y'"),
    ],
)
def test_parquet_refuses_in_one_line(tmp_path: Path, columns: dict[str, list[Any]], message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert message in refusal(Parquet(path=tmp_path))


def test_parquet_label_beyond_the_names(tmp_path: Path) -> None:
    pq.write_table(table(3, ["ant", "bee"]), tmp_path / "a.parquet")
    assert "label 2, but its metadata has 2 classes" in refusal(Parquet(path=tmp_path))


def test_parquet_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 is how it begins, but no more")
    assert "not a readable Parquet file" in refusal(Parquet(path=tmp_path))
    (tmp_path / "a.parquet").unlink()
    assert "holds no .parquet file" in refusal(Parquet(path=tmp_path))


def test_parquet_bad_image_spoils_only_its_row(tmp_path: Path) -> None:
    cells = [png(5), b"no image", png(6)[:-25], b"", png(8)]
    pq.write_table(pa.table({"x": cells, "y": [0] * 5}), tmp_path / "a.parquet")
    batch, broken = Parquet(path=tmp_path).open().read(range(5), Fit())
    assert batch is not None
    assert batch.ids == ("0", "4")
    assert set(broken) == {"1", "2", "3"}
    assert "holds no image bytes" in broken["3"]
    assert "0x" not in broken["1"]  # an address would make two runs differ


@settings(max_examples=40, deadline=None)
@given(
    groups=st.integers(1, 3 * ROWS),
    order=st.lists(st.integers(0, 3 * ROWS + 6), min_size=1, max_size=30),
)
def test_windows_give_every_row_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, groups: int, order: list[int]
) -> None:
    n = 3 * ROWS + 7
    path = tmp_path_factory.mktemp("windows") / "a.parquet"
    pq.write_table(pa.table({"x": pa.array(range(n))}), path, row_group_size=groups)
    with pq.ParquetFile(path) as file:
        windows = Windows((file, file), "x")
        for index in order:
            assert windows.row(index) == index
            assert windows.row(n + index) == index  # in the second shard
        assert len(windows._kept) <= KEPT


def test_memory_does_not_grow_with_one_huge_row_group(tmp_path: Path) -> None:
    """Reads 200 MB of images out of a single row group, in a process of its own, and asks Arrow for its peak."""
    random = np.random.default_rng(0)
    kind = pa.schema([("x", pa.binary()), ("y", pa.int64())])
    chunk = [pa.array([random.bytes(100_000) for _ in range(100)], pa.binary()), pa.array([0] * 100)]
    whole = pa.Table.from_batches([pa.record_batch(chunk, kind)] * 20)
    pq.write_table(
        whole, tmp_path / "a.parquet", row_group_size=len(whole), use_dictionary=False, compression="none"
    )
    assert pq.read_metadata(tmp_path / "a.parquet").num_row_groups == 1
    script = f"""
from pathlib import Path
import pyarrow
from classrob_base.parquet import Parquet
samples = Parquet(path=Path({str(tmp_path)!r})).open()
for i in range(len(samples)):
    samples.windows.row(i)
print(pyarrow.default_memory_pool().max_memory())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=_paths()
    )
    assert int(done.stdout) < 80e6, "the windows that are kept are 26 MB, the data set is 200 MB"


def _paths() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def test_real_mnist_and_cifar(shared: Path) -> None:
    mnist = Parquet(path=shared / "data/mnist/test.parquet").open()
    assert len(mnist) == 10_000
    assert [mnist.label(i) for i in range(10)] == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    cifar = Parquet(path=shared / "data/cifar10", split="test").open()
    assert tuple(cifar.classes)[:3] == ("airplane", "automobile", "bird")
    batch, broken = cifar.read([0, 9_999, 5_000], Fit())
    assert not broken
    assert batch is not None
    assert batch.images.shape == (3, 3, 32, 32)
    assert batch.labels.tolist() == [0, 9, 0]


# -- folder --------------------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for split, shift in (("train", 0), ("val", 100)):
        for number, name in enumerate(("zebra", "ant", ".cache")):
            folder = tmp_path / split / name / "deep"
            folder.mkdir(parents=True)
            Image.new("L", (3 + number, 5), shift + number).save(folder / "b.png")
            Image.new("L", (7, 5), shift + 10 + number).save(folder.parent / "a.BMP")
            Image.new("L", (7, 5), 0).save(folder / ".hidden.png")
            (folder / "notes.txt").write_text("no image")
    return tmp_path


def test_folder_classes_ids_and_order(images: Path) -> None:
    samples = Folder(path=images, split="val").open()
    assert tuple(samples.classes) == ("ant", "zebra")
    assert [samples.id(i) for i in range(4)] == [
        "ant/a.BMP",
        "ant/deep/b.png",
        "zebra/a.BMP",
        "zebra/deep/b.png",
    ]
    assert [samples.label(i) for i in range(4)] == [0, 0, 1, 1]
    assert levels(samples, Fit(size=(5, 5))) == [111, 101, 110, 100]
    assert Folder(path=images / "val").open().id(0) == "ant/a.BMP"


def test_folder_refuses_in_one_line(images: Path, tmp_path: Path) -> None:
    assert "no folder 'vall'; did you mean 'val'?" in refusal(Folder(path=images, split="vall"))
    assert "takes one folder a class" in refusal(Folder(path=images / "val" / "ant" / "deep"))
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    assert "no image in its 1 class folders" in refusal(Folder(path=tmp_path / "empty"))
    assert "is no folder" in refusal(Folder(path=images / "val/ant/a.BMP"))


def test_folder_with_a_broken_file_and_an_odd_name(images: Path) -> None:
    (images / "val/ant/broken.png").write_bytes(png(3)[:40])
    odd = (images / "val/ant").joinpath(b"caf\xe9.png".decode("utf-8", "surrogateescape"))
    odd.write_bytes(png(3))
    samples = Folder(path=images, split="val").open()
    batch, broken = samples.read(range(len(samples)), Fit(size=(4, 4)))
    assert list(broken) == ["ant/broken.png"]
    assert batch is not None
    assert "ant/caf\\xe9.png" in batch.ids
    assert all(one.encode() for one in batch.ids)


# -- arrays --------------------------------------------------------------------------------------------

PIXELS = np.arange(5 * 4 * 6 * 3, dtype=np.uint8).reshape(5, 4, 6, 3)
LABELS = np.array([0, 2, 1, 1, 0])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("stored", "shape"),
    [
        (PIXELS, (3, 4, 6)),
        (PIXELS.transpose(0, 3, 1, 2), (3, 4, 6)),
        (PIXELS[..., 0], (1, 4, 6)),
        (np.asfortranarray(PIXELS[..., :1]), (1, 4, 6)),
        ((PIXELS / 255.0).astype(">f8"), (3, 4, 6)),
        ((PIXELS / 255.0).astype(np.float32), (3, 4, 6)),
    ],
)
def test_arrays_layouts_and_types(
    tmp_path: Path, stored: np.ndarray, shape: tuple[int, ...], save: Any
) -> None:
    save(tmp_path / "a.npz", images=stored, labels=LABELS[:, None])
    samples = Arrays(path=tmp_path / "a.npz").open()
    batch, broken = samples.read(range(5), Fit())
    assert not broken
    assert batch is not None
    expected = torch.from_numpy(PIXELS.transpose(0, 3, 1, 2)[:, : shape[0]] / 255.0).float()
    assert batch.images.shape == (5, *shape)
    torch.testing.assert_close(batch.images, expected, rtol=0, atol=1e-6)
    assert batch.labels.tolist() == LABELS.tolist()
    assert batch.ids == ("0", "1", "2", "3", "4")
    assert tuple(samples.classes) == ("0", "1", "2")


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (("x", "y"), None),
        (("data", "targets"), None),
        (("x_test", "y_test"), "test"),
        (("val_images", "val_labels"), "val"),
    ],
)
def test_arrays_usual_names(tmp_path: Path, names: tuple[str, str], split: str | None) -> None:
    np.savez(tmp_path / "a.npz", **{names[0]: PIXELS, names[1]: LABELS, "classes": np.array(["a", "b", "c"])})
    samples = Arrays(path=tmp_path / "a.npz", split=split).open()
    assert tuple(samples.classes) == ("a", "b", "c")
    assert len(samples) == 5


def test_plain_npz_is_mapped_and_compressed_is_not(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", x=PIXELS, y=LABELS)
    np.savez_compressed(tmp_path / "small.npz", x=PIXELS, y=LABELS)
    plain, small = (Arrays(path=tmp_path / f"{name}.npz").open() for name in ("plain", "small"))
    assert isinstance(plain.images, np.memmap)  # type: ignore[attr-defined]
    assert not isinstance(small.images, np.memmap)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(plain.images, small.images)  # type: ignore[attr-defined]


def test_arrays_folder_in_the_layout_of_cifar10c(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", LABELS)
    np.save(tmp_path / "fog.npy", PIXELS)
    assert isinstance(Arrays(path=tmp_path).open().images, np.memmap)  # type: ignore[attr-defined]
    np.save(tmp_path / "snow.npy", PIXELS[::-1])
    assert "set `array` to one (it holds fog, snow)" in refusal(Arrays(path=tmp_path))
    assert "no 'fig.npy'; did you mean 'fog'? (it holds fog, snow)" in refusal(
        Arrays(path=tmp_path, array="fig")
    )
    samples = Arrays(path=tmp_path, array="snow").open()
    np.testing.assert_array_equal(np.asarray(samples.picture(0)), PIXELS[4])
    assert "has no `split`" in refusal(Arrays(path=tmp_path, split="test"))


def test_arrays_values_out_of_range_fail_with_a_remedy(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz",
        x=np.stack([np.zeros((2, 2)), np.full((2, 2), 2.0), np.full((2, 2), np.nan)]),
        y=[0, 1, 2],
    )
    batch, broken = Arrays(path=tmp_path / "a.npz").open().read(range(3), Fit())
    assert batch is not None
    assert batch.ids == ("0",)
    assert set(broken) == {"1", "2"}
    assert "undo the normalisation" in broken["1"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": PIXELS.astype(np.int64), "y": LABELS}, "images are int64, but must be uint8 or floats"),
        ({"x": PIXELS[0, 0], "y": LABELS}, "images are [6, 3], not [n, h, w]"),
        ({"x": np.zeros((5, 2, 4, 6)), "y": LABELS}, "images are [5, 2, 4, 6]"),
        ({"x": PIXELS, "y": LABELS[:3]}, "5 images, but 3 labels"),
        ({"x": PIXELS, "y": LABELS / 2}, "labels are float64 [5], but must be integers [n]"),
        ({"x": PIXELS, "y": LABELS - 1}, "label -1 is below 0"),
        ({"x": PIXELS, "y": LABELS, "classes": np.array(["a", "b"])}, "label 2, but `classes` names 2"),
        ({"pixels": PIXELS, "y": LABELS}, "no array of images called x, images"),
        ({"x": np.array([{}] * 5), "y": LABELS}, "holds Python objects"),
    ],
)
def test_arrays_refuse_in_one_line(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    assert message in refusal(Arrays(path=tmp_path / "a.npz"))


def test_arrays_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK no more")
    assert "is not an .npz file" in refusal(Arrays(path=tmp_path / "a.npz"))
    assert "holds no labels.npy" in refusal(Arrays(path=tmp_path))
    (tmp_path / "labels.npy").write_bytes(b"no array")
    (tmp_path / "fog.npy").write_bytes(b"no array")
    assert "not a usable .npy file" in refusal(Arrays(path=tmp_path))


@pytest.mark.parametrize("seed", [0, 1])
def test_random_access_equals_reading_in_order(tmp_path: Path, seed: int) -> None:
    n = 3 * ROWS + 11
    pq.write_table(table(n), tmp_path / "a.parquet", row_group_size=ROWS + 40)
    samples = Parquet(path=tmp_path).open()
    order = np.random.default_rng(seed).permutation(n)[:60].tolist()
    batch, _ = samples.read(order, Fit())
    assert batch is not None
    assert (batch.images.mean((1, 2, 3)) * 255).round().int().tolist() == [i % 256 for i in order]
    assert batch.ids == tuple(map(str, order))


def test_a_random_choice_is_that_of_numpys_permutation_in_the_sets_own_order() -> None:
    whole = Digits().open()
    wanted = sorted(np.random.RandomState(3).permutation(len(whole))[:10].tolist())
    chosen = opened(Digits(limit=10, shuffle=3), "digits")
    assert [chosen.id(i) for i in range(len(chosen))] == [whole.id(i) for i in wanted]
    even = opened(Digits(limit=20, stratify=True, shuffle=3), "digits")
    assert [[even.label(i) for i in range(20)].count(label) for label in range(10)] == [2] * 10
    assert len(opened(Digits(shuffle=3), "digits")) == len(whole)
