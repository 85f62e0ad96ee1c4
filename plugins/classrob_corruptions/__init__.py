"""The nineteen common corruptions of ImageNet-C and CIFAR-10-C, batched; this module only declares them."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_threats() -> list[Component]:
    """Noise, blur, weather and digital corruptions, each at five severities."""
    return [
        Component("gaussian-noise", "classrob_corruptions.noise:GaussianNoise", "normal noise"),
        Component("shot-noise", "classrob_corruptions.noise:ShotNoise", "counting few photons"),
        Component("impulse-noise", "classrob_corruptions.noise:ImpulseNoise", "salt and pepper"),
        Component(
            "speckle-noise", "classrob_corruptions.noise:SpeckleNoise", "noise that grows with the light"
        ),
        Component("defocus-blur", "classrob_corruptions.blur:DefocusBlur", "an image out of focus: a disk"),
        Component("glass-blur", "classrob_corruptions.glass:GlassBlur", "seen through frosted glass"),
        Component("motion-blur", "classrob_corruptions.motion:MotionBlur", "a camera that moves sideways"),
        Component("zoom-blur", "classrob_corruptions.blur:ZoomBlur", "a camera that moves forward"),
        Component("gaussian-blur", "classrob_corruptions.blur:GaussianBlur", "a bell-shaped blur"),
        Component("snow", "classrob_corruptions.weather:Snow", "flakes in the wind, over a whitened image"),
        Component("frost", "classrob_corruptions.weather:Frost", "ice on the lens"),
        Component("fog", "classrob_corruptions.weather:Fog", "a cloudy veil"),
        Component(
            "spatter", "classrob_corruptions.spatter:Spatter", "drops of water, or of mud, on the lens"
        ),
        Component("brightness", "classrob_corruptions.colour:Brightness", "a brighter image"),
        Component("contrast", "classrob_corruptions.colour:Contrast", "an image with less contrast"),
        Component("saturate", "classrob_corruptions.colour:Saturate", "less colour, or more"),
        Component("elastic", "classrob_corruptions.elastic:Elastic", "small regions stretched and shifted"),
        Component("pixelate", "classrob_corruptions.digital:Pixelate", "fewer pixels, enlarged again"),
        Component("jpeg", "classrob_corruptions.digital:Jpeg", "lossy compression"),
        Component("stored", "classrob_corruptions.stored:Stored", "CIFAR-10-C arrays, ImageNet-C folders"),
    ]


@hookimpl
def classrob_metrics() -> list[Component]:
    """Errors over all corruptions of a model, and along their severities."""
    return [
        Component("mce", "classrob_corruptions.mce:MeanCorruptionError", "mean corruption error"),
        Component(
            "severity-limit", "classrob_corruptions.severities:SeverityLimit", "where accuracy is too low"
        ),
        Component(
            "worst-severity-accuracy",
            "classrob_corruptions.severities:WorstSeverityAccuracy",
            "right at every severity",
        ),
    ]
