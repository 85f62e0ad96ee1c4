"""The model `onnx`: every operator against onnx's own reference, real models, and files of a fixed batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from classrob.errors import StudyError
from classrob.identity import identity
from classrob.images import Fit
from classrob.live import Classifier
from classrob_base.parquet import Parquet
from classrob_onnx.graph import Graph
from classrob_onnx.model import OnnxModel

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 8, 7)).astype(np.float32)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def model_of(
    nodes: list[Any],
    constants: dict[str, np.ndarray],
    shape: tuple[Any, ...],
    opset: int = 17,
    outputs: tuple[str, ...] = ("y",),
) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info(name, 1, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def save(path: Path, model: Any) -> Path:
    onnx.save(model, path / "m.onnx")
    return path / "m.onnx"


def both(model: Any, x: np.ndarray, output: str = "y") -> tuple[Tensor, Tensor]:
    """What this importer and onnx's reference make of the same input."""
    ours = Graph(onnx, model, output).eval()(torch.from_numpy(x))
    (theirs,) = reference.ReferenceEvaluator(model).run([output], {"x": x})
    return ours.detach(), torch.from_numpy(np.array(theirs))


#: Activations and other functions of one element, at their default attributes.
EACH = (
    "Abs",
    "Ceil",
    "Cos",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Neg",
)
MORE = ("Reciprocal", "Relu", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Tanh")

#: Operator, opset, attributes, the inputs after x, and x itself where it is not X.
CASES: list[tuple[str, int, dict[str, Any], list[np.ndarray | None], np.ndarray]] = [
    *[(name, 17, {}, [], X) for name in EACH + MORE],
    *[(name, 17, {}, [], np.abs(X) + 0.1) for name in ("Log", "Sqrt")],
    *[(name, 17, {}, [floats(3, 1, 7)], X) for name in ("Add", "Div", "Max", "Min", "Mul", "Sub", "Sum")],
    ("Pow", 17, {}, [np.array(2.0, np.float32)], X),
    ("Pow", 17, {}, [ints(3)], X),
    ("Round", 17, {}, [], X * 4),
    ("Celu", 17, {"alpha": 0.7}, [], X),
    ("Elu", 17, {"alpha": 0.7}, [], X),
    ("LeakyRelu", 17, {"alpha": 0.3}, [], X),
    ("HardSigmoid", 17, {"alpha": 0.3, "beta": 0.4}, [], X),
    ("Gelu", 20, {}, [], X),
    ("Mish", 18, {}, [], X),
    ("Gelu", 20, {"approximate": "tanh"}, [], X),
    ("PRelu", 17, {}, [floats(3, 1, 1)], X),
    ("Clip", 17, {}, [np.float32(-0.5), np.float32(0.7)], X),
    ("Clip", 17, {}, [None, np.float32(0.7)], X),
    ("Clip", 17, {}, [np.float32(0.1)], X),
    ("Clip", 6, {"min": -0.2, "max": 0.4}, [], X),
    ("Softmax", 17, {"axis": 1}, [], X),
    ("Softmax", 17, {}, [], X),
    ("LogSoftmax", 17, {"axis": 2}, [], X),
    ("Cast", 17, {"to": 11}, [], X),
    ("Cast", 17, {"to": 7}, [], X * 5),
    ("Conv", 17, {}, [floats(4, 3, 3, 2), floats(4)], X),
    ("Conv", 17, {"strides": [2, 3], "dilations": [2, 1], "pads": [1, 2, 1, 2]}, [floats(4, 3, 3, 2)], X),
    ("Conv", 17, {"pads": [0, 1, 2, 0], "strides": [2, 2]}, [floats(4, 3, 3, 3)], X),
    ("Conv", 17, {"group": 3}, [floats(6, 1, 3, 3), floats(6)], X),
    ("Conv", 17, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, [floats(4, 3, 3, 3)], X),
    ("Conv", 17, {"auto_pad": "SAME_LOWER", "strides": [1, 2]}, [floats(4, 3, 2, 4)], X),
    ("Conv", 17, {"auto_pad": "VALID"}, [floats(4, 3, 2, 2)], X),
    ("Conv", 17, {"pads": [1, 1]}, [floats(4, 3, 3)], X[:, :, 0]),
    ("ConvTranspose", 17, {"strides": [2, 2], "pads": [1, 0, 1, 0], "output_padding": [1, 1]}, [floats(3, 2, 3, 3), floats(2)], X),
    ("MaxPool", 17, {"kernel_shape": [2, 3], "strides": [2, 1]}, [], X),
    ("MaxPool", 17, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, [], X),
    ("MaxPool", 17, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}, [], X),
    ("MaxPool", 17, {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}, [], X),
    ("AveragePool", 17, {"kernel_shape": [2, 3], "strides": [2, 1]}, [], X),
    ("AveragePool", 17, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, [], X),
    ("AveragePool", 17, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, [], X),
    ("AveragePool", 17, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0]}, [], X),
    ("AveragePool", 17, {"kernel_shape": [3, 3], "pads": [0, 1, 1, 0], "count_include_pad": 1}, [], X),
    ("GlobalAveragePool", 17, {}, [], X),
    ("GlobalMaxPool", 17, {}, [], X),
    ("BatchNormalization", 17, {"epsilon": 0.01}, [floats(3), floats(3), floats(3), np.abs(floats(3)) + 0.5], X),
    ("InstanceNormalization", 17, {}, [floats(3), floats(3)], X),
    ("LayerNormalization", 17, {"axis": -2}, [floats(8, 7), floats(8, 7)], X),
    ("LayerNormalization", 17, {"epsilon": 0.1}, [floats(7)], X),
    ("GroupNormalization", 21, {"num_groups": 2}, [floats(4), floats(4)], floats(2, 4, 5, 5)),
    ("LRN", 17, {"size": 3, "alpha": 0.3, "beta": 0.5}, [], floats(4, 4, 5, 5)),
    ("Gemm", 17, {"transB": 1, "alpha": 0.5, "beta": 2.0}, [floats(4, 7), floats(4)], X[0, 0]),
    ("Gemm", 17, {"transA": 1}, [floats(8, 4)], X[0, 0]),
    ("MatMul", 17, {}, [floats(7, 4)], X),
    ("Einsum", 17, {"equation": "nchw,wk->nhk"}, [floats(7, 4)], X),
    ("ReduceMean", 17, {"axes": [2, 3], "keepdims": 0}, [], X),
    ("ReduceMean", 18, {}, [ints(1, -1)], X),
    ("ReduceMean", 17, {}, [], X),
    ("ReduceSum", 17, {"keepdims": 0}, [ints(-1)], X),
    ("ReduceSum", 17, {"noop_with_empty_axes": 1}, [], X),
    ("ReduceMax", 17, {"axes": [1]}, [], X),
    ("ReduceMin", 17, {"axes": [1, 2]}, [], X),
    ("ReduceL2", 17, {"axes": [-1]}, [], X),
    ("Flatten", 17, {}, [], X),
    ("Flatten", 17, {"axis": -1}, [], X),
    ("Flatten", 17, {"axis": 0}, [], X),
    ("Reshape", 17, {}, [ints(0, -1, 7)], X),
    ("Transpose", 17, {"perm": [0, 2, 3, 1]}, [], X),
    ("Transpose", 17, {}, [], X),
    ("Squeeze", 17, {}, [ints(1, -1)], X[:, :1, :, :1]),
    ("Squeeze", 11, {"axes": [1]}, [], X[:, :1]),
    ("Squeeze", 17, {}, [], X[:, :1]),
    ("Unsqueeze", 17, {}, [ints(0, -1)], X),
    ("Unsqueeze", 11, {"axes": [1]}, [], X),
    ("Concat", 17, {"axis": 1}, [floats(2, 1, 8, 7)], X),
    ("Slice", 17, {}, [ints(1, -3), ints(2**63 - 1, -1), ints(2, 3)], X),
    ("Slice", 17, {}, [ints(-1), ints(-(2**63)), ints(2), ints(-2)], X),
    ("Slice", 17, {}, [ints(0, 1), ints(2, 3)], X),
    ("Slice", 17, {}, [ints(6), ints(1), ints(2), ints(-1)], X),
    ("Slice", 9, {"starts": [1], "ends": [5], "axes": [2]}, [], X),
    ("Gather", 17, {"axis": 2}, [np.array([[0, -1], [3, 2]])], X),
    ("Gather", 17, {"axis": 1}, [np.array(1)], X),
    ("Expand", 17, {}, [ints(4, 1, 7)], X[:, :1, :1]),
    ("Tile", 17, {}, [ints(1, 2, 1, 3)], X),
    ("Pad", 17, {}, [ints(0, 0, 1, 2, 0, 1, 0, 3), np.float32(0.5)], X),
    ("Pad", 17, {"mode": "reflect"}, [ints(0, 0, 1, 2, 0, 0, 0, 3)], X),
    ("Pad", 17, {"mode": "edge"}, [ints(0, 0, 1, 2, 0, 0, 0, 3)], X),
    ("Pad", 18, {}, [ints(1, 2, 0, 3), None, ints(2, -1)], X),
    ("Resize", 17, {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
     [None, np.array([1, 1, 2, 3], np.float32)], X),
    ("Resize", 17, {"mode": "linear"}, [None, None, ints(2, 3, 13, 5)], X),
    ("Resize", 17, {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, [None, None, ints(2, 3, 13, 9)], X),
    ("Upsample", 9, {"mode": "nearest"}, [np.array([1, 1, 2, 2], np.float32)], X),
    ("Dropout", 17, {}, [], X),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_operators_equal_the_reference(
    case: tuple[str, int, dict[str, Any], list[np.ndarray | None], np.ndarray],
) -> None:
    operator, opset, attributes, more, x = case
    constants = {f"c{i}": np.asarray(value) for i, value in enumerate(more) if value is not None}
    names = ["x", *("" if value is None else f"c{i}" for i, value in enumerate(more))]
    node = helper.make_node(operator, names, ["y"], "it", **attributes)
    if operator == "Upsample":  # the reference has forgotten it
        ours = Graph(onnx, model_of([node], constants, x.shape, opset), "y")(torch.from_numpy(x))
        assert torch.equal(ours, torch.from_numpy(x.repeat(2, 2).repeat(2, 3)))
        return
    ours, theirs = both(model_of([node], constants, x.shape, opset), x)
    assert ours.dtype == theirs.dtype
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c[4] is X and c[0] not in ("Concat", "Resize")], ids=lambda case: case[0]
)
def test_operators_can_be_mapped_over_images(
    case: tuple[str, int, dict[str, Any], list[np.ndarray | None], np.ndarray],
) -> None:
    """What frees a fixed batch: each image alone through a graph of batch one, without PyTorch's slow fallback."""
    operator, opset, attributes, more, x = case
    constants = {f"c{i}": np.asarray(value) for i, value in enumerate(more) if value is not None}
    names = ["x", *("" if value is None else f"c{i}" for i, value in enumerate(more))]
    node = helper.make_node(operator, names, ["y"], "it", **attributes)
    graph = Graph(onnx, model_of([node], constants, (1, *x.shape[1:]), opset), "y")
    alone = torch.stack([graph(image[None]) for image in torch.from_numpy(x)])
    torch.testing.assert_close(torch.vmap(graph)(torch.from_numpy(x)[:, None]), alone, rtol=1e-4, atol=1e-5)


