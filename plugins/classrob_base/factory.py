"""A network from a function in a Python file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from classrob.errors import StudyError, nearest, one_line
from classrob.loading import load_file


def function_at(factory: str) -> Callable[..., Any]:
    """The function, or class, that `file.py:function` names.

    Raises:
        StudyError: the file cannot be loaded, or has no such name.
    """
    path, _, name = factory.rpartition(":")
    names = vars(load_file(path))
    if name not in names:
        raise StudyError(f"{path} has no '{name}'{nearest(name, names)}")
    return names[name]


def module_of(factory: str, arguments: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """The network that `file.py:function` makes; what it draws, it draws from the seed.

    Raises:
        StudyError: the function is not there, fails, or makes no network.
    """
    function = function_at(factory)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # what the weights do not set is the same every time
        try:
            module = function(**arguments)
        except Exception as error:  # the function is the user's own code and may raise anything
            raise StudyError(f"'{factory}' raised {one_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise StudyError(f"'{factory}' must return a torch.nn.Module, not a {type(module).__name__}")
    return module
