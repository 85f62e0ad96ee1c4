"""A field that is an explainer, maps of several classes of an image at once, and how far they are from others."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from classrob.errors import StudyError
from classrob.live import Classifier
from classrob.nested import Nested
from classrob.parts import Explainer

#: In a study an explainer's name, or a table with `use` and its fields; it is made once, when the study is read.
Asked = Annotated[
    Explainer,
    Nested("explainer"),
    Field(description="the explanation: an explainer's name, or a table with `use` and its fields"),
]


def differentiable(explainer: Explainer) -> Explainer:
    """The explainer, whose maps a search can follow.

    Raises:
        StudyError: its maps cannot be differentiated.
    """
    if not explainer.differentiable:
        raise StudyError(
            f"maps of explainer '{type(explainer).__name__}' cannot be differentiated, so no attack can follow them: "
            "take 'cam', 'grad-cam' or 'input-gradient'"
        )
    return explainer


def maps(explainer: Explainer, classifier: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """Maps [n, m, c', h', w'] of images [n, c, h, w], of m classes each: `classes` is int64 [n, m]."""
    n, m = classes.shape
    found = explainer.explain(classifier, images.repeat_interleave(m, 0), classes.flatten())
    return found.unflatten(0, (n, m))


def apart(clean: Tensor, moved: Tensor, norm: str) -> Tensor:
    """The mean over m classes of how far maps [n, m, …] are apart, [n]: l1, or l2 squared."""
    off = (moved - clean).flatten(2)
    return (off.abs() if norm == "l1" else off.square()).sum(2).mean(1)
