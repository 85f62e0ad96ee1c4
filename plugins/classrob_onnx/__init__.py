"""Models in ONNX files, differentiable in PyTorch; this module only declares them."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_models() -> list[Component]:
    """The model that an ONNX file holds."""
    return [Component("onnx", "classrob_onnx.model:OnnxModel", "an ONNX file, with gradients")]
