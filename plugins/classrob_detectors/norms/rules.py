"""How each operation's operands get each sample's gradient: one rule for each kind of node of autograd's graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from classrob_detectors.norms.convolution import convolution
from classrob_detectors.norms.graph import shape_at
from classrob_detectors.norms.layout import Layout
from classrob_detectors.norms.paths import spread
from classrob_detectors.norms.term import Dense, Lookup, Product, Rule, Term, in_steps


def _shared(
    node: Any, operand: int, gradient: Tensor, layout: Layout, n: int, scale: float = 1.0
) -> Dense | None:
    """An operand that was broadcast to the shape of `gradient`, which counts `scale` times."""
    edge = node.next_functions[operand]
    found = spread(edge, gradient, layout, n, shape_at(edge))
    return None if found is None else Dense(found[1], found[0] if scale == 1.0 else scale * found[0])


def _shared_in_steps(
    node: Any, operand: int, gradient: Tensor, part: Callable[[slice], Tensor], layout: Layout, n: int
) -> Dense | None:
    """The same, where rows of what `gradient` is multiplied with are made when they are needed, by `part`."""
    edge = node.next_functions[operand]
    shape = shape_at(edge)

    def shared(rows: slice) -> Tensor:
        found = spread(edge, part(rows), layout, rows.stop - rows.start, shape)
        assert found is not None, "an operand that all samples share"
        return found[0]

    if layout != Layout(0, 1, 1) or (len(shape) == gradient.ndim and shape[0] != 1):
        return _shared(node, operand, part(slice(0, len(gradient))), layout, n)
    return Dense(edge, in_steps(n, 2 * gradient[0].numel(), shared, gradient.device))


def _add(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
    return _shared(node, operand, gradient, layout, n, node._saved_alpha if operand else 1.0)


def _subtract(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
    return _shared(node, operand, gradient, layout, n, -node._saved_alpha if operand else 1.0)


def _multiply(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
    other = node._saved_self if operand else node._saved_other
    if other is None or other.shape != gradient.shape:
        return None if other is None else _shared(node, operand, gradient * other, layout, n)
    return _shared_in_steps(node, operand, gradient, lambda rows: gradient[rows] * other[rows], layout, n)


def _divide(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
    below = node._saved_other
    if operand == 0:
        return _shared(node, 0, gradient / below, layout, n)
    return _shared(node, 1, gradient * (node._saved_self / below) / below, layout, n, -1.0)


def _prelu(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
    return None if operand == 0 else _shared(node, 1, gradient * node._saved_self.clamp_max(0), layout, n)


def _join(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
    dim = _signed(node._saved_dim) % gradient.ndim
    if dim == layout.dim:
        return None
    sizes = [None if edge[0] is None else shape_at(edge)[dim] for edge in node.next_functions]
    size, before, after = sizes[operand], sizes[:operand], sizes[operand + 1 :]
    if size is None:
        return None
    if None not in before:
        first = sum(s for s in before if s is not None)
    elif None not in after:
        first = gradient.shape[dim] - size - sum(s for s in after if s is not None)
    else:
        return None  # constants on both sides, whose sizes the graph does not keep
    return _shared(node, operand, gradient.narrow(dim, first, size), layout, n)


def _signed(size: int) -> int:
    """A number that autograd keeps as an unsigned one."""
    return size - (1 << 64) if size >= 1 << 63 else size


def _matrices(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
    """node = self @ mat2; the samples' rows come from the operand that is no parameter."""
    return _product(node.next_functions, operand, (node._saved_self, node._saved_mat2), gradient, layout, n)


