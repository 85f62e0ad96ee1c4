"""The architectures of timm, as one family of models; this module only declares it."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_models() -> list[Component]:
    """Every architecture that timm knows, `timm/resnet50`, `timm/resnet50.a1_in1k`."""
    return [Component("*", "classrob_timm.model:TimmModel", "an architecture of timm", field="architecture")]
