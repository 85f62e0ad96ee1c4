"""What an attack climbs: losses of logits [n, k] and labels [n], one value a sample, larger is worse."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy as _cross_entropy


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """−log softmax of the true class."""
    return _cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest other logit minus the true one; above 0 means misclassified. Carlini and Wagner (2017)."""
    true = logits.gather(1, labels[:, None])[:, 0]
    return logits.scatter(1, labels[:, None], -float("inf")).amax(1) - true


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio, free of the logits' scale and shift. Croce and Hein (2020), eq. 6.

    Its denominator is the gap between the largest and the third largest logit. Two classes have no third,
    and any ratio of their one difference is constant: there the plain margin is climbed.
    """
    if logits.shape[1] < 3:
        return margin(logits, labels)
    top = logits.topk(3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2] + 1e-12)


LOSSES = {"cross-entropy": cross_entropy, "margin": margin, "dlr": dlr}


def targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The target's logit minus the true one."""
    return (logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None]))[:, 0]


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Targeted difference of logits ratio. Croce and Hein (2020), eq. 7.

    Its denominator needs the third and the fourth largest logit. With fewer than four classes the plain
    margin to the target is climbed.
    """
    if logits.shape[1] < 4:
        return targeted_margin(logits, labels, targets)
    top = logits.topk(4, dim=1).values
    return targeted_margin(logits, labels, targets) / (top[:, 0] - 0.5 * (top[:, 2] + top[:, 3]) + 1e-12)
