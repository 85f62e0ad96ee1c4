"""Arrays of NumPy files without reading them: .npy is mapped, and .npz where it is not compressed."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from classrob.errors import StudyError, nearest, one_line

#: Bytes of a ZIP archive's local file header before the name (PKWARE APPNOTE 4.3.7).
_HEADER = 30


def array_of(path: Path) -> np.ndarray[Any, Any]:
    """A .npy file, mapped read-only.

    Raises:
        ValueError, OSError: it is damaged, or holds Python objects.
    """
    return np.load(path, mmap_mode="r", allow_pickle=False)


@dataclass(frozen=True)
class Npz:
    """An .npz file: its path and the names of its arrays."""

    path: Path
    names: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> Npz:
        """The file's table of contents.

        Raises:
            StudyError: it is no .npz file.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                names = (n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy"))
                return cls(path, tuple(names))
        except (zipfile.BadZipFile, OSError) as error:
            raise StudyError(f"{path} is not an .npz file: {one_line(error)}") from error

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """One array: mapped where it is stored plainly, else read.

        Raises:
            StudyError: there is no such array, it is damaged, or it holds Python objects.
        """
        if name not in self.names:
            raise StudyError(f"{self.path} has no array '{name}'{nearest(name, self.names)}")
        try:
            mapped = self._mapped(f"{name}.npy")
            if mapped is not None:
                return mapped
            with np.load(self.path, allow_pickle=False) as file:
                return file[name]
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise StudyError(f"{self.path}: array '{name}' cannot be read: {one_line(error)}") from error

    def _mapped(self, member: str) -> np.ndarray[Any, Any] | None:
        with zipfile.ZipFile(self.path) as archive:
            info = archive.getinfo(member)
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        with self.path.open("rb") as file:
            file.seek(info.header_offset + _HEADER - 4)
            lengths = file.read(4)  # of the name and of the extra field that follow the header
            file.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), 1)
            version = np.lib.format.read_magic(file)
            first = version == (1, 0)
            read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            if dtype.hasobject:
                raise ValueError("it holds Python objects, which could run code")
            if not np.prod(shape):
                return np.zeros(shape, dtype)
            order = "F" if fortran else "C"
            return np.memmap(self.path, dtype, "r", file.tell(), shape, order)
