"""One column of some Parquet files, read by row with a small memory, however large a row group is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

#: Rows in a window, and how many windows stay in memory: the one in use, and those a look back needs.
ROWS, KEPT = 64, 4


class Windows:
    """Random access to a column by row number, cheap where the numbers ascend.

    Row groups are the only places where Parquet can be entered, and a writer may put a whole data set
    into one. So a row group is streamed in windows of `ROWS` rows: going on is cheap, going back by more
    than `KEPT` windows starts the row group again.
    """

    def __init__(self, files: tuple[pq.ParquetFile, ...], column: str) -> None:
        groups = [(file, group) for file in files for group in range(file.metadata.num_row_groups)]
        sizes = [file.metadata.row_group(group).num_rows for file, group in groups]
        self._groups = groups
        self._starts = [0, *accumulate(sizes)]
        self._column = column
        self._kept: OrderedDict[tuple[int, int], pa.Array] = OrderedDict()
        self._stream: Iterator[pa.RecordBatch] = iter(())
        self._next = (-1, 0)  # the window that the stream brings next: (row group, number)

    def row(self, index: int) -> Any:
        """The cell of a row: a dict for a struct, bytes for binary, None for null.

        Raises:
            OSError, ValueError: the file is damaged or gone.
        """
        group = _last_at_most(self._starts, index)
        number, offset = divmod(index - self._starts[group], ROWS)
        return self._window(group, number)[offset].as_py()

    def _window(self, group: int, number: int) -> pa.Array:
        key = (group, number)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if self._next[0] != group or self._next[1] > number:
            file, inside = self._groups[group]
            self._stream = file.iter_batches(
                ROWS, row_groups=[inside], columns=[self._column], use_threads=False
            )
            self._next = (group, 0)
        while True:
            try:
                window = next(self._stream).column(0)
            except (OSError, ValueError):
                self._next = (-1, 0)  # the stream is lost; a later row starts it again
                raise
            here, self._next = self._next, (group, self._next[1] + 1)
            self._kept[here] = window
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            if here == key:
                return window


def _last_at_most(starts: list[int], index: int) -> int:
    """The position of the last start that is not above the index (empty row groups are passed over)."""
    low, high = 0, len(starts) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if starts[middle] <= index else (low, middle)
    return low
