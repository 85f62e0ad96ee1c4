"""Which samples of a sweep no attack needs to be asked about: proven to stand, up to a budget of their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from classrob.errors import NotCertifiable, PluginError
from classrob.live import Batch, Classifier
from classrob.parts import Certifier
from classrob.space import Space


def proven(
    certifier: Certifier,
    classifier: Classifier,
    batch: Batch,
    levels: np.ndarray,
    space: Callable[[np.ndarray, np.ndarray], Space],
) -> np.ndarray:
    """The largest level, up to `levels` [n], at which each sample is certified; −1 where there is none.

    By bisection: a certificate holds at every smaller budget too. `space` opens the rows at levels. A
    certifier that can prove nothing about such a model certifies nothing.

    Raises:
        PluginError: the certifier does not return one bool a sample.
    """
    floor, top = np.full(len(levels), -1), levels.copy()
    while (rows := np.flatnonzero(floor < top)).size:
        middle = (floor[rows] + top[rows] + 1) // 2
        some = batch.select(torch.from_numpy(rows).to(batch.labels.device))
        try:
            answer = certifier.certify(classifier, space(rows, middle), some)
        except NotCertifiable:
            return np.full(len(levels), -1)
        if not isinstance(answer, torch.Tensor) or answer.dtype != torch.bool or len(answer) != len(rows):
            raise PluginError(f"certifier '{type(certifier).__name__}' must return bool [{len(rows)}]")
        sure = answer.cpu().numpy()
        floor[rows[sure]], top[rows[~sure]] = middle[sure], middle[~sure] - 1
    return floor


def ensure_true(
    proof: np.ndarray, broken: np.ndarray, batch: Batch, budgets: tuple[float, ...], certifier: Certifier
) -> None:
    """Hold certificates against what attacks found; `broken` is bool [n, levels], `proof` [n].

    Raises:
        PluginError: a certified sample was broken, so that no certificate can be trusted.
    """
    for i in np.flatnonzero(proof >= 0):
        if (wrong := np.flatnonzero(broken[i, : proof[i] + 1])).size:
            raise PluginError(
                f"sample '{batch.ids[i]}' is broken at budget {budgets[int(wrong[0])]:g}, though "
                f"'{type(certifier).__name__}' certified it at {budgets[proof[i]]:g}: trust none of its "
                "certificates and leave `certifier` out"
            )
