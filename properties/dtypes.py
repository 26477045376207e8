"""Calls at other dtypes, along the type parameters of ONNX's schemas."""

from __future__ import annotations

from functools import cache

import numpy as np
from onnx import defs

from engine.ir.types import NARROW, STRING
from engine.onnx_import.facts import BY_SCHEMA_NAME
from engine.ops import OPERATORS
from engine.ops.spec import Call
from engine.ops.strings import array_of


def newest_schema(op_type: str) -> defs.OpSchema:
    """ONNX's schema of an operator that has a specification, in the newest opset."""
    return defs.get_schema(op_type, OPERATORS[op_type].domain)


def as_dtype(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Elements at another dtype: numbers as text, texts as their lengths."""
    if dtype == STRING:
        return x if x.dtype == STRING else array_of(map(str, x.ravel().tolist()), x.shape)
    if x.dtype == STRING:
        x = np.array([len(text) for text in x.flat], np.int64).reshape(x.shape)
    if {x.dtype, dtype} <= NARROW:  # ml_dtypes does not convert between all of its own
        x = x.astype(np.float32)
    return x.astype(dtype)


def variables(op_type: str) -> dict[str, list[np.dtype]]:
    """Type parameter of an input -> the dtypes it may be, of those that Parallax has."""
    schema = newest_schema(op_type)
    given = {i.type_str for i in schema.inputs}
    return {
        t.type_param_str: [BY_SCHEMA_NAME[n] for n in t.allowed_type_strs if n in BY_SCHEMA_NAME]
        for t in schema.type_constraints
        if t.type_param_str in given
    }


def variable_dtype(op_type: str, call: Call, variable: str) -> np.dtype | None:
    """What a type parameter is in a call; None where no input that it has is there."""
    for x, name in zip(call.inputs, _parameters(op_type, len(call.inputs)), strict=False):
        if x is not None and name == variable:
            return x.dtype
    return None


def retyped(op_type: str, call: Call, variable: str, dtype: np.dtype) -> Call:
    """The call with that dtype wherever the schema names that parameter."""
    with np.errstate(all="ignore"):
        inputs = tuple(
            as_dtype(x, dtype) if x is not None and name == variable else x
            for x, name in zip(call.inputs, _parameters(op_type, len(call.inputs)), strict=False)
        )
    return Call(inputs, call.attributes)


@cache
def _parameters(op_type: str, count: int) -> list[str]:
    """The type parameter of each input; a variadic one repeats the last."""
    given = [i.type_str for i in newest_schema(op_type).inputs]
    return given + given[-1:] * (count - len(given))
