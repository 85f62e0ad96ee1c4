"""A training on disk: all that the next step depends on, written whole or not at all, in a file without code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from classrob.errors import StoreError, one_line
from classrob.training.course import Mark

NAME = "checkpoint.safetensors"


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        order: the places of the shelf in this epoch's order; empty between two epochs.
        position: how many batches of this epoch are done, `total` the sum of their losses.
    """

    epoch: int = 0
    position: int = 0
    total: float = 0.0
    seconds: float = 0.0
    order: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    memory: dict[str, float] = field(default_factory=dict)
    history: list[Mark] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """A file in a folder, of the training that a key names; `state` are the parts that have a state_dict."""

    folder: Path
    key: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / NAME

    def save(self, progress: Progress, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Write it: first beside the old one, then in its place.

        Raises:
            StoreError: the folder cannot be written.
        """
        tensors = {"order": progress.order}
        plain: dict[str, Any] = {
            "key": self.key,
            "epoch": progress.epoch,
            "position": progress.position,
            "total": progress.total,
            "seconds": progress.seconds,
            "memory": progress.memory,
            "history": [[mark.epoch, mark.seconds, dict(mark.values)] for mark in progress.history],
            "states": {name: _plain(state, f"{name}/", tensors) for name, state in states.items()},
        }
        draft = self.path.with_suffix(f".{os.getpid()}.draft")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(
                {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
                draft,
                {"training": json.dumps(plain)},
            )
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(self.path)
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise StoreError(f"the checkpoint {self.path} cannot be written: {one_line(error)}") from None

    def load(self) -> tuple[Progress, dict[str, dict[str, Any]]] | None:
        """What was saved, or None where there is no file.

        Raises:
            StoreError: it is damaged, or of another training.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                plain = json.loads((file.metadata() or {})["training"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            if plain["key"] != self.key:
                raise StoreError(
                    f"{self.path} is of another training (recipe, model, data or versions differ): "
                    "start anew with --fresh, or name another folder"
                )
            marks = [Mark(epoch, seconds, values) for epoch, seconds, values in plain["history"]]
            progress = Progress(
                plain["epoch"],
                plain["position"],
                plain["total"],
                plain["seconds"],
                tensors["order"],
                plain["memory"],
                marks,
            )
            return progress, {name: _whole(state, tensors) for name, state in plain["states"].items()}
        except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            raise StoreError(
                f"{self.path} is damaged ({one_line(error)[:100]}): remove it, or start anew with --fresh"
            ) from None


def _plain(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """A state as JSON holds it, its tensors put aside under their paths."""
    match value:
        case Tensor():
            tensors[path] = value
            return {"tensor": path}
        case dict():
            return {"dict": [[key, _plain(one, f"{path}{key}/", tensors)] for key, one in value.items()]}
        case list() | tuple():
            return [_plain(one, f"{path}{i}/", tensors) for i, one in enumerate(value)]
        case _:
            return value


def _whole(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The state again; a tuple comes back as a list."""
    match value:
        case {"tensor": str(path)}:
            return tensors[path]
        case {"dict": list(items)}:
            return {key: _whole(one, tensors) for key, one in items}
        case list():
            return [_whole(one, tensors) for one in value]
        case _:
            return value
