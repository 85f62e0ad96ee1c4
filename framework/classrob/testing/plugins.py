"""What a plugin promises: that declaring its parts costs nothing, and that they are there."""

from __future__ import annotations

import json
import subprocess
import sys

from classrob.errors import ClassrobError
from classrob.testing.subject import PluginSubject
from classrob.testing.verdict import Broken, ensure

#: What takes long to import, and what nobody needs for saying what there is.
HEAVY = (
    *("torch", "torchvision", "timm", "numpy", "scipy", "sklearn", "pandas", "pydantic", "PIL", "pyarrow"),
    *(
        "onnx",
        "onnxruntime",
        "safetensors",
        "art",
        "tensorflow",
        "jax",
        "cv2",
        "skimage",
        "matplotlib",
        "ray",
    ),
)

_PROBE = """
import importlib, json, sys
path, module, heavy = json.loads(sys.argv[1])
sys.path[:] = path
before = set(sys.modules)
importlib.import_module(module)
print(json.dumps([name for name in heavy if name in sys.modules and name not in before]))
"""


def declares_cheaply(subject: PluginSubject) -> None:
    """Importing the entry module loads neither torch nor numpy, pydantic or another heavy package."""
    arguments = json.dumps([sys.path, subject.module, HEAVY])
    probe = subprocess.run(
        [sys.executable, "-c", _PROBE, arguments], capture_output=True, text=True, check=False
    )
    if probe.returncode:
        lines = probe.stderr.strip().splitlines() or ["no message"]
        raise Broken(f"module '{subject.module}' cannot be imported on its own: {lines[-1]}")
    loaded = json.loads(probe.stdout.splitlines()[-1])
    ensure(not loaded, f"module '{subject.module}' imports {', '.join(loaded)}: only declare there")


def every_target_resolves(subject: PluginSubject) -> None:
    """Every component's target is a class of its kind that can be made."""
    for offer in subject.catalog.offers:
        if offer.plugin == subject.name:
            try:
                subject.catalog.part_class(offer.kind, offer.name)
            except ClassrobError as error:
                raise Broken(f"{offer.kind} '{offer.name}': {error}") from error


CHECKS = (declares_cheaply, every_target_resolves)
