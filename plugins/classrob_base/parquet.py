"""The data set `parquet`: images in Parquet files as the Hugging Face Hub lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from classrob.errors import StudyError, one_line
from classrob.fields import File
from classrob.images import Picture
from classrob.live import Samples
from classrob.parts import Dataset
from classrob_base.columns import Columns, columns_of
from classrob_base.decode import decoded
from classrob_base.windows import Windows


@final
class Parquet(Dataset):
    """Parquet files as the Hugging Face Hub lays them out.

    One column holds encoded images (a struct of `bytes` and `path`, or plain binary), one holds integer
    labels; class names come from the `huggingface` metadata of the schema. An id is the row's number.
    Memory does not grow with the images: rows are decoded a window at a time.
    """

    path: File = Field(description="a .parquet file, or a folder of shards")
    split: str | None = Field(
        default=None, description="in a folder: `<split>.parquet` and `<split>-*.parquet`"
    )
    image: str | None = Field(default=None, description="the image column, where several could be it")
    label: str | None = Field(default=None, description="the label column, where several could be it")

    def open(self) -> Samples:
        """All rows of all shards, in the order of the shards' names.

        Raises:
            StudyError: no shard, no readable Parquet, unclear columns, or a row without a label.
        """
        paths = _shards(self.path, self.split)
        files = [_opened(path) for path in paths]
        columns = columns_of(files[0].schema_arrow, self.image, self.label, paths[0])
        for path, file in zip(paths, files, strict=True):
            if not {columns.image, columns.label} <= set(file.schema_arrow.names):
                raise StudyError(
                    f"{path} lacks a column of {paths[0]}: '{columns.image}' or '{columns.label}'"
                )
        parts = [_labels(file, columns.label, path) for path, file in zip(paths, files, strict=True)]
        labels = np.concatenate(parts)
        classes = columns.classes or tuple(str(k) for k in range(int(labels.max(initial=-1)) + 1))
        if len(labels) and labels.max() >= len(classes):
            raise StudyError(
                f"{self.path}: label {labels.max()}, but its metadata has {len(classes)} classes"
            )
        windows = Windows(tuple(files), columns.image)
        return ParquetSamples(windows, labels, classes, columns)


def _shards(path: Path, split: str | None) -> list[Path]:
    if path.is_file():
        if split is not None:
            raise StudyError(f"{path} is one file: leave `split` out, or let `path` name its folder")
        return [path]
    files = sorted(p for p in path.glob("*.parquet") if not p.name.startswith("."))
    if not files:
        raise StudyError(f"{path} holds no .parquet file")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(file.stem.partition("-")[0], []).append(file)
    if split is None and len(by_split) == 1:
        return files
    if split not in by_split:
        what = "holds several splits" if split is None else f"holds no split '{split}'"
        raise StudyError(f"{path} {what}: set `split` to one of {', '.join(sorted(by_split))}")
    return by_split[split]


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, buffer_size=1 << 16, pre_buffer=False)  # pages are streamed, not slurped
    except (pa.ArrowInvalid, OSError) as error:
        raise StudyError(f"{path} is not a readable Parquet file: {one_line(error)}") from error


def _labels(file: pq.ParquetFile, column: str, path: Path) -> np.ndarray[Any, Any]:
    try:
        array = file.read([column]).column(0)
    except (pa.ArrowInvalid, OSError) as error:
        raise StudyError(f"{path}: column '{column}' cannot be read: {one_line(error)}") from error
    if array.null_count:
        raise StudyError(f"{path}: {array.null_count} rows have no '{column}'")
    labels = array.to_numpy()
    if len(labels) and (labels.min() < 0 or labels.max() >= 2**31):
        row = int(np.flatnonzero((labels < 0) | (labels >= 2**31))[0])
        raise StudyError(f"{path}: row {row} has label {labels[row]}; is this an unlabelled split?")
    return labels.astype(np.int32)


@final
@dataclass
class ParquetSamples(Samples):
    """Rows of Parquet files; `labels` is int32 [n]."""

    windows: Windows
    labels: np.ndarray[Any, Any]
    classes: Sequence[str]
    columns: Columns

    def __len__(self) -> int:
        return len(self.labels)

    def id(self, index: int) -> str:
        """The row's number over all shards."""
        return str(range(len(self))[index])

    def label(self, index: int) -> int:
        """The value of the label column."""
        return int(self.labels[index])

    def picture(self, index: int) -> Picture:
        """The decoded image."""
        cell = self.windows.row(range(len(self))[index])
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not data:
            where = f" (its path is {cell['path']!r})" if isinstance(cell, dict) and cell.get("path") else ""
            raise ValueError(f"row {index} holds no image bytes{where}")
        return decoded(BytesIO(data))
