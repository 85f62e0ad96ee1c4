"""A network that is trained when it is first asked for, and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import platformdirs
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from classrob.component import KINDS
from classrob.errors import StoreError, StudyError, one_line
from classrob.identity import digest, identity
from classrob.live import bare
from classrob.training.course import Course

if TYPE_CHECKING:
    from torch import Tensor

    from classrob.decoder import Decoder
    from classrob.live import Classifier
    from classrob.parts import Dataset, Recipe, Trainable
    from classrob.training.course import Trained


def kept(name: str, recipe: Recipe, part: Trainable, dataset: Dataset, device: str) -> Classifier | Decoder:
    """What the recipe makes of part and data: from the cache, or trained on one thread and put there.

    A file that is damaged in any place is made again, and a training that was stopped goes on from its checkpoint.
    Where the folder cannot be written the network still comes back, and a note on standard error says that it will
    be trained again next time.

    Raises:
        StudyError: recipe, part and data do not suit each other, or an image cannot be read.
    """
    _suits(recipe, part)
    parts = [identity(one) for one in (recipe, part, dataset)]
    key = digest(*parts, dataset.model_dump(mode="json"))
    path = Path(platformdirs.user_cache_dir("classrob")) / f"{name}-{key}.safetensors"
    if (found := _read(path, part)) is None:
        folder = path.with_suffix(".checkpoints")
        made = _trained(recipe, part, dataset, folder)
        shutil.rmtree(folder, ignore_errors=True)
        if not _write(path, made):
            return made.network.to(device)
        found = made.model.model_copy(update={str(made.model.weights_in): path})
    return found.load(device)


def _suits(recipe: Recipe, part: Trainable) -> None:
    module, _, kind = KINDS[recipe.trains].partition(":")
    if part.weights_in is None or not isinstance(part, getattr(importlib.import_module(module), kind)):
        raise StudyError(
            f"{type(part).__name__} is not what {type(recipe).__name__} trains: it takes a {recipe.trains} that "
            "reads its weights from a file"
        )


def _trained(recipe: Recipe, part: Trainable, dataset: Dataset, folder: Path) -> Trained:
    """By the recipe, with checkpoints where they can be; one that is no use is not in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return recipe.train(part, dataset, Course(folder=folder, each_epoch=False))
    except (OSError, StoreError):
        shutil.rmtree(folder, ignore_errors=True)
        return recipe.train(part, dataset, Course())


def _read(path: Path, part: Trainable) -> Trainable | None:
    """The part with the file, as it was trained; None where there is no file, or a damaged one."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            about: Mapping[str, str] = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (it is no mapping)
        if about.get("sha256") != _checksum(about.get("fields", ""), state):
            raise ValueError("its checksum differs")
        fields = json.loads(about["fields"])
        return type(part).model_validate({**fields, str(part.weights_in): path})
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        click.echo(f"{path} is damaged ({one_line(error)}) and is made again", err=True)
        return None


def _write(path: Path, made: Trained) -> bool:
    """Whole or not at all: other processes read and write the same file."""
    state = {
        key: value.detach().cpu().contiguous().clone()
        for key, value in bare(made.network.module).state_dict().items()
    }
    fields = made.model.model_dump_json()
    about = {"sha256": _checksum(fields, state), "fields": fields}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            save_file(state, Path(folder) / path.name, about)
            os.replace(Path(folder) / path.name, path)
    except (OSError, SafetensorError) as error:
        click.echo(f"the trained weights cannot be kept: {one_line(error)}", err=True)
        return False
    return True


def _checksum(fields: str, state: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256(fields.encode())
    for name in sorted(state):
        total.update(name.encode())
        total.update(state[name].numpy().tobytes())
    return total.hexdigest()
