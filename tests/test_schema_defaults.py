"""An attribute that is left out means what ONNX's schema says, at every opset and in every spec.

Walks `onnx.defs`: no default is repeated here. What the importer makes of a node without an
attribute must equal what it makes of one that spells out the default of that opset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import AttributeProto

from conformance.judge import float64_inputs
from engine.errors import ParallaxError
from engine.ir.constant import Constant
from engine.ir.graph import Value
from engine.ir.types import FLOAT, STRING, TensorType, type_of
from engine.onnx_import import OPSET_MAX
from engine.onnx_import.attributes import default_of, schema_of
from engine.onnx_import.form import Form
from engine.onnx_import.opsets import REWRITTEN_AWAY, RULES, to_newest
from engine.ops import OPERATORS
from engine.ops.spec import Call
from properties.choose import SeededChoose
from properties.single import Case, draw_case

pytestmark = pytest.mark.device_free

DRAWS = 12
X = TensorType(FLOAT, (1, 2, 4, 6))


def defaults_of(op_type: str, opset: int) -> dict[str, Any]:
    """Every attribute of a schema that has a default."""
    domain = OPERATORS[op_type].domain if op_type in OPERATORS else ""
    schema = schema_of(op_type, opset, domain)
    names = {} if schema is None else schema.attributes
    found = {n: default_of(op_type, opset, n, domain) for n in names}
    return {name: value for name, value in found.items() if value is not None}


# ---------------------------------------------------------------------- the importer
class Recorder:
    """An Emitter that makes values which tell how they came about."""

    def constant(self, name: str, array: np.ndarray) -> Value:
        return Value("constant", type_of(array), Constant(array))

    def emit(
        self, op_type: str, inputs: Sequence[Value | None], attributes: dict[str, Any]
    ) -> Value:
        return Value(repr((op_type, told(inputs), complete(op_type, attributes))))

    def rank(self, value: Value | None) -> int | None:
        return len(X.shape)

    def dtype(self, value: Value | None) -> np.dtype:
        return X.dtype

    def is_read(self, name: str) -> bool:
        return False


def told(values: Sequence[Value | None]) -> list[str | None]:
    return [
        None if v is None else repr((str(v.type), v.constant.tolist())) if v.is_constant else v.name
        for v in values
    ]


def complete(op_type: str, attributes: Mapping[str, Any]) -> dict[str, str]:
    """With the newest defaults of what is still left out."""
    everything = {**defaults_of(op_type, OPSET_MAX), **attributes}
    return {name: repr(value) for name, value in sorted(everything.items())}


DUMMIES = {
    AttributeProto.INT: 1,
    AttributeProto.FLOAT: 0.5,
    AttributeProto.STRING: "FLOAT",
    AttributeProto.INTS: (0,),
    AttributeProto.FLOATS: (1.0, 1.0, 2.0, 2.0),
}
"""Values of required attributes; "FLOAT" is a type to which opset 1 casts."""


def imported(op_type: str, opset: int, attributes: Mapping[str, Any]) -> object:
    """What becomes of a node of placeholders, or the words in which it is refused."""
    schema = schema_of(op_type, opset)
    assert schema is not None
    inputs: list[Value | None] = [Value(f"x{i}", X) for i in range(max(1, schema.min_input))]
    required = {n: DUMMIES[a.type.value] for n, a in schema.attributes.items() if a.required}
    form = Form(op_type, op_type, opset, inputs, ["y"], {**required, **attributes})
    try:
        to_newest(form, Recorder())
    except ParallaxError as error:
        return str(error)
    return form.op_type, told(form.inputs), form.outputs, complete(form.op_type, form.attributes)


def older_defaults() -> Iterator[tuple[str, int, str]]:
    """Every attribute with a default, at the first opset of each schema."""
    for op_type in sorted({*OPERATORS, *REWRITTEN_AWAY, *RULES} - {"Constant"}):
        for opset in range(1, OPSET_MAX + 1):
            schema = schema_of(op_type, opset)
            if schema is not None and schema.since_version == opset:
                yield from ((op_type, opset, name) for name in defaults_of(op_type, opset))


@pytest.mark.parametrize(("op_type", "opset", "name"), list(older_defaults()))
def test_the_importer_fills_in_the_default_of_the_opset(
    op_type: str, opset: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.randbelow", lambda most: 7)  # seeds that are left out
    default = defaults_of(op_type, opset)[name]
    assert imported(op_type, opset, {}) == imported(op_type, opset, {name: default})


def test_clip_has_the_finite_limits_of_opset_6_and_none_before() -> None:
    assert imported("Clip", 1, {}) == ("Clip", ["x0"], ["y"], {})
    _, inputs, _, _ = imported("Clip", 6, {"max": 2.0})  # type: ignore[misc]
    lowest = float(np.finfo(np.float32).min)
    assert inputs == ["x0", repr(("float32[]", lowest)), repr(("float32[]", 2.0))]


# ---------------------------------------------------------------------- specs
def computed(case: Case, attributes: Mapping[str, Any]) -> object:
    """Types and results by the spec, or the words in which it refuses the call."""
    spec, call = OPERATORS[case.op_type], Call(case.call.inputs, attributes)
    try:
        types = spec.infer_types(call.operands(case.constants), attributes)
        with np.errstate(all="ignore"):
            results = spec.reference(float64_inputs(call.inputs), attributes)
    except ParallaxError as error:
        return str(error)
    return types, [(r.shape, r.tolist() if r.dtype == STRING else r.tobytes()) for r in results]


SPECIFIED = [
    (op_type, name)
    for op_type in OPERATORS
    for name in defaults_of(op_type, OPSET_MAX)
]  # fmt: skip


@pytest.mark.parametrize(("op_type", "name"), SPECIFIED)
def test_a_spec_takes_the_default_of_the_newest_schema(op_type: str, name: str) -> None:
    default = defaults_of(op_type, OPSET_MAX)[name]
    for seed in range(DRAWS):
        case = draw_case(op_type, SeededChoose(seed))
        others = {k: v for k, v in case.call.attributes.items() if k != name}
        assert computed(case, others) == computed(case, {**others, name: default})
