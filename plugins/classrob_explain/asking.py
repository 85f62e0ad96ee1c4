"""Maps of several classes of an image at once, and how far they are from others."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from classrob.errors import StudyError
from classrob.live import Classifier
from classrob.parts import Explainer
from classrob_explain.asked import explainer_of


def differentiable(reference: str | dict[str, Any]) -> Explainer:
    """The explainer of a reference, whose maps a search can follow.

    Raises:
        StudyError: its maps cannot be differentiated.
    """
    explainer = explainer_of(reference)
    if not explainer.differentiable:
        name = reference if isinstance(reference, str) else reference["use"]
        raise StudyError(
            f"maps of explainer '{name}' cannot be differentiated, so no attack can follow them: take 'cam', "
            "'grad-cam' or 'input-gradient'"
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