def _affine(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
    """node = beta · self + alpha · (mat1 @ mat2)."""
    if operand == 0:
        return _shared(node, 0, gradient * node._saved_beta if node._saved_beta != 1 else gradient, layout, n)
    factors = (node._saved_mat1, node._saved_mat2)
    found = _product(node.next_functions[1:], operand - 1, factors, gradient, layout, n)
    return (
        found if found is None else Product(found.edge, found.rows, found.gradient, float(node._saved_alpha))
    )


def _product(
    edges: Any, operand: int, factors: tuple[Tensor, Tensor], gradient: Tensor, layout: Layout, n: int
) -> Product | None:
    if operand == 1 and layout.dim == 0:
        return Product(edges[1], layout.rows(factors[0], n), layout.rows(gradient, n))
    if operand == 0 and layout.dim == 1:
        across = Layout(0, layout.outer, layout.inner)
        return Product(edges[0], across.rows(gradient.mT, n), across.rows(factors[1].mT, n))
    return None


def _batch_norm(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
    """Both in evaluation mode, and over one sample's channels, as instance normalisation uses it."""
    shape = [1, -1] + [1] * (gradient.ndim - 2)
    x, training = node._saved_input, node._saved_training

    def whole(rows: slice) -> Tensor:
        return gradient[rows]

    def centred(rows: slice) -> Tensor:
        mean = node._saved_running_mean.reshape(shape)
        scale = (node._saved_running_var + node._saved_eps).rsqrt().reshape(shape)
        return gradient[rows] * (x[rows] - mean) * scale

    def normal(rows: slice) -> Tensor:
        mean, scale = node._saved_result1.reshape(shape), node._saved_result2.reshape(shape)
        return gradient[rows] * _normal(x[rows], mean, scale, [d for d in range(gradient.ndim) if d != 1])

    part = whole if operand == 2 else normal if training else centred
    if layout.dim == 1 and len(gradient) == 1:
        sums = _over_positions(part(slice(0, 1)))[0]
        return _shared(node, operand, sums, Layout(0, layout.outer, layout.inner), n)
    if layout.dim != 0 or training:
        return None
    if operand == 2:
        return _shared(node, 2, _over_positions(gradient), layout, n)
    return _shared_in_steps(node, operand, gradient, lambda rows: _over_positions(part(rows)), layout, n)


def _over_positions(x: Tensor) -> Tensor:
    """Sums [rows, channels] of [rows, channels, …]."""
    return x.flatten(2).sum(2) if x.ndim > 2 else x


def _normal(x: Tensor, mean: Tensor, scale: Tensor, dims: list[int]) -> Tensor:
    """(x - mean) · scale, for the mean and scale over `dims` that autograd kept, whose slope is not to be had."""
    if torch.is_grad_enabled():
        spread = x.var(dims, unbiased=False, keepdim=True)
        mean, scale = x.mean(dims, keepdim=True), (scale.detach() ** -2 + spread - spread.detach()).rsqrt()
    return (x - mean) * scale


def _group_norm(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
    if layout.dim != 0:
        return None
    groups = node._saved_group
    if operand == 1:
        each = node._saved_input.unflatten(1, (groups, -1)).flatten(2)  # [rows, groups, …]
        mean = node._saved_result1.reshape(len(gradient), groups, 1)
        scale = node._saved_result2.reshape(len(gradient), groups, 1)
        gradient = gradient * _normal(each, mean, scale, [2]).reshape(gradient.shape)
    return _shared(node, operand, gradient.flatten(2).sum(2), layout, n)


def _layer_norm(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
    if operand == 1:
        dims = list(range(-len(node._saved_normalized_shape), 0))
        normal = _normal(node._saved_input, node._saved_result1, node._saved_result2, dims)
        gradient = gradient * normal
    return _shared(node, operand, gradient, layout, n)


def _root_mean_square(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
    if torch.is_grad_enabled():
        return None  # the mean square that autograd kept has no slope
    return _shared(node, operand, gradient * node._saved_input * node._saved_result1, layout, n)


def _table(node: Any, operand: int, gradient: Tensor, layout: Layout, n: int) -> Term | None:
    indices = node._saved_indices
    if node._saved_scale_grad_by_freq or layout.dim >= indices.ndim:
        return None
    taken = layout.split(indices, n).flatten(1)
    rows = layout.split(gradient, n).flatten(1, -2)
    padding = _signed(node._saved_padding_idx)
    if padding >= 0:
        rows = rows * (taken != padding).unsqueeze(-1)
    return Lookup(node.next_functions[0], taken, rows, node._saved_weight_sym_argsize_0)


#: By the name of the node: what its rule is called, and the rule.
RULES: Mapping[str, tuple[str, Rule]] = {
    "AddBackward0": ("broadcast", _add),
    "AddmmBackward0": ("linear", _affine),
    "CatBackward0": ("broadcast", _join),
    "ConvolutionBackward0": ("convolution", convolution),
    "DivBackward0": ("broadcast", _divide),
    "EmbeddingBackward0": ("embedding", _table),
    "FusedRmsNormBackward0": ("RMS norm", _root_mean_square),
    "MmBackward0": ("linear", _matrices),
    "MulBackward0": ("broadcast", _multiply),
    "NativeBatchNormBackward0": ("batch norm", _batch_norm),
    "NativeGroupNormBackward0": ("group norm", _group_norm),
    "NativeLayerNormBackward0": ("layer norm", _layer_norm),
    "PreluKernelBackward0": ("broadcast", _prelu),
    "SubBackward0": ("broadcast", _subtract),
}
