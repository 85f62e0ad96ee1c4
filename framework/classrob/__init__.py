"""How robust each class of an image classifier is, and how sure you may be of it.

The names below are what plugins and programs build on. They are loaded on first use, so that importing
`classrob` (and running `classrob --help`) loads neither torch nor pydantic.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from classrob.columnar import Columnar as Columnar
    from classrob.component import Component as Component
    from classrob.decoder import Decoder as Decoder
    from classrob.ensemble import Ensemble as Ensemble
    from classrob.ensemble import Member as Member
    from classrob.errors import ClassrobError as ClassrobError
    from classrob.errors import NotCertifiable as NotCertifiable
    from classrob.errors import NotExplainable as NotExplainable
    from classrob.errors import NotObservable as NotObservable
    from classrob.evaluation import Run as Run
    from classrob.evaluation import evaluate as evaluate
    from classrob.fields import Budgets as Budgets
    from classrob.fields import Code as Code
    from classrob.fields import File as File
    from classrob.hookspecs import hookimpl as hookimpl
    from classrob.images import Fit as Fit
    from classrob.live import Batch as Batch
    from classrob.live import Classifier as Classifier
    from classrob.live import Samples as Samples
    from classrob.nested import Nested as Nested
    from classrob.parts import Attack as Attack
    from classrob.parts import Certifier as Certifier
    from classrob.parts import Dataset as Dataset
    from classrob.parts import Detector as Detector
    from classrob.parts import Executor as Executor
    from classrob.parts import Explainer as Explainer
    from classrob.parts import Generator as Generator
    from classrob.parts import Metric as Metric
    from classrob.parts import Model as Model
    from classrob.parts import Probe as Probe
    from classrob.parts import Recipe as Recipe
    from classrob.parts import Threat as Threat
    from classrob.parts import Trainable as Trainable
    from classrob.rows import Live as Live
    from classrob.scorer import Reference as Reference
    from classrob.scorer import Scorer as Scorer
    from classrob.search import StepwiseAttack as StepwiseAttack
    from classrob.space import Keyed as Keyed
    from classrob.space import Space as Space
    from classrob.space import Telling as Telling
    from classrob.streams import Streams as Streams
    from classrob.table import Score as Score
    from classrob.table import Table as Table
    from classrob.training.course import Course as Course
    from classrob.training.course import Mark as Mark
    from classrob.training.course import Trained as Trained
    from classrob.training.gradient import GradientRecipe as GradientRecipe
    from classrob.training.gradient import Step as Step

_HOME = {
    "Attack": "parts",
    "Batch": "live",
    "Budgets": "fields",
    "Certifier": "parts",
    "Classifier": "live",
    "ClassrobError": "errors",
    "Code": "fields",
    "Columnar": "columnar",
    "Component": "component",
    "Course": "training.course",
    "Dataset": "parts",
    "Decoder": "decoder",
    "Detector": "parts",
    "Ensemble": "ensemble",
    "Executor": "parts",
    "Explainer": "parts",
    "File": "fields",
    "Fit": "images",
    "Generator": "parts",
    "GradientRecipe": "training.gradient",
    "Keyed": "space",
    "Live": "rows",
    "Mark": "training.course",
    "Member": "ensemble",
    "Metric": "parts",
    "Nested": "nested",
    "NotCertifiable": "errors",
    "NotExplainable": "errors",
    "NotObservable": "errors",
    "Model": "parts",
    "Probe": "parts",
    "Recipe": "parts",
    "Reference": "scorer",
    "Run": "evaluation",
    "Samples": "live",
    "Score": "table",
    "Scorer": "scorer",
    "Space": "space",
    "Step": "training.gradient",
    "StepwiseAttack": "search",
    "Streams": "streams",
    "Table": "table",
    "Telling": "space",
    "Threat": "parts",
    "Trainable": "parts",
    "Trained": "training.course",
    "evaluate": "evaluation",
    "hookimpl": "hookspecs",
}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'classrob' has no attribute '{name}'")
    return getattr(importlib.import_module(f"classrob.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
