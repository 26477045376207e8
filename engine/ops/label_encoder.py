"""LabelEncoder: each element is looked up in a table.

Source: https://onnx.ai/onnx/operators/onnx_aionnxml_LabelEncoder.html; the importer drops its
domain. A key of NaN is that of every NaN, in older opsets too, whose keys are compared by their
bits; 0 and -0 are one key. Of keys that are repeated the last counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import DOUBLE, FLOAT, FLOATS, INT32, INT64, STRING, TensorType, dtype_name
from engine.ops.operands import Operands, tensor, zeros
from engine.ops.spec import Arrays, Attributes, Call, Choose, OpSpec, Reject
from engine.ops.strings import WORDS, array_of, draw_strings, spec_of, strings

Array = np.ndarray
OP = "LabelEncoder"
DTYPES = frozenset({STRING, INT64, FLOAT, INT32, np.dtype(np.int16), DOUBLE})
KINDS: Mapping[str, np.dtype] = {"strings": STRING, "int64s": INT64, "floats": FLOAT}
"""Of attributes that are lists, by the end of their names."""
DEFAULTS: Mapping[str, Any] = {"string": "_Unused", "int64": -1, "float": -0.0}
"""Of what is in no table, by the end of the names of attributes."""


def column(name: str, attributes: Attributes) -> Array:
    """Keys or values; raises ShapeError unless they are given once, and as a list."""
    found = [
        np.array(attributes[f"{name}_{kind}"], dtype)
        for kind, dtype in KINDS.items()
        if f"{name}_{kind}" in attributes
    ]
    if f"{name}_tensor" in attributes:
        found.append(np.asarray(attributes[f"{name}_tensor"]))
    if len(found) != 1:
        raise ShapeError(f"{OP}: {name} are given by {len(found)} attributes, expected one")
    if found[0].ndim != 1 or found[0].dtype not in DTYPES:
        kind = f"{dtype_name(found[0].dtype)}{list(found[0].shape)}"
        raise ShapeError(f"{OP}: {name} are {kind}, expected a list")
    return found[0]


def values_dtype(attributes: Attributes) -> np.dtype | None:
    """Of the elements that come out; None where no values are given."""
    if "values_tensor" in attributes:
        return np.asarray(attributes["values_tensor"]).dtype
    return next((dtype for kind, dtype in KINDS.items() if f"values_{kind}" in attributes), None)


def default_of(dtype: np.dtype, attributes: Attributes) -> Array:
    """What elements become that are no key, as a scalar.

    Raises:
        ShapeError: default_tensor, which is that of values_tensor, is of another dtype, or no
            single element.
    """
    if "default_tensor" in attributes:
        given = np.asarray(attributes["default_tensor"])
        if given.dtype != dtype or given.size != 1:
            kind = f"{dtype_name(given.dtype)}{list(given.shape)}"
            raise ShapeError(f"{OP}: default_tensor is {kind}, expected one {dtype_name(dtype)}")
        return given.reshape(())
    kind = "string" if dtype == STRING else "float" if dtype in FLOATS else "int64"
    defaults = {**DEFAULTS, **_named(attributes)}
    return np.array(defaults[kind], dtype)


def _named(attributes: Attributes) -> dict[str, Any]:
    """Defaults that are given by the names of their kinds."""
    return {k: attributes[f"default_{k}"] for k in DEFAULTS if f"default_{k}" in attributes}


def table(attributes: Attributes) -> tuple[Array, Array, Array]:
    """Keys, values, and what else elements become; raises ShapeError."""
    keys, values = column("keys", attributes), column("values", attributes)
    if len(keys) != len(values):
        raise ShapeError(f"{OP}: {len(keys)} keys, {len(values)} values, expected as many")
    return keys, values, default_of(values.dtype, attributes)


def _infer(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x = tensor(OP, inputs, 0, "X", DTYPES)
    keys, values, _ = table(attributes)
    if x.dtype != keys.dtype:
        raise ShapeError(f"{OP}: X is {x}, the keys are {dtype_name(keys.dtype)}")
    return (TensorType(values.dtype, x.dims),)


def _encode(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    keys, values, default = table(attributes)
    x = np.asarray(inputs[0])
    found = {_key(k): v for k, v in zip(keys.tolist(), values.tolist(), strict=True)}
    encoded = [found.get(_key(element), default.item()) for element in x.ravel().tolist()]
    if values.dtype == STRING:
        return (array_of(encoded, x.shape),)
    dtype = np.dtype(np.float64) if values.dtype in FLOATS else values.dtype
    return (np.array(encoded, dtype).reshape(x.shape),)


def _key(element: Any) -> Any:
    """As Python compares it; every NaN is the same."""
    return None if element != element else element


# --------------------------------------------------------------------------- examples
COLUMNS: Mapping[str, Array] = {
    "strings": strings(*WORDS[:7]),
    "int64s": np.array([0, 3, -1, 2**53 + 1, 2, 7, 0], np.int64),
    "floats": np.array([0.5, np.nan, -2.0, np.inf, 3.0, 0.5, 1.0], np.float32),
}
TENSORS: Mapping[np.dtype, Array] = {
    np.dtype(np.int16): np.array([3, -1, 2, 0, 7, 3, 9], np.int16),
    INT32: np.array([2**31 - 1, 3, 1, 0, -(2**31), 2, 9], np.int32),
    DOUBLE: np.array([0.1, 2.0, np.nan, -1.0, 0.1, 4.0, 3.0]),
    STRING: COLUMNS["strings"],
}


def _drawn_column(choose: Choose, name: str) -> tuple[str, Any, np.dtype]:
    """An attribute, its value, and the dtype of the elements."""
    kind = choose.one_of((*KINDS, "tensor"))
    if kind == "tensor":
        dtype = choose.one_of(tuple(TENSORS))
        return f"{name}_tensor", TENSORS[dtype], dtype
    return f"{name}_{kind}", tuple(COLUMNS[kind].tolist()), KINDS[kind]


def _example(choose: Choose) -> Call:
    keys_name, keys, key_dtype = _drawn_column(choose, "keys")
    values_name, values, dtype = _drawn_column(choose, "values")
    attributes: dict[str, Any] = {keys_name: keys, values_name: values}
    if choose.integer(0, 1):
        if values_name == "values_tensor":
            attributes["default_tensor"] = np.array(["é" if dtype == STRING else 42], dtype)
        else:
            kind = values_name.removeprefix("values_").removesuffix("s")
            attributes[f"default_{kind}"] = {"string": "é", "int64": 42, "float": 1.5}[kind]
    return Call((_drawn_elements(choose, np.array(keys, key_dtype)),), attributes)


def _drawn_elements(choose: Choose, keys: Array) -> Array:
    """Keys, and others."""
    shape = choose.shape((0, 3), 9)
    if keys.dtype == STRING:
        return draw_strings(choose, shape)
    places = choose.tensor(shape, INT64, 0, len(keys))
    return np.asarray(np.append(keys, np.array([5], keys.dtype))[places])


def _call(x: Array, **attributes: Any) -> Call:
    return Call((x,), attributes)


_table = {"keys_strings": ("a", "b"), "values_int64s": (1, 2)}

SPECS: tuple[OpSpec, ...] = (
    spec_of(
        OP,
        1,
        _infer,
        _encode,
        _example,
        domain="ai.onnx.ml",
        edges=(
            partial(_call, strings("a", "c"), **_table),
            partial(_call, np.empty((0, 2), STRING), **_table),
            partial(_call, strings("a"), keys_strings=(), values_floats=()),
            partial(_call, strings("a"), keys_strings=("a", "a"), values_strings=("x", "y")),
            partial(
                _call,
                np.array([np.nan, -0.0, 0.0, np.inf], np.float32),
                keys_floats=(np.nan, 0.0),
                values_strings=("NaN", "zero"),
            ),
        ),
        rejects=(
            Reject("another dtype", partial(_call, zeros(2), **_table), "the keys are string"),
            Reject(
                "no values", partial(_call, strings("a"), keys_strings=("a",)), "given by 0 attrib"
            ),
            Reject(
                "two columns of keys",
                partial(_call, strings("a"), keys_int64s=(1, 2), **_table),
                "keys are given by 2 attributes",
            ),
            Reject(
                "one value too few",
                partial(_call, strings("a"), keys_strings=("a", "b"), values_int64s=(1,)),
                "2 keys, 1 values",
            ),
            Reject(
                "a default of another dtype",
                partial(_call, strings("a"), default_tensor=zeros(1), **_table),
                "expected one int64",
            ),
            Reject(
                "a scalar for keys",
                partial(_call, zeros(), keys_tensor=zeros(), values_int64s=(1,)),
                "expected a list",
            ),
        ),
        reads=tuple(
            sorted(
                {
                    *(f"{name}_{kind}" for name in ("keys", "values") for kind in KINDS),
                    *("keys_tensor", "values_tensor", "default_tensor"),
                    *(f"default_{kind}" for kind in DEFAULTS),
                }
            )
        ),
    ),
)
