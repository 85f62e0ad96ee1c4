"""An ONNX graph as a PyTorch module: its nodes are run one by one, its numbers are parameters and buffers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any, final

import torch
from torch import Tensor, nn

from classrob.errors import StudyError, nearest
from classrob_onnx import elementwise, linear, shaping, sliding
from classrob_onnx.node import Node, Op
from classrob_onnx.overwriting import overwriting

_OPS: Mapping[str, Op] = {**elementwise.OPS, **linear.OPS, **shaping.OPS, **sliding.OPS}


@final
class Graph(nn.Module):
    """The graph of an ONNX model of one input.

    Floating-point numbers of the file are parameters, whole numbers are buffers, so that what looks at
    a module's state sees all that decides its result.

    Attributes:
        shape: the shape of the input, batch first; None where the file leaves a size open.
    """

    def __init__(self, onnx: ModuleType, model: Any, output: str | None) -> None:
        """Import a loaded ModelProto; `onnx` is the library.

        Raises:
            StudyError: an operator is unknown, there are several inputs, or no such output.
        """
        super().__init__()
        graph = model.graph
        opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)
        self._held: dict[str, str] = {}  # the name of a value to the module's attribute that holds it
        for tensor in graph.initializer:
            self._hold(tensor.name, _tensor(onnx, tensor))
        self._nodes: list[Node] = []
        for number, proto in enumerate(graph.node):
            node = _node(onnx, proto, number, opset)
            if node.operator == "Constant":
                self._hold(node.outputs[0], _constant(node))
            else:
                self._nodes.append(node)
        inputs = [one for one in graph.input if one.name not in self._held]
        if len(inputs) != 1:
            raise StudyError(f"the ONNX graph takes {len(inputs)} inputs, not one image")
        kind = inputs[0].type.tensor_type
        self.shape = tuple(dim.dim_value or None for dim in kind.shape.dim)
        self._input, self._dtype = inputs[0].name, elementwise.DTYPES.get(kind.elem_type, torch.float32)
        self._output = _chosen(output, [one.name for one in graph.output])
        self._overwriting = overwriting(self._nodes, self._input, self._output)
        last = {name: i for i, node in enumerate(self._nodes) for name in node.inputs}
        #: After each node, the values that nobody reads any more.
        self._dead: list[list[str]] = [[] for _ in self._nodes]
        for name, i in last.items():
            if name != self._output:
                self._dead[i].append(name)

    def _hold(self, name: str, value: Tensor) -> None:
        attribute = re.sub(r"\W", "_", name) + f"_{len(self._held)}"  # no dots, and no two alike
        self._held[name] = attribute
        if value.is_floating_point():
            self.register_parameter(attribute, nn.Parameter(value))
        else:
            self.register_buffer(attribute, value)

    def forward(self, images: Tensor) -> Tensor:
        """The output for a whole batch of the exported size, or of any where the file leaves it open."""
        kind = images.dtype if images.dtype == torch.bfloat16 else self._dtype  # a whole search in bfloat16
        values: dict[str, Tensor | None] = {"": None, self._input: images.to(kind)}
        held = {**self._parameters, **self._buffers}  # looked up one by one they would cost a call each
        values |= {name: held[attribute] for name, attribute in self._held.items()}
        for node, in_place, dead in zip(self._nodes, self._overwriting, self._dead, strict=True):
            op = in_place or _OPS[node.operator]
            result = op(node, *(values[name] for name in node.inputs))
            outputs = result if isinstance(result, tuple) else (result,)
            values.update(zip(node.outputs, outputs, strict=False))
            for name in dead:
                values[name] = None
        output = values[self._output]
        if output is None:
            raise StudyError(f"the ONNX graph never computes its output '{self._output}'")
        return output


def _node(onnx: ModuleType, proto: Any, number: int, opset: int) -> Node:
    name = proto.name or f"{proto.op_type} {number}"
    operator = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
    if operator != "Constant" and operator not in _OPS:
        raise StudyError(f"ONNX operator {operator} (node '{name}') is not supported: export without it")
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in proto.attribute}
    for key, value in attributes.items():
        if isinstance(value, onnx.TensorProto):
            attributes[key] = _tensor(onnx, value)
    return Node(operator, name, attributes, tuple(proto.input), tuple(proto.output), opset)


def _tensor(onnx: ModuleType, proto: Any) -> Tensor:
    array = onnx.numpy_helper.to_array(proto)
    if array.dtype.name == "bfloat16":  # unknown to NumPy proper
        return torch.from_numpy(array.astype("float32")).bfloat16()
    return torch.from_numpy(array.copy())


def _constant(node: Node) -> Tensor:
    for name, value in node.attributes.items():
        match name:
            case "value":
                return value
            case "value_float" | "value_floats":
                return torch.tensor(value, dtype=torch.float32)
            case "value_int" | "value_ints":
                return torch.tensor(value, dtype=torch.int64)
    raise node.refuse(f"a constant of {', '.join(node.attributes) or 'nothing'}")


def _chosen(output: str | None, names: list[str]) -> str:
    if output is None and len(names) == 1:
        return names[0]
    if output not in names:
        hint = "" if output is None else nearest(output, names)
        raise StudyError(f"set `output` to one of the graph's outputs {', '.join(names)}{hint}")
    return output
