"""Nodes of older opsets: what is imported computes what ONNX's text says of the form it had.

Drawn on empty tensors, scalars and up to six axes, with infinities and NaN among the elements,
attributes left out or not. Formulas are NumPy's; the newest forms are not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from engine.ir import Graph
from engine.ir.types import FLOAT
from engine.onnx_import import load_model
from engine.ops.compose import reference_of
from properties.choose import SeededChoose
from properties.memory import Violation

Array = np.ndarray
FLOAT_MAX = float(np.finfo(np.float32).max)


SIDES = (2, 1, 3, 0, 5)
Shape = tuple[int, ...]
Others = Callable[[SeededChoose, Shape, Mapping[str, Any]], tuple[Array, ...]]


def _no_others(choose: SeededChoose, shape: Shape, given: Mapping[str, Any]) -> tuple[Array, ...]:
    return ()


@dataclass(frozen=True)
class OldForm:
    """An operator as an older opset has it, of one input and constants.

    Attributes:
        opsets: first and last with this form.
        least, most: ranks that it takes.
        draw: attributes for a shape.
        formula: of float64, the attributes and the constants.
        others: constants for a shape and the attributes. sides: extents that it takes.
    """

    op_type: str
    opsets: tuple[int, int]
    formula: Callable[..., Array]
    draw: Callable[[SeededChoose, tuple[int, ...]], dict[str, Any]]
    least: int = 0
    others: Others = _no_others
    sides: tuple[int, ...] = SIDES
    most: int = 6


def _clip(x: Array, given: Mapping[str, Any]) -> Array:
    """Limits are finite by default."""
    low, high = given.get("min", -FLOAT_MAX), given.get("max", FLOAT_MAX)
    return np.where(x < low, low, np.where(x > high, high, x))


def _draw_clip(choose: SeededChoose, _: tuple[int, ...]) -> dict[str, Any]:
    limits = {"min": choose.one_of((None, -1.0)), "max": choose.one_of((None, 0.5))}
    return {name: value for name, value in limits.items() if value is not None}


def _rows(x: Array, axis: int) -> Array:
    """Two-dimensional, cut before `axis`."""
    return x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))


def _softmax(x: Array, given: Mapping[str, Any]) -> Array:
    rows = _rows(x, given.get("axis", 1))
    powers = np.exp(rows - rows.max(1, keepdims=True, initial=-np.inf))
    return np.asarray((powers / powers.sum(1, keepdims=True)).reshape(x.shape))


def _draw_axis(choose: SeededChoose, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"axis": choose.integer(0, len(shape) - 1)} if choose.integer(0, 1) else {}


def _sum(x: Array, given: Mapping[str, Any]) -> Array:
    axes = given.get("axes")
    return np.asarray(x.sum(None if axes is None else tuple(axes), keepdims=True))


def _draw_axes(choose: SeededChoose, shape: tuple[int, ...]) -> dict[str, Any]:
    axes = [a for a in range(len(shape)) if choose.integer(0, 1)]
    return {"axes": axes} if axes else {}


def _unsqueeze(x: Array, given: Mapping[str, Any]) -> Array:
    return np.asarray(np.expand_dims(x, tuple(given["axes"])))


def _draw_new_axes(choose: SeededChoose, shape: tuple[int, ...]) -> dict[str, Any]:
    axes = [a for a in range(len(shape)) if choose.integer(0, 1)]
    return {"axes": axes or [0]}


def _pad(x: Array, given: Mapping[str, Any]) -> Array:
    pads, rank = given["pads"], x.ndim
    return np.pad(x, list(zip(pads[:rank], pads[rank:])), constant_values=given.get("value", 0))


def _draw_pads(choose: SeededChoose, shape: tuple[int, ...]) -> dict[str, Any]:
    value = {"value": 1.5} if choose.integer(0, 1) else {}
    return {"pads": [choose.integer(0, 2) for _ in (*shape, *shape)], **value}


def _no_attributes(choose: SeededChoose, shape: Shape) -> dict[str, Any]:
    return {}


def _of_channels(choose: SeededChoose, shape: Shape, _: Mapping[str, Any]) -> tuple[Array, ...]:
    return (choose.tensor((shape[1],), FLOAT),)


def _prelu(x: Array, given: Mapping[str, Any], slope: Array) -> Array:
    """A slope for each channel."""
    return np.where(x < 0, slope.reshape(-1, *[1] * (x.ndim - 2)) * x, x)


def _draw_beside(choose: SeededChoose, shape: Shape) -> dict[str, Any]:
    return {"broadcast": 1, "axis": choose.integer(0, len(shape) - 1)}


def _beside(choose: SeededChoose, shape: Shape, given: Mapping[str, Any]) -> tuple[Array, ...]:
    """Some axes of the shape, from the given one on."""
    end = choose.integer(given["axis"] + 1, len(shape))
    return (choose.tensor(shape[given["axis"] : end], FLOAT, 0.5, 2.0),)


def _met(function: np.ufunc) -> Callable[..., Array]:
    """The second input's first axis meets the given one of the first."""

    def formula(x: Array, given: Mapping[str, Any], b: Array) -> Array:
        behind = x.ndim - given["axis"] - b.ndim
        return np.asarray(function(x, b.reshape(*b.shape, *[1] * behind)))

    return formula


