"""Every dtype that ONNX's schema allows is accepted or refused as what it is: valid, unsupported.

Walks `onnx.defs`: a dtype that the specification of an operator forgot must not be called an
error of the model's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from onnx import defs

from engine.errors import ModelError, ShapeError, UnsupportedError
from engine.interpreter import Interpreter
from engine.ir import Graph
from engine.ir.types import ALL_DTYPES, FLOAT, STRING, TensorType, dtype_name
from engine.ops import OPERATORS
from engine.ops.spec import Call
from engine.passes.evaluate import infer_node
from properties.choose import SeededChoose
from properties.dtypes import retyped, variables
from properties.single import draw_case
from tests.model_writing import model_bytes, node

pytestmark = pytest.mark.device_free

DRAWS = 6
FORBIDDEN = {
    "Mod": "fmod=0 is for integers only",
    "BitCast": "expected a type of",
    "LabelEncoder": "the keys are",
    "TfIdfVectorizer": "the pool is of",
    "TreeEnsemble": "expected one dtype",
}
"""What a schema allows and its text forbids: "If the input type is floating point, then `fmod`
attribute must be set to 1"; "The target type must have the same bit-width as the input type";
"input's element type and the element type of the specified 'keys_*' should be identical"; "If
pool_strings is set, the input must be a string tensor"; "Attribute 'nodes_splits' must have same
type as input"."""


def walk() -> Iterator[tuple[str, str, np.dtype]]:
    for op_type in OPERATORS:
        if defs.has(op_type, OPERATORS[op_type].domain):
            for variable, dtypes in variables(op_type).items():
                yield from ((op_type, variable, d) for d in dtypes if d in ALL_DTYPES | {STRING})


def refusal(op_type: str, call: Call) -> str | None:
    """What makes the call unsupported, or forbidden by the text; None where it is accepted."""
    spec = OPERATORS[op_type]
    try:
        spec.infer_types(call.operands(spec.constant_inputs), call.attributes)
    except UnsupportedError as error:
        return str(error)
    except ShapeError as error:
        if FORBIDDEN.get(op_type, "nothing") not in str(error):
            raise
        return FORBIDDEN[op_type]
    return None


@pytest.mark.parametrize(("op_type", "variable", "dtype"), list(walk()), ids=str)
def test_a_dtype_that_onnx_allows_is_accepted_or_unsupported(
    op_type: str, variable: str, dtype: np.dtype
) -> None:
    for seed in range(DRAWS):
        drawn = draw_case(op_type, SeededChoose(seed)).call
        call = retyped(op_type, drawn, variable, dtype)
        told = refusal(op_type, call)
        assert told in (None, FORBIDDEN.get(op_type)) or dtype_name(dtype) in told


@pytest.mark.device_free
def test_inputs_of_one_type_variable_have_one_dtype() -> None:
    """Of an operator that is taken apart."""
    fed = dict.fromkeys(("q", "k", "v", "past"), (1, 1, 2, 4))
    half = {"state": np.ones((1, 1, 2, 4), np.float16)}
    attention = node("Attention", "q k v - past state", "y past_next state_next")
    with pytest.raises(ModelError, match="past_value is float16 and V float32"):
        Interpreter.from_buffer(model_bytes([attention], fed, ["y"], half, opset=24))


def test_an_output_that_is_not_computed_is_unsupported() -> None:
    graph = Graph("two outputs")
    x = graph.add_input("x", TensorType(FLOAT, (4,)))
    call = graph.add_node("Relu", [x], ["y", "z"], name="twice")
    with pytest.raises(UnsupportedError, match="Relu 'twice': 2 outputs, only 1 are supported"):
        infer_node(call)
