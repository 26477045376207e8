"""Calls at other dtypes, along the type parameters of ONNX's schemas."""

from __future__ import annotations

import numpy as np
from onnx import defs

from engine.onnx_import.facts import BY_SCHEMA_NAME
from engine.onnx_import.support import OPSET_MAX
from engine.ops.spec import Call


def variables(op_type: str) -> dict[str, list[np.dtype]]:
    """Type parameter of an input -> the dtypes it may be, of those that Parallax has."""
    schema = defs.get_schema(op_type, OPSET_MAX, "")
    given = {i.type_str for i in schema.inputs}
    return {
        t.type_param_str: [BY_SCHEMA_NAME[n] for n in t.allowed_type_strs if n in BY_SCHEMA_NAME]
        for t in schema.type_constraints
        if t.type_param_str in given
    }


def retyped(op_type: str, call: Call, variable: str, dtype: np.dtype) -> Call:
    """The call with that dtype wherever the schema names that parameter."""
    with np.errstate(all="ignore"):
        inputs = tuple(
            x.astype(dtype) if x is not None and name == variable else x
            for x, name in zip(call.inputs, _parameters(op_type, len(call.inputs)), strict=False)
        )
    return Call(inputs, call.attributes)


def _parameters(op_type: str, count: int) -> list[str]:
    """The type parameter of each input; a variadic one repeats the last."""
    given = [i.type_str for i in defs.get_schema(op_type, OPSET_MAX, "").inputs]
    return given + given[-1:] * (count - len(given))
