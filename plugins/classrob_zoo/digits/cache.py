"""Trained weights kept in the user's cache folder: read if sound, otherwise made again."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import click
import platformdirs
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from classrob.errors import one_line
from classrob.identity import digest
from classrob.images import Fit
from classrob.live import Classifier
from classrob_zoo.nets import SmallCNN


def kept(
    name: str, ingredients: Mapping[str, str], train: Callable[[], Classifier], device: str
) -> Classifier:
    """The classifier of these ingredients: from the cache, or trained and put there.

    A file that is damaged in any place is trained again. Where the folder cannot be written, the model
    still comes back, and a note on standard error says that it will be trained again next time.
    """
    path = Path(platformdirs.user_cache_dir("classrob")) / f"{name}-{digest(dict(ingredients))}.safetensors"
    classifier = _read(path)
    if classifier is None:
        classifier = train()
        _write(path, classifier)
    return replace(classifier, module=classifier.module.to(device), device=device)


def _read(path: Path) -> Classifier | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (it is no mapping)
        if metadata.get("sha256") != _checksum(state):
            raise ValueError("its checksum differs")
        module = SmallCNN.of_state(state)
        module.load_state_dict(state)
        fit = Fit(size=(int(metadata["height"]), int(metadata["width"])), channels=module.stem.in_channels)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        click.echo(f"{path} is damaged ({one_line(error)}) and is made again", err=True)
        return None
    return Classifier(module.eval(), fit=fit)


def _write(path: Path, classifier: Classifier) -> None:
    """Whole or not at all: other processes read and write the same file."""
    state = {key: value.contiguous() for key, value in classifier.module.state_dict().items()}
    height, width = classifier.fit.size or (0, 0)
    metadata = {"sha256": _checksum(state), "height": str(height), "width": str(width)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            save_file(state, Path(folder) / path.name, metadata)
            os.replace(Path(folder) / path.name, path)
    except (OSError, SafetensorError) as error:
        click.echo(f"the trained weights cannot be kept: {one_line(error)}", err=True)


def _checksum(state: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(state):
        total.update(name.encode())
        total.update(state[name].cpu().numpy().tobytes())
    return total.hexdigest()
