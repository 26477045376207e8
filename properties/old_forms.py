"""Nodes of older opsets: what is imported computes what ONNX's text says of the form it had.

Drawn on empty tensors, scalars and up to six axes, with infinities and NaN among the elements,
attributes left out or not. Formulas are NumPy's; the newest forms are not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from engine.errors import ParallaxError
from engine.ir import Graph
from engine.onnx_import import load_model
from engine.ops.compose import reference_of
from properties.choose import SeededChoose
from properties.memory import Violation

Array = np.ndarray
FLOAT_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class OldForm:
    """An operator of one input as an older opset has it.

    Attributes:
        opsets: first and last with this form.
        least: the lowest rank that it takes.
        draw: attributes for a shape.
        formula: of float64 and the attributes.
    """

    op_type: str
    opsets: tuple[int, int]
    formula: Callable[[Array, Mapping[str, Any]], Array]
    draw: Callable[[SeededChoose, tuple[int, ...]], dict[str, Any]]
    least: int = 0


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


OLD_FORMS = (
    OldForm("Clip", (6, 10), _clip, _draw_clip),
    OldForm("Softmax", (1, 12), _softmax, _draw_axis, least=2),
    OldForm("LogSoftmax", (1, 12), lambda x, a: np.log(_softmax(x, a)), _draw_axis, least=2),
    OldForm("ReduceSum", (1, 12), _sum, _draw_axes),
    OldForm("Unsqueeze", (1, 12), _unsqueeze, _draw_new_axes),
    OldForm("Pad", (2, 10), _pad, _draw_pads, least=1),
)
SIDES = (2, 1, 3, 0, 5)


def check_old_form(seed: int) -> None:
    """One drawn node; raises Violation where it computes something else."""
    choose = SeededChoose(seed)
    form = choose.one_of(OLD_FORMS)
    opset = choose.integer(*form.opsets)
    shape = tuple(choose.one_of(SIDES) for _ in range(choose.integer(form.least, 6)))
    attributes = form.draw(choose, shape)
    x = choose.tensor(shape, np.dtype(np.float32))
    if form.op_type == "Clip" and x.size:
        x.flat[0] = choose.one_of((np.inf, -np.inf, np.nan))
    want = form.formula(x.astype(np.float64), attributes)
    try:
        got = _evaluated(_imported(form.op_type, opset, shape, attributes), x)
    except ParallaxError as error:
        raise Violation(f"{form.op_type} of opset {opset} on {shape}: {error}") from error
    if got.shape != want.shape or not np.allclose(got, want, 1e-9, 1e-9, equal_nan=True):
        raise Violation(
            f"{form.op_type} of opset {opset} {attributes} on {shape}: got {got.shape} "
            f"{got.ravel()[:4]}, expected {want.shape} {want.ravel()[:4]}"
        )


def _imported(op_type: str, opset: int, shape: tuple[int, ...], attributes: Any) -> Graph:
    node = helper.make_node(op_type, ["x"], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info("y")],
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=4)
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