def test_operators_that_compute_shapes_and_choose() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Constant", [], ["zero"], value_int=0),
        helper.make_node("Constant", [], ["ones"], value_ints=[1]),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "zeros"], ["n1"]),
        helper.make_node("Concat", ["n1", "minus"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["flat"]),
        helper.make_node("Split", ["flat"], ["a", "b"], axis=1),
        helper.make_node("Greater", ["a", "b"], ["more"]),
        helper.make_node("Not", ["more"], ["less"]),
        helper.make_node("Where", ["less", "b", "half"], ["w"]),
        helper.make_node("Split", ["w", "sizes"], ["c", "d"], axis=1),
        helper.make_node(
            "ConstantOfShape", ["to2"], ["filled"], value=helper.make_tensor("v", 1, [1], [2.0])
        ),
        helper.make_node("Mul", ["c", "filled"], ["e"]),
        helper.make_node("Range", ["zero", "n", "one"], ["r"]),
        helper.make_node("Cast", ["r"], ["rf"], to=1),
        helper.make_node("Unsqueeze", ["rf", "ones"], ["rf1"]),
        helper.make_node("Add", ["e", "rf1"], ["y"]),
    ]
    constants = {
        "zeros": ints(0),
        "minus": ints(-1),
        "sizes": ints(4, 80),
        "to2": ints(1, 4),
        "one": np.array(1),
    }
    ours, theirs = both(model_of(nodes, constants, ("n", 3, 8, 7)), X)
    torch.testing.assert_close(ours, theirs)


