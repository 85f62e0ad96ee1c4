"""Weights from a file into a module, without running a line of code that the file may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from classrob.errors import StudyError, one_line

#: Where training scripts put the state_dict in their checkpoints.
_INSIDE = ("state_dict", "model_state_dict", "model", "net")
#: What wrappers (DataParallel, torch.compile) put before every name.
_PREFIXES = ("module.", "_orig_mod.")


def state_of(path: Path) -> dict[str, Tensor]:
    """The named tensors of a .safetensors file or of a PyTorch checkpoint, on the CPU.

    Raises:
        StudyError: the file cannot be read, wants to run code, or holds no named tensors.
    """
    loaded: Any = _read(path)
    while isinstance(loaded, Mapping):
        inside = next((key for key in _INSIDE if isinstance(loaded.get(key), Mapping)), None)
        if inside is None:
            break
        loaded = loaded[inside]
    if not isinstance(loaded, Mapping):
        raise StudyError(f"{path} holds a {type(loaded).__name__}, not a state_dict (names and tensors)")
    state = {str(key): value for key, value in loaded.items()}
    stranger = next((key for key, value in state.items() if not isinstance(value, Tensor)), None)
    if stranger is not None or not state:
        what = "nothing" if stranger is None else f"'{stranger}', a {type(state[stranger]).__name__}"
        raise StudyError(f"{path} holds {what}, not a state_dict (names and tensors)")
    return state


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise StudyError(f"{path} is not a readable .safetensors file: {one_line(error)}") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler fails in any way on a file that is no checkpoint
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise StudyError(
                f"{path} wants to run code ({found[1]}), which is refused: save the weights alone, "
                "as .safetensors or by torch.save(model.state_dict(), …)"
            ) from None
        raise StudyError(f"{path} is not a readable PyTorch checkpoint: {one_line(error)[:200]}") from error


def put(state: Mapping[str, Tensor], module: nn.Module, path: Path, into: str) -> None:
    """Load every tensor into the module; `path` and `into` say in errors what does not fit what.

    Raises:
        StudyError: names are missing or left over, or a shape differs; the first ones are named.
    """
    try:
        result = module.load_state_dict(_unwrapped(state, module), strict=False)
    except RuntimeError as error:  # a shape differs; torch says which in its second line
        lines = [line.strip() for line in str(error).splitlines() if "mismatch" in line] or [one_line(error)]
        raise StudyError(f"weights {path} do not fit {into}: {lines[0]}") from None
    faults = {"lack": result.missing_keys, "also hold": result.unexpected_keys}
    if any(faults.values()):
        text = ", and ".join(f"{what} {_first(keys)}" for what, keys in faults.items() if keys)
        raise StudyError(f"weights {path} do not fit {into}: they {text}")


def _unwrapped(state: Mapping[str, Tensor], module: nn.Module) -> Mapping[str, Tensor]:
    """The state without what a wrapper put before all names, unless the module's own names have it too."""
    own = module.state_dict()
    for prefix in (*_PREFIXES, *_PREFIXES):  # one wrapper may be inside the other
        if all(key.startswith(prefix) for key in state) and not all(key.startswith(prefix) for key in own):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _first(keys: list[str]) -> str:
    named = ", ".join(f"'{key}'" for key in keys[:2])
    return named if len(keys) <= 2 else f"{named} and {len(keys) - 2} more"
