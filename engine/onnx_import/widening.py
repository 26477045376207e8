"""Operators on narrow floats become operators on float, between a Cast there and one back.

So what ONNX allows of bfloat16 is computed in float and rounded once, whatever an operator is later
taken apart into, and no kernel but Cast knows the format (docs/decisions/0014).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from onnx import TensorProto, defs, helper, numpy_helper

from engine.errors import ModelError
from engine.ir.types import NARROW_FLOATS, dtype_name
from engine.onnx_import.attributes import schema_of
from engine.onnx_import.build import Builder
from engine.onnx_import.raw_node import RawNode
from engine.ops import OPERATORS
from engine.ops.cast import NUMBERS
from engine.ops.sequence import LAID_OUT

AS_THEY_ARE = frozenset(
    (
        *("BitCast", "Cast", "CastLike", "Constant", "EyeLike", "If", "Loop", "Scan"),
        *("QuantizeLinear", "DequantizeLinear", "QLinearMatMul", "QLinearConv"),
        *("Bernoulli", "RandomNormalLike", "RandomUniformLike"),
        *LAID_OUT,
    )
)
"""Operators to which the dtype itself matters, beside those that only move elements."""
CONSTANT_SIZE_MAX = 64
"""Constants of so many elements are converted at once: rules of the importer may look at them."""


class Widener:
    """Widens the nodes that are added to one graph."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._wide: dict[str, str] = {}

    def widen(self, node: RawNode) -> Iterator[RawNode]:
        """The node, or itself in float between Casts.

        Each node that is yielded is in the graph before the next is asked for.
        """
        schema = schema_of(node.op_type, node.opset, node.domain)
        narrow = {} if schema is None else self._narrow(node, schema)
        if schema is None or not narrow:
            yield node
            return
        inputs = list(node.inputs)
        for index, name in enumerate(inputs):
            if _variable(schema.inputs, index) in narrow and self._dtype(name) in NARROW_FLOATS:
                yield from self._wide_input(node, index, inputs)
        outputs, casts = list(node.outputs), []
        for index, name in enumerate(outputs):
            dtype = narrow.get(_variable(schema.outputs, index))
            if name and dtype is not None:
                outputs[index] = self._builder.fresh(f"{name}_float")
                casts.append(_cast(node, outputs[index], name, dtype))
        whole = replace(node, inputs=inputs, outputs=outputs)
        if casts:
            self._builder.replace(node, [whole, *casts])
        yield whole
        yield from casts

    def _narrow(self, node: RawNode, schema: defs.OpSchema) -> dict[str, np.dtype]:
        """Type variable of the schema -> the narrow dtype that it has, and may have."""
        spec = OPERATORS.get(node.op_type)
        if node.op_type in AS_THEY_ARE or (spec is not None and spec.moves):
            return {}
        if not any(self._dtype(name) in NARROW_FLOATS for name in node.inputs):
            return {}
        allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
        found: dict[str, np.dtype] = {}
        for index, name in enumerate(node.inputs):
            variable, dtype = _variable(schema.inputs, index), self._dtype(name)
            if (
                dtype is not None
                and dtype in NARROW_FLOATS
                and _onnx_name(dtype) in allowed.get(variable, ())
            ):
                found[variable] = dtype
        self._check_alike(node, schema, found)
        return found

    def _check_alike(
        self, node: RawNode, schema: defs.OpSchema, narrow: dict[str, np.dtype]
    ) -> None:
        """Raise ModelError for an input that its type variable has in another dtype."""
        for index, name in enumerate(node.inputs):
            formal = schema.inputs[min(index, len(schema.inputs) - 1)]
            dtype, expected = self._dtype(name), narrow.get(str(formal.type_str))
            if dtype is None or expected is None or not formal.is_homogeneous:
                continue
            if dtype != expected:
                raise ModelError(
                    f"{node.title}: {formal.name} is {dtype_name(dtype)} beside "
                    f"{dtype_name(expected)}, expected one dtype"
                )

    def _wide_input(self, node: RawNode, index: int, inputs: list[str]) -> Iterator[RawNode]:
        """Let one input be the float of what it was; a value is converted once for all readers."""
        name = inputs[index]
        known = self._wide.get(name)
        if known is None:
            known = self._wide[name] = self._builder.fresh(f"{name}_float")
            value = self._builder.find(name)
            constant = None if value is None else value.contents
            if constant is not None and constant.type.size <= CONSTANT_SIZE_MAX:
                made = _constant(node, constant.array.astype(np.float32), known)
            else:
                made = _cast(node, name, known, np.dtype(np.float32))
            self._builder.expect([made])
            yield made
        inputs[index] = known

    def _dtype(self, name: str) -> np.dtype | None:
        return self._builder.dtype(self._builder.find(name)) if name else None


def _variable(formals: object, index: int) -> str:
    """The type of a formal parameter; the last one may repeat."""
    given = list(formals)  # type: ignore[call-overload]
    return str(given[min(index, len(given) - 1)].type_str) if given else ""


def _onnx_name(dtype: np.dtype) -> str:
    return f"tensor({TensorProto.DataType.Name(NUMBERS[dtype]).lower()})"


def _cast(node: RawNode, source: str, target: str, dtype: np.dtype) -> RawNode:
    attributes = {"to": helper.make_attribute("to", NUMBERS[dtype])}
    return RawNode(f"{target}_cast", "Cast", "", "", [source], [target], attributes, node.opsets)


def _constant(node: RawNode, array: np.ndarray, target: str) -> RawNode:
    value = helper.make_attribute("value", numpy_helper.from_array(array))
    return RawNode(
        f"{target}_constant", "Constant", "", "", [], [target], {"value": value}, node.opsets
    )
