"""Many named tuples of one kind as columns; one becomes an object only where somebody asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, final, overload

import numpy as np

T = TypeVar("T", bound=NamedTuple)


@final
class Columnar(Sequence[T], Generic[T]):
    """Rows that share their fields, such as the scores of a run.

    Of a thousand classes there are a hundred thousand. As columns they are a few lists, which are written as they
    are; as objects each would cost more than its numbers did.

    Attributes:
        kind: the named tuple that a row is.
        columns: a list for each of its fields, all of one length.
    """

    def __init__(self, kind: type[T], rows: Iterable[T] = ()) -> None:
        self.kind = kind
        self.columns: tuple[list[Any], ...] = tuple([] for _ in kind._fields)
        self.extend(rows)

    def append(self, row: T) -> None:
        """Add one row."""
        for column, value in zip(self.columns, row, strict=True):
            column.append(value)

    def extend(self, rows: Iterable[T]) -> None:
        """Add rows; what is in columns is not taken apart."""
        columns = rows.columns if isinstance(rows, Columnar) else tuple(zip(*rows, strict=True))
        if columns:
            self.stack(len(columns[0]), *columns)

    def stack(self, n: int, *columns: Any) -> None:
        """Add n rows by their columns: each a sequence or an array, or one text, number or None for all rows.

        In an array, NaN stands for None.

        Raises:
            ValueError: a column has another length, or there are not as many as fields.
        """
        made = [_column(values, n) for values in columns]
        if [len(values) for values in made] != [n] * len(self.columns):
            raise ValueError(f"{n} rows of {len(self.columns)} fields have columns of {list(map(len, made))}")
        for column, values in zip(self.columns, made, strict=True):
            column.extend(values)

    def __len__(self) -> int:
        return len(self.columns[0])

    def __iter__(self) -> Iterator[T]:
        return map(self.kind._make, zip(*self.columns, strict=True))

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return list(map(self.kind._make, zip(*(column[index] for column in self.columns), strict=True)))
        return self.kind._make(column[index] for column in self.columns)


def _column(values: Any, n: int) -> Sequence[Any]:
    """Values as plain data, each of its own or one for all rows."""
    if isinstance(values, np.ndarray):
        missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(0, bool)
        return (np.where(missing, np.array(None), values) if missing.any() else values).tolist()
    return [values] * n if values is None or isinstance(values, str | int | float) else values
