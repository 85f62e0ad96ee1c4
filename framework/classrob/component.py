"""A lazy declaration of a part: its name, where its class is, and one line of what it is.

Declaring costs nothing: no class is imported before a study, `describe` or `check` asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Every kind of part: the hook that declares it is `classrob_<kind>s`, its abstract class is here.
KINDS: dict[str, str] = {
    "model": "classrob.parts:Model",
    "dataset": "classrob.parts:Dataset",
    "threat": "classrob.parts:Threat",
    "attack": "classrob.parts:Attack",
    "certifier": "classrob.parts:Certifier",
    "probe": "classrob.parts:Probe",
    "detector": "classrob.parts:Detector",
    "metric": "classrob.parts:Metric",
    "explainer": "classrob.parts:Explainer",
    "generator": "classrob.parts:Generator",
    "recipe": "classrob.parts:Recipe",
    "executor": "classrob.parts:Executor",
}


@dataclass(frozen=True)
class Component:
    """One part that a plugin offers.

    `name` is the part's name inside its plugin, or `*` for a family of parts: then `field` names the
    field that receives the rest of the reference (`timm/resnet50` with `field="architecture"`).
    `target` is `module:Class`; `summary` is one line.
    """

    name: str
    target: str
    summary: str
    field: str | None = None

    def __post_init__(self) -> None:
        module, _, attribute = self.target.partition(":")
        if not module or not attribute:
            raise ValueError(
                f"target of component '{self.name}' must read 'module:Class', not '{self.target}'"
            )
        if (self.name == "*") != (self.field is not None):
            raise ValueError(
                f"component '{self.name}': a family ('*') names its field, and only a family does"
            )
