"""Squared gradient norms of every image of a batch, for every parameter, from one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.nn.attention import SDPBackend, sdpa_kernel

from classrob.live import constant
from classrob_detectors.norms.graph import Graph, graph_of
from classrob_detectors.norms.paths import Meeting, moved, pulled
from classrob_detectors.norms.plan import Plan, planned
from classrob_detectors.norms.rules import RULES
from classrob_detectors.norms.slow import Loss, by_image, by_vmap
from classrob_detectors.norms.term import Term, in_steps, norms_of


def squared_gradient_norms(module: nn.Module, images: Tensor, loss: Loss) -> Tensor:
    """The squared L2 norm of each image's gradient of each parameter tensor: `GradientNorms(module, loss)(images)`.

    Args:
        module: any module; it is run in evaluation mode.
        images: a batch, samples along the first dimension.
        loss: what the module gives for a batch, to one loss a sample, [n].

    Returns:
        [n, p] in the order of `module.named_parameters()`, without gradient.
    """
    return GradientNorms(module, loss)(images)


@final
class GradientNorms:
    """Squared gradient norms of one module and one loss, batch after batch.

    Every use of a parameter is read from autograd's graph, so functional use of a weight counts like a
    module's own. What no rule covers is computed by vmap, or image by image where vmap cannot, and `rules`
    says so. Of the first batch of every kind one image is also computed alone; a column in which that differs
    is computed image by image from then on.

    The module runs in evaluation mode; its own mode, `requires_grad` and `.grad` are as before afterwards, also
    after an error.

    Attributes:
        names: the parameters, in the order of the columns.
        rules: for every parameter, what computed its column of the last batch: `linear`, `convolution`, …,
            several joined by ` + ` where it is used more than once; `unused` where the loss does not depend on
            it; `vmap` or `loop` where no rule covers it.
    """

    def __init__(self, module: nn.Module, loss: Loss) -> None:
        self.module, self.loss = module, loss
        self.names: list[str] = [name for name, _ in module.named_parameters()]
        self.rules: dict[str, str] = {}
        self._plans: dict[object, Plan | None] = {}
        self._wrong: dict[object, frozenset[int]] = {}
        self._innermost: dict[object, bool] = {}

    def __call__(self, images: Tensor, *, differentiable: bool = False) -> Tensor:
        """Squared norms [n, p] for images [n, …]; where asked to, differentiable in images that have gradients.

        Raises:
            ValueError: the loss is not one number a sample.
        """
        parameters = [p for _, p in self.module.named_parameters()]
        if not parameters or not len(images):
            return images.new_zeros(len(images), len(parameters))
        fused = (
            nullcontext() if not differentiable else sdpa_kernel(SDPBackend.MATH)
        )  # others have no second slope
        with _differentiable(self.module, parameters), fused:
            if not differentiable:
                images = self._laid_out(images.clone() if images.is_inference() else images.detach())
            kind = (images.shape[1:], images.dtype, images.device, images.requires_grad)
            found = self._by_rules(kind, images, parameters)
            known = self._wrong.get(kind)
            columns = {i: column for i, (_, column) in found.items() if i not in (known or ())}
            rules = {i: rule for i, (rule, _) in found.items() if i in columns}
            self._rest(images, parameters, columns, rules, known or frozenset())
            if known is None and len(images):
                wrong = _disagreeing(self.module, images, self.loss, parameters, columns)
                self._wrong[kind] = wrong
                for i in wrong:
                    del columns[i]
                self._rest(images, parameters, columns, rules, wrong)
        self.rules = {name: rules[i] for i, name in enumerate(self.names)}
        return torch.stack([columns[i].to(parameters[0].dtype) for i in range(len(parameters))], 1)

    def _laid_out(self, images: Tensor) -> Tensor:
        """With channels innermost, as a processor's convolutions are fastest; as they are where the module minds."""
        if images.ndim != 4 or images.device.type != "cpu":
            return images
        innermost = torch.empty_like(images, memory_format=torch.channels_last).copy_(images)
        kind = (images.shape[1:], images.dtype)
        if kind not in self._innermost:
            try:
                self.module(innermost[:1])
            except RuntimeError:  # of a `view` that wants them outermost; an error of its own comes again
                self._innermost[kind] = False
            else:
                self._innermost[kind] = True
        return innermost if self._innermost[kind] else images

    def _by_rules(
        self, kind: object, images: Tensor, parameters: Sequence[Tensor]
    ) -> dict[int, tuple[str, Tensor]]:
        """For every parameter that rules cover, their name and the column."""
        losses = self.loss(self.module(images))
        if losses.shape != images.shape[:1]:
            raise ValueError(
                f"the loss of {len(images)} images has shape {list(losses.shape)}: give one number an image, "
                "reduced over everything but the batch"
            )
        graph = graph_of(losses, parameters, images)
        leaves = graph.leaves(parameters)
        zeros = losses.new_zeros(len(images)).detach()
        found = {i: ("unused", zeros) for i in range(len(parameters)) if i not in leaves}
        plan = self._plans.get(kind)
        if plan is None or plan.signature != graph.signature:
            plan = planned(self.module, images, self.loss, parameters, graph)
            self._plans[kind] = plan
        if plan is not None and plan.last:
            try:
                columns = _Pass(plan, graph, parameters, images).run(losses)
            except RuntimeError:  # of what autograd kept nothing may look at; an error of its own comes again
                columns = {}
            found |= {i: (plan.names[i], column) for i, column in columns.items()}
        return found

    def _rest(
        self,
        images: Tensor,
        parameters: Sequence[Tensor],
        columns: dict[int, Tensor],
        rules: dict[int, str],
        distrusted: frozenset[int],
    ) -> None:
        """Compute the columns that are missing: by vmap, and where that fails or is distrusted image by image."""
        missing = [i for i in range(len(parameters)) if i not in columns]
        rest = [i for i in missing if i not in distrusted]
        if images.requires_grad:  # vmap's gradients have none of their own
            distrusted = distrusted | frozenset(rest)
        elif rest:
            try:
                values = by_vmap(self.module, images, self.loss, {self.names[i]: parameters[i] for i in rest})
            except (
                RuntimeError,
                ValueError,
                TypeError,
            ):  # not for vmap; an error of the module's own comes again
                distrusted = distrusted | frozenset(rest)
            else:
                for i, column in zip(rest, values.unbind(1), strict=True):
                    columns[i], rules[i] = column, "vmap"
        rest = [i for i in missing if i in distrusted]
        if rest:
            values = by_image(self.module, images, self.loss, [parameters[i] for i in rest])
            for i, column in zip(rest, values.unbind(1), strict=True):
                columns[i], rules[i] = column, "loop"


