"""Turns, shears and colours by a few numbers, and searches that try many of them; this module only declares."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_threats() -> list[Component]:
    """Spaces of one to eight numbers an image, differentiable."""
    package = "classrob_corruptions.transform"
    return [
        Component("rotation-translation", f"{package}.geometry:RotationTranslation", "turned and shifted"),
        Component("scale", f"{package}.geometry:Scale", "enlarged or reduced about the middle"),
        Component("shear", f"{package}.geometry:Shear", "slanted sideways and upwards"),
        Component("perspective", f"{package}.geometry:Perspective", "seen from aside: each corner moves"),
        Component(
            "brightness-contrast", f"{package}.light:BrightnessContrast", "lighter and harder, or less so"
        ),
        Component(
            "hue-saturation", f"{package}.light:HueSaturation", "colours turned, and stronger or weaker"
        ),
        Component("gaussian-blur", f"{package}.light:FreeBlur", "a bell-shaped blur of free strength"),
    ]


@hookimpl
def classrob_attacks() -> list[Component]:
    """The worst of several points."""
    package = "classrob_corruptions.transform"
    return [
        Component("grid", f"{package}.worst:Grid", "the worst point of a grid"),
        Component("random", f"{package}.worst:Random", "the worst of several random points"),
    ]
