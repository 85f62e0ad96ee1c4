"""The detectors of pytorch-ood, as one family; this module only declares it."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_detectors() -> list[Component]:
    """Detectors of logits, of features and of gradients of the image, `pytorch-ood/MaxSoftmax`, `pytorch-ood/ViM`."""
    target = "classrob_pytorch_ood.detector:PytorchOodDetector"
    return [Component("*", target, "a detector of pytorch-ood", field="detector")]
