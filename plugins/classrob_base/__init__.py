"""The everyday parts: data on disk, models in files, plain metrics; this module only declares them."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_models() -> list[Component]:
    """Models from files."""
    return [
        Component("torch", "classrob_base.torch_model:TorchModel", "a function in a file, and its weights"),
        Component("memory", "classrob_base.memory:ModelInMemory", "a network given to classrob.evaluate"),
    ]


@hookimpl
def classrob_datasets() -> list[Component]:
    """Data sets from files, and one that needs none."""
    return [
        Component("digits", "classrob_base.digits:Digits", "scikit-learn's handwritten digits, 8×8 grey"),
        Component("parquet", "classrob_base.parquet:Parquet", "Parquet files in the Hugging Face layout"),
        Component("folder", "classrob_base.folder:Folder", "image files, one folder a class"),
        Component("arrays", "classrob_base.arrays:Arrays", "NumPy arrays: .npz, or CIFAR-10-C's .npy files"),
        Component("memory", "classrob_base.memory:ImagesInMemory", "images given to classrob.evaluate"),
    ]


@hookimpl
def classrob_threats() -> list[Component]:
    """No threat: the images as they are."""
    return [Component("none", "classrob_base.none:NoThreat", "the images as they are")]


@hookimpl
def classrob_attacks() -> list[Component]:
    """No attack: the centre of any threat."""
    return [Component("none", "classrob_base.none:NoAttack", "no search: the centre of the threat")]


@hookimpl
def classrob_metrics() -> list[Component]:
    """Metrics that read nothing but labels and predictions."""
    return [
        Component("accuracy", "classrob_base.metrics:Accuracy", "share of right predictions"),
        Component(
            "worst-class-accuracy", "classrob_base.metrics:WorstClassAccuracy", "the lowest class accuracy"
        ),
        Component("class-gap", "classrob_base.metrics:ClassGap", "best minus worst class accuracy"),
        Component(
            "cfps",
            "classrob_base.metrics:ClassFalsePositiveScore",
            "share of all errors that land in a class",
        ),
        Component(
            "cfns", "classrob_base.metrics:ClassFalseNegativeScore", "share of all errors that leave a class"
        ),
        Component(
            "flip-rate", "classrob_base.metrics:FlipRate", "share of right predictions that the threat turns"
        ),
        Component(
            "certified-accuracy",
            "classrob_base.metrics:CertifiedAccuracy",
            "share of samples proven to withstand every attack",
        ),
        Component(
            "implied-error",
            "classrob_base.metrics:ImpliedError",
            "share of implied verdicts found to be wrong",
        ),
    ]


@hookimpl
def classrob_executors() -> list[Component]:
    """Where shards are computed."""
    return [
        Component("local", "classrob_base.local:LocalExecutor", "this machine, in one process or several")
    ]