def _draw_groups(choose: SeededChoose, shape: Shape) -> dict[str, Any]:
    return {"num_groups": choose.one_of([k for k in (1, 2, 3, 4, 6) if shape[1] % k == 0])}


def _of_groups(choose: SeededChoose, shape: Shape, given: Mapping[str, Any]) -> tuple[Array, ...]:
    return tuple(choose.tensor((given["num_groups"],), FLOAT) for _ in range(2))


def _group_norm(x: Array, given: Mapping[str, Any], scale: Array, bias: Array) -> Array:
    """One number of scale and bias for each group."""
    rows = x.reshape(x.shape[0], given["num_groups"], -1)
    centred = rows - rows.mean(2, keepdims=True)
    y = centred / np.sqrt((centred**2).mean(2, keepdims=True) + np.float32(1e-5))
    return np.asarray((y * scale[:, None] + bias[:, None]).reshape(x.shape))


def _selu(x: Array, given: Mapping[str, Any]) -> Array:
    """Both factors had fewer digits."""
    alpha, gamma = (float(np.float32(factor)) for factor in (1.6732, 1.0507))
    return np.asarray(gamma * np.where(x > 0, x, alpha * np.expm1(x)))


def _draw_beta(choose: SeededChoose, shape: Shape) -> dict[str, Any]:
    return {"beta": choose.one_of((0.0, 2.0))}


def _matrices(choose: SeededChoose, shape: Shape, given: Mapping[str, Any]) -> tuple[Array, ...]:
    """The third with an infinity, which only a factor of zero hides."""
    c = choose.tensor((3,), FLOAT)
    c[0] = np.inf if choose.integer(0, 1) else c[0]
    return choose.tensor((shape[1], 3), FLOAT), c


def _gemm(x: Array, given: Mapping[str, Any], b: Array, c: Array) -> Array:
    """As in BLAS, a factor of zero reads nothing."""
    return np.asarray(x @ b + (given["beta"] * c if given["beta"] else 0))


OLD_FORMS = (
    OldForm("Clip", (6, 10), _clip, _draw_clip),
    OldForm("Softmax", (1, 12), _softmax, _draw_axis, least=2),
    OldForm("LogSoftmax", (1, 12), lambda x, a: np.log(_softmax(x, a)), _draw_axis, least=2),
    OldForm("ReduceSum", (1, 12), _sum, _draw_axes),
    OldForm("Unsqueeze", (1, 12), _unsqueeze, _draw_new_axes),
    OldForm("Pad", (2, 10), _pad, _draw_pads, least=1),
    OldForm("PRelu", (1, 6), _prelu, _no_attributes, 2, _of_channels),
    *(
        OldForm(op_type, (1, 6), _met(function), _draw_beside, 1, _beside)
        for op_type, function in (("Add", np.add), ("Sub", np.subtract), ("Div", np.divide))
    ),
    OldForm("GroupNormalization", (18, 20), _group_norm, _draw_groups, 3, _of_groups, (1, 2, 6, 4)),
    OldForm("Selu", (1, 5), _selu, _no_attributes),
    OldForm("Gemm", (7, 12), _gemm, _draw_beta, 2, _matrices, most=2),
)


def check_old_form(seed: int) -> None:
    """One drawn node; raises Violation where it computes something else."""
    choose = SeededChoose(seed)
    form = choose.one_of(OLD_FORMS)
    opset = choose.integer(*form.opsets)
    shape = tuple(choose.one_of(form.sides) for _ in range(choose.integer(form.least, form.most)))
    attributes = form.draw(choose, shape)
    others = form.others(choose, shape, attributes)
    x = choose.tensor(shape, np.dtype(np.float32))
    if form.op_type == "Clip" and x.size:
        x.flat[0] = choose.one_of((np.inf, -np.inf, np.nan))
    with np.errstate(all="ignore"):
        want = form.formula(x.astype(np.float64), attributes, *(o.astype(float) for o in others))
    try:
        got = _evaluated(_imported(form.op_type, opset, shape, attributes, others), x)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise Violation(f"{form.op_type} of opset {opset} on {shape}: {said}") from error
    if got.shape != want.shape or not np.allclose(got, want, 1e-9, 1e-9, equal_nan=True):
        raise Violation(
            f"{form.op_type} of opset {opset} {attributes} on {shape}: got {got.shape} "
            f"{got.ravel()[:4]}, expected {want.shape} {want.ravel()[:4]}"
        )


def _imported(
    op_type: str, opset: int, shape: Shape, attributes: Any, others: tuple[Array, ...]
) -> Graph:
    constants = [numpy_helper.from_array(o, f"c{i}") for i, o in enumerate(others)]
    node = helper.make_node(op_type, ["x", *(c.name for c in constants)], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info("y")],
        constants,
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=4 if opset < 18 else 8)
    return load_model(model.SerializeToString())


def _evaluated(graph: Graph, x: Array) -> Array:
    """By the references of what was imported."""
    known = {id(graph.inputs[0]): x.astype(np.float64)}
    for value in graph.values():
        if value.constant is not None:
            wide = value.constant.dtype.kind == "f"
            known[id(value)] = value.constant.astype(np.float64) if wide else value.constant
    for node in graph.nodes:
        inputs = [None if v is None else known[id(v)] for v in node.inputs]
        with np.errstate(all="ignore"):
            results = reference_of(node, inputs)
        known |= {id(v): y for v, y in zip(node.outputs, results, strict=False)}
    return known[id(graph.outputs[0])]
