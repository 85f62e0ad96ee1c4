"""What is known of torch's calls by their names: which are affine, and in how many of their tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.overrides import resolve_name


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Sums and differences of the tensors that they are given.
ADDITIVE = _names("add add_ sub sub_ subtract neg neg_ negative rsub __rsub__ __radd__")
#: Sums of elements with weights that are not negative, and moves of elements.
MONOTONE = _names(
    """T mT cat concat stack sum mean reshape
    reshape_as view view_as flatten unflatten ravel squeeze unsqueeze permute transpose swapaxes movedim t
    adjoint contiguous clone alias expand expand_as repeat repeat_interleave tile narrow select index_select
    chunk split unbind diagonal flip roll rot90 pad constant_pad_nd avg_pool1d avg_pool2d avg_pool3d
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d pixel_shuffle pixel_unshuffle
    channel_shuffle unfold fold cumsum to float double half bfloat16 type_as"""
)
#: Affine in one tensor while the others are constants.
MULTILINEAR = _names(
    """mul mul_ multiply matmul mm bmm mv dot linear einsum conv1d conv2d conv3d conv_transpose1d
    conv_transpose2d conv_transpose3d __getitem__ tensordot"""
)
#: Affine in the first tensor while the others are constants.
FIRST = _names("div div_ divide true_divide batch_norm dropout dropout1d dropout2d dropout3d")
#: What tells nothing of a tensor's values.
METADATA = _names(
    """size dim __len__ ndimension numel nelement stride is_contiguous is_floating_point is_complex get_device
    element_size shape dtype device ndim layout requires_grad is_cuda is_leaf grad_fn is_meta is_sparse
    is_quantized zeros_like ones_like new_zeros new_ones"""
)
#: Calls whose plain numbers are terms or factors, not sizes.
NUMBERS = _names("add sub subtract rsub radd mul multiply div divide true_divide")
#: Draws; a network that makes any is another one at every call.
RANDOM = _names(
    """rand rand_like randn randn_like randint randint_like randperm normal normal_ uniform_ bernoulli
    bernoulli_ random_ exponential_ multinomial"""
)


#: Operators that write into their first operand; other names with two underscores do not.
WRITING = _names("__iadd__ __isub__ __imul__ __itruediv__ __ifloordiv__ __imod__ __ipow__ __setitem__")


def in_place(name: str) -> bool:
    """Does a call of that name write into its first argument? `add_` does, `__rsub__` does not."""
    return name in WRITING or (name.endswith("_") and not name.endswith("__"))


def name_of(func: Any) -> str:
    """`add` for Tensor.add and torch.add alike; an attribute's name for its getter."""
    name = resolve_name(func) or str(getattr(func, "__name__", func))
    return name.removesuffix(".__get__").rpartition(".")[2]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors among a call's arguments or results, however deep."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors_in(one)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
