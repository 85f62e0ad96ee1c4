"""`classrob doctor`: what is installed, what is missing, and what to do about it."""

from __future__ import annotations

import importlib
import os
import platform
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import click

from classrob.cli.tabular import FORMAT, emit
from classrob.errors import PluginError, one_line

#: What only some parts need, and what to do where it does not import.
_OPTIONAL = {
    "torchvision": "only models timm/* need it: install torch and torchvision from the same index, in one command",
    "timm": "only models timm/* need it: pip install timm, with torch and torchvision from the same index",
    "onnx": 'only models in ONNX files need it: pip install "classrob[onnx]"',
    "ray": 'only --executor ray needs it: pip install "classrob[ray]"',
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `absent` is what only some parts need; `broken` needs a remedy."""

    what: str
    state: Literal["ok", "absent", "broken"]
    found: str
    remedy: str = ""


@click.command("doctor")
@FORMAT
def command(style: str) -> int:
    """Say what is installed, what is missing, and what to do; exits with 4 when something needed is."""
    findings = [*packages(), *optional(), *devices(), cache(), *plugins()]
    emit([asdict(one) for one in findings], style, ["what", "state", "found", "remedy"])
    broken = sum(one.state == "broken" for one in findings)
    click.echo(f"{broken} things need a remedy" if broken else "everything needed works", err=True)
    return PluginError.exit_code if broken else 0


def packages() -> Iterator[Finding]:
    """Python, classrob and what it requires, each with its version."""
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in ["classrob", *_required()]:
        if name in _OPTIONAL:
            continue
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "broken", "not installed", f"pip install {name}")


def _required() -> list[str]:
    """The names of the packages that classrob itself requires, extras apart."""
    try:
        lines = requires("classrob") or []
    except PackageNotFoundError:
        return []
    return sorted(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in lines if "extra" not in line)


def optional() -> Iterator[Finding]:
    """What only some parts need: whether it imports, since being installed says too little."""
    for name, remedy in _OPTIONAL.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            yield Finding(name, "absent", "not installed", remedy)
            continue
        try:
            importlib.import_module(name)
        except Exception as error:  # a wheel of another build fails with whatever its loader raises
            yield Finding(name, "absent", f"{installed} does not import: {one_line(error)[:120]}", remedy)
        else:
            yield Finding(name, "ok", installed)


def devices() -> Iterator[Finding]:
    """Where torch can compute."""
    try:
        import torch  # takes seconds, so nowhere but here
    except Exception as error:
        found = f"torch does not import: {one_line(error)[:120]}"
        yield Finding("device", "broken", found, "install torch again, for this Python and processor")
        return
    yield Finding("device cpu", "ok", f"{torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        yield Finding(f"device cuda:{index}", "ok", torch.cuda.get_device_name(index))
    if torch.backends.mps.is_available():
        yield Finding("device mps", "ok", "Apple's GPU")


def cache() -> Finding:
    """The folder that keeps trained weights, and whether it can be written."""
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("classrob"))
    there = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            return Finding("cache", "ok", str(folder))
    except OSError as error:
        remedy = "built-in models are trained again in every run; make it writable, or set XDG_CACHE_HOME"
        return Finding(
            "cache", "broken", f"{folder}: {error.strerror or os.strerror(error.errno or 0)}", remedy
        )


def plugins() -> Iterator[Finding]:
    """Every plugin that is broken or clashes with another, or how many there are."""
    from classrob.catalog import Catalog

    installed = Catalog.installed().plugins
    for plugin in installed:
        if plugin.error is not None:
            source = f"{plugin.distribution} {plugin.version}"
            clash = plugin.error.startswith("name clash")
            remedy = f"uninstall {plugin.distribution}" + (
                ", or the other one" if clash else ", or repair it"
            )
            yield Finding(f"plugin {plugin.name}", "broken", f"{source}: {plugin.error}", remedy)
    good = [plugin.name for plugin in installed if plugin.error is None]
    yield Finding(
        "plugins",
        "ok" if good else "broken",
        ", ".join(good) or "none",
        "" if good else "install classrob again",
    )