@final
class _Pass:
    """One backward pass: every operation in which parameters meet samples gives its terms as it is reached."""

    def __init__(self, plan: Plan, graph: Graph, parameters: Sequence[Tensor], images: Tensor) -> None:
        self.plan, self.graph, self.parameters, self.n = plan, graph, parameters, len(images)
        self.slope = images.requires_grad
        self.columns: dict[int, Tensor] = {}
        self.terms: dict[
            int, list[Term]
        ] = {}  # of parameters that are used more than once, or not as they are
        self.uncovered: set[int] = {i for i, places in plan.met.items() if places is None}

    def run(self, losses: Tensor) -> dict[int, Tensor]:
        """The columns, by parameter."""
        met = self.plan.nodes
        last = sorted(self.plan.last)
        handles = [
            self.graph.nodes[node].register_prehook(self._hook(node, found))
            for node, found in met.items()
            if node not in self.plan.last
        ]
        try:
            ends = [GradientEdge(self.graph.nodes[node], 0) for node in last]
            gradients = torch.autograd.grad(losses.sum(), ends, allow_unused=True, create_graph=self.slope)
        finally:
            for handle in handles:  # a hook holds what holds the node that holds the hook
                handle.remove()
        with torch.set_grad_enabled(self.slope):
            for node, gradient in zip(last, gradients, strict=True):
                self._reached(node, met[node], gradient)
            for parameter, terms in self.terms.items():
                if parameter not in self.uncovered:
                    self.columns[parameter] = _together(terms, self.parameters[parameter], self.n)
        return {i: column for i, column in self.columns.items() if i not in self.uncovered}

    def _hook(self, node: int, found: list[tuple[int, Meeting]]) -> Any:
        def reached(gradients: tuple[Tensor | None, ...]) -> None:
            with torch.set_grad_enabled(self.slope):
                self._reached(node, found, gradients[0])

        return reached

    def _reached(self, node: int, found: list[tuple[int, Meeting]], gradient: Tensor | None) -> None:
        for parameter, meeting in found:
            whole = self.parameters[parameter]
            if gradient is None:
                self.columns.setdefault(parameter, whole.new_zeros(self.n))
                continue
            term = None
            if meeting.layout.fits(gradient.shape, self.n):
                _, rule = RULES[self.graph.nodes[node].name()]
                term = rule(self.graph.nodes[node], meeting.operand, gradient, meeting.layout, self.n)
            if term is None:
                self.uncovered.add(parameter)
            elif len(self.plan.met[parameter] or ()) == 1 and moved(term.edge, whole):
                self.columns[parameter] = term.squared()
            else:
                self.terms.setdefault(parameter, []).append(term)


def _together(terms: Sequence[Term], parameter: Tensor, n: int) -> Tensor:
    """Squared norms [n] of the sums of several terms' gradients, cross terms and all."""

    def norms(part: slice) -> Tensor:
        total: Tensor | None = None
        for term in terms:
            gradient = pulled(term.edge, term.gradients(part.start, part.stop), parameter)
            total = gradient if total is None else total + gradient
        return parameter.new_zeros(part.stop - part.start) if total is None else norms_of(total)

    return in_steps(n, 2 * parameter.numel(), norms, parameter.device)


def _disagreeing(
    module: nn.Module, images: Tensor, loss: Loss, parameters: Sequence[Tensor], columns: dict[int, Tensor]
) -> frozenset[int]:
    """The columns in which one image of the batch has another norm than alone."""
    middle = len(images) // 2
    (alone,) = by_image(module, images[middle : middle + 1].detach(), loss, parameters)
    batched = torch.stack([columns[i][middle].detach().to(alone.dtype) for i in range(len(parameters))])
    small = torch.finfo(alone.dtype).eps
    same = torch.isclose(
        batched, alone, rtol=100 * small**0.5, atol=small * float(alone.nan_to_num().max()), equal_nan=True
    )
    return frozenset(torch.nonzero(~same).flatten().tolist())


@contextmanager
def _differentiable(module: nn.Module, parameters: Sequence[Tensor]) -> Iterator[None]:
    """Evaluation mode and gradients for all parameters, and everything as it was afterwards."""
    with constant(module), torch.inference_mode(False), torch.enable_grad():
        for p in parameters:
            if p.is_floating_point():
                p.requires_grad_(True)
        yield