def test_softmax_of_old_files_is_over_all_dimensions_from_its_axis_on() -> None:
    node = helper.make_node("Softmax", ["x"], ["y"])
    old, new = (
        Graph(onnx, model_of([node], {}, X.shape, opset), "y")(torch.from_numpy(X)) for opset in (11, 13)
    )
    torch.testing.assert_close(old, torch.from_numpy(X).flatten(1).softmax(1).reshape(X.shape))
    torch.testing.assert_close(new, torch.from_numpy(X).softmax(3))


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 9),
    start=st.integers(-12, 12),
    end=st.integers(-12, 12),
    step=st.sampled_from([-3, -2, -1, 1, 2, 3]),
)
def test_slice_agrees_with_the_reference_everywhere(size: int, start: int, end: int, step: int) -> None:
    x = np.arange(2 * size, dtype=np.float32).reshape(2, size)
    node = helper.make_node("Slice", ["x", "a", "b", "c", "d"], ["y"])
    model = model_of([node], {"a": ints(start), "b": ints(end), "c": ints(1), "d": ints(step)}, x.shape)
    ours, theirs = both(model, x)
    assert torch.equal(ours, theirs)


# -- batches ---------------------------------------------------------------------------------------------


def folded(batch: Any, whole: int | None = None) -> Any:
    """A graph that names its batch everywhere, as exporters write it: constant shapes, sequence first."""
    b = batch if whole is None else whole
    nodes = [
        helper.make_node("Reshape", ["x", "sequence"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=[2, 0, 1]),
        helper.make_node("Reshape", ["t", "heads"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["m"]),
        helper.make_node("Softmax", ["m"], ["p"], axis=-1),
        helper.make_node("Reshape", ["p", "back"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["y"], axes=[0], keepdims=0),
    ]
    constants = {
        "sequence": ints(b, 4, 9),
        "heads": ints(9, 2 * b, 2),
        "back": ints(9, b, 2 * 5),
        "w": floats(2, 5),
    }
    return model_of(nodes, constants, (batch, 1, 6, 6))


@pytest.mark.parametrize("exported", [1, 3])
def test_a_fixed_batch_is_freed_exactly(tmp_path: Path, exported: int) -> None:
    classifier = OnnxModel(path=save(tmp_path, folded(exported))).load("cpu")
    x = torch.rand(16, 1, 6, 6)
    run = reference.ReferenceEvaluator(folded(exported)).run
    padded = torch.cat([x, x[:2]]).numpy()
    expected = np.concatenate(
        [run(None, {"x": padded[i : i + exported]})[0] for i in range(0, 16, exported)]
    )[:16]
    for size in (1, 2, 3, 8, 16):
        got = torch.cat([classifier.module(part) for part in x.split(size)])
        torch.testing.assert_close(got.detach(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)
    z = x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(classifier.module(z)[:, 0].sum(), z)
    (alone,) = torch.autograd.grad(classifier.module(z[5:6])[:, 0].sum(), z)
    torch.testing.assert_close(slope[5], alone[5])
    assert float(slope.abs().sum()) > 0


#: A graph as (operator, inputs, output), and which nodes may write over one of their inputs.
OVERWRITING = {
    "a chain": ([("Conv", "xw", "a"), ("Relu", "a", "y")], [1]),
    "the image": ([("Relu", "x", "a"), ("Add", "ax", "y")], []),
    "two read it": ([("Conv", "xw", "a"), ("Relu", "a", "b"), ("Add", "ab", "y")], []),
    "a residual": (
        [("Conv", "xw", "a"), ("Conv", "aw", "b"), ("Add", "ab", "c"), ("Relu", "c", "y")],
        [2, 3],
    ),
    "the second": ([("Tanh", "x", "a"), ("Conv", "aw", "b"), ("Add", "ab", "y")], [2]),
    "autograd needs it": ([("Tanh", "x", "a"), ("Relu", "a", "y")], []),
    "a view of it": (
        [("Conv", "xw", "a"), ("Identity", "a", "b"), ("Relu", "a", "c"), ("Add", "bc", "y")],
        [],
    ),
    "a smaller one": ([("Conv", "xs", "a"), ("Add", "ax", "y")], [1]),
    "itself": ([("Conv", "xw", "a"), ("Add", "aa", "y")], []),
}


@pytest.mark.parametrize("what", OVERWRITING)
def test_a_value_is_written_over_only_where_nobody_else_reads_it(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and gradients are those of a graph that writes over nothing."""
    described, expected = OVERWRITING[what]
    nodes = [helper.make_node(operator, list(reads), [name]) for operator, reads, name in described]
    constants = {"w": floats(3, 3, 1, 1), "s": floats(1, 3, 8, 7)}
    model = model_of(nodes, constants, (2, 3, 8, 7))
    ways = list[tuple[Tensor, Tensor]]()
    for plain in (False, True):
        if plain:
            monkeypatch.setattr("classrob_onnx.graph.overwriting", lambda nodes, *_: [None] * len(nodes))
        x = torch.from_numpy(X).clone().requires_grad_()
        graph = Graph(onnx, model, "y").eval().requires_grad_(False)
        if not plain:
            assert [i for i, op in enumerate(graph._overwriting) if op] == expected
        y = graph(x)
        ways.append((y.detach(), torch.autograd.grad(y.square().sum(), x)[0]))
        assert x.detach().equal(torch.from_numpy(X))
    assert ways[0][0].equal(ways[1][0])
    torch.testing.assert_close(ways[0][1], ways[1][1])


# -- the part --------------------------------------------------------------------------------------------


def tiny(shape: tuple[Any, ...], features: int) -> Any:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w", "c.c"], ["y"], "gemm"),
    ]
    return model_of(nodes, {"w": floats(features, 5), "c.c": floats(5)}, shape)


def test_numbers_of_the_file_are_parameters_and_shapes_are_buffers(tmp_path: Path) -> None:
    module = OnnxModel(path=save(tmp_path, tiny(("n", 3, 4, 4), 48))).load("cpu").module
    assert sorted(tuple(p.shape) for p in module.parameters()) == [(5,), (48, 5)]
    assert not module.training
    batched = OnnxModel(path=save(tmp_path, folded(1))).load("cpu").module
    assert {tuple(b.tolist()) for b in batched.buffers() if b.dtype == torch.int64} == {
        (1, 4, 9),
        (9, 2, 2),
        (9, 1, 10),
    }
    module.get_parameter("graph.w_0").data.fill_(float("nan"))
    assert module(torch.rand(2, 3, 4, 4)).isnan().all()


@pytest.mark.parametrize(
    ("shape", "features", "fit"),
    [
        (("n", 3, 4, 6), 72, Fit(size=(4, 6), channels=3)),
        ((1, 1, 4, 4), 16, Fit(size=(4, 4), channels=1)),
        (("n", 4, 6, 3), 72, Fit(size=(4, 6), channels=3)),
        (("n", 3, "h", "w"), 72, Fit(channels=3)),
        (("n", 16), 16, Fit()),
        ((1, 16, 1), 16, Fit()),
    ],
)
def test_input_layouts(tmp_path: Path, shape: tuple[Any, ...], features: int, fit: Fit) -> None:
    classifier = OnnxModel(path=save(tmp_path, tiny(shape, features))).load("cpu")
    assert classifier.fit == fit
    channels = fit.channels or 1
    height, width = fit.size or ((4, 6) if channels == 3 else (4, 4))
    x = torch.rand(8, channels, height, width)
    weight, bias = torch.from_numpy(floats(features, 5)), torch.from_numpy(floats(5))
    rows = x.permute(0, 2, 3, 1) if shape[-1] == 3 else x
    torch.testing.assert_close(classifier(x).detach(), rows.flatten(1) @ weight + bias)


def test_normalisation_size_and_channels(tmp_path: Path) -> None:
    path = save(tmp_path, tiny(("n", 3, 4, 4), 48))
    plain = OnnxModel(path=path).load("cpu")
    normal = OnnxModel(path=path, mean=(0.1, 0.2, 0.3), std=(0.5,), size=(4, 4), channels=3).load("cpu")
    x = torch.rand(8, 3, 4, 4)
    torch.testing.assert_close(normal(x), plain((x - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / 0.5))


def test_several_outputs_ask_for_one(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["features"]),
        helper.make_node("Relu", ["features"], ["logits"]),
    ]
    path = save(tmp_path, model_of(nodes, {}, ("n", 1, 2, 2), outputs=("features", "logits")))
    assert "set `output` to one of the graph's outputs features, logits" in refusal(OnnxModel(path=path))
    assert "did you mean 'logits'?" in refusal(OnnxModel(path=path, output="logit"))
    for name in ("features", "logits"):
        got = OnnxModel(path=path, output=name).load("cpu")(torch.rand(8, 1, 2, 2) - 0.5)
        assert bool((got < 0).any()) == (name == "features")


def test_weights_beside_the_file_belong_to_the_identity(tmp_path: Path) -> None:
    model = tiny(("n", 3, 4, 4), 48)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    part = OnnxModel(path=tmp_path / "m.onnx")
    before, x = identity(part), torch.rand(8, 3, 4, 4)
    logits = part.load("cpu")(x)
    data = bytearray((tmp_path / "m.bin").read_bytes())
    data[3] ^= 1
    (tmp_path / "m.bin").write_bytes(bytes(data))
    assert identity(part) != before
    assert not torch.equal(part.load("cpu")(x), logits)
    assert "onnx" in part.ingredients()


def refusal(model: OnnxModel) -> str:
    with pytest.raises(StudyError) as caught:
        model.load("cpu")
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_what_cannot_be_imported_is_one_line(tmp_path: Path) -> None:
    unknown = helper.make_node("NonMaxSuppression", ["x"], ["y"], "choose")
    path = save(tmp_path, model_of([unknown], {}, (1, 1, 2, 2)))
    assert "m.onnx: ONNX operator NonMaxSuppression (node 'choose') is not supported" in refusal(
        OnnxModel(path=path)
    )
    foreign = helper.make_node("Relu", ["x"], ["y"], "r", domain="com.example")
    path = save(tmp_path, model_of([foreign], {}, (1, 1, 2, 2)))
    assert "com.example.Relu (node 'r')" in refusal(OnnxModel(path=path))
    two = tiny(("n", 1, 2, 2), 4)
    two.graph.input.append(helper.make_tensor_value_info("z", 1, (1,)))
    assert "takes 2 inputs, not one image" in refusal(OnnxModel(path=save(tmp_path, two)))
    (tmp_path / "m.onnx").write_bytes(b"\xff no protobuf")
    assert "is not a readable ONNX file" in refusal(OnnxModel(path=tmp_path / "m.onnx"))
    with pytest.raises(StudyError, match="is not a readable ONNX file"):
        OnnxModel(path=tmp_path / "m.onnx").ingredients()


def test_variants_that_are_not_known_name_the_node() -> None:
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], "grow", mode="cubic")
    graph = Graph(onnx, model_of([node], {"s": np.array([1, 1, 2, 2], np.float32)}, X.shape), None)
    with pytest.raises(StudyError, match="Resize of node 'grow': mode 'cubic'"):
        graph(torch.from_numpy(X))


def test_without_the_library_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path, tiny(("n", 1, 2, 2), 4))
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert "need the library onnx" in refusal(OnnxModel(path=path))


# -- the real models -------------------------------------------------------------------------------------

CIFAR = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2471, 0.2435, 0.2616)}


@pytest.fixture(scope="session")
def cifar(shared: Path) -> tuple[Tensor, Tensor]:
    batch, broken = Parquet(path=shared / "data/cifar10/test.parquet").open().read(range(1000), Fit())
    assert not broken
    assert batch is not None
    return batch.images, batch.labels


@pytest.mark.parametrize(
    ("name", "fields", "rows", "right"),
    [
        ("cifar10-resnet-2b", CIFAR, 500, 339),
        ("cifar10-ae-resnet44-adv-train", {}, 1000, 867),
        ("cifar10-ae-resnet44-all", {}, 1000, 659),
    ],
)
def test_accuracy_of_the_cifar_models(
    shared: Path, cifar: tuple[Tensor, Tensor], name: str, fields: dict[str, Any], rows: int, right: int
) -> None:
    images, labels = cifar[0][:rows], cifar[1][:rows]
    classifier: Classifier = OnnxModel(path=shared / f"models/{name}.onnx", **fields).load("cpu")
    assert classifier.fit == Fit(size=(32, 32), channels=3)
    with classifier.frozen(), torch.no_grad():
        assert int((classifier(images).argmax(1) == labels).sum()) == right
        one = torch.cat([classifier.module(image[None]) for image in images[:16]])
        torch.testing.assert_close(classifier.module(images[:16]), one, rtol=1e-4, atol=1e-4)
    x = images[:4].clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(classifier.module(x).max(1).values.sum(), x)
    assert bool((slope.flatten(1).abs().sum(1) > 0).all())
