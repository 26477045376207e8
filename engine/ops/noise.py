"""RandomUniformLike and RandomNormalLike: random numbers in the shape of x.

Source: https://onnx.ai/onnx/operators/. ONNX names no generator. This is NumPy's Mersenne Twister
(`numpy.random.RandomState`), as in onnx's evaluator: the numbers are a function of `seed` and of
how many there are, so that a run can be repeated, judged and compared. A node without a seed gets
one when the model is loaded. Numbers are scaled in double and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import DOUBLE, FLOAT, FLOAT16, FLOATS, INT32, TENSOR_DTYPES, TensorType
from engine.ops.cast import NUMBERS, target
from engine.ops.numerics import Error, Units, finite, quadrature
from engine.ops.operands import Operands, check_dtype, tensor, zeros
from engine.ops.spec import HERE, Arrays, Attributes, Call, Choose, Growth, OpSpec, Reject

Array = np.ndarray
Draw = Callable[[np.random.RandomState, tuple[int, ...]], Array]
SEEDS = 2**32


def seed_of(attributes: Attributes) -> int:
    """`seed` as the generator takes it: its whole part, modulo 2^32."""
    return int(attributes.get("seed", 0)) % SEEDS


def affine(op: str, attributes: Attributes) -> tuple[float, float]:
    """(offset, factor) that make a standard number one of the distribution."""
    if op == "RandomNormalLike":
        return float(attributes.get("mean", 0.0)), float(attributes.get("scale", 1.0))
    low, high = (float(attributes.get(k, v)) for k, v in (("low", 0.0), ("high", 1.0)))
    return low, high - low


def _infer(op: str, inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x = tensor(op, inputs, 0, "input", TENSOR_DTYPES)
    dtype = target({"to": attributes["dtype"]}, op) if "dtype" in attributes else x.dtype
    check_dtype(op, dtype, FLOATS, "output")
    if affine(op, attributes)[1] < 0:
        what = "scale" if op == "RandomNormalLike" else "high - low"
        raise ShapeError(f"{op}: {what}={affine(op, attributes)[1]}, expected 0 or more")
    return (TensorType(dtype, x.shape),)


def _reference(op: str, draw: Draw, inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    state = np.random.RandomState(seed_of(attributes))
    offset, factor = affine(op, attributes)
    return (offset + factor * draw(state, np.asarray(inputs[0]).shape),)


def _error(
    op: str, draw: Draw, inputs: Arrays, attributes: Attributes, units: Units
) -> tuple[Error, ...]:
    """A difference, a product and a sum in double, and one rounding to the dtype."""
    (y,) = _reference(op, draw, inputs, attributes)
    offset, factor = affine(op, attributes)
    wide = replace(units, compute=DOUBLE)
    inside = wide.u_compute * (3 * np.abs(y - offset) + np.abs(offset) + np.abs(factor))
    stored = wide.u_storage * finite(y)
    sigma = quadrature(inside, stored / np.sqrt(3), wide.floor)
    return (Error(sigma, inside + stored * (1 + 2.0**-10) + wide.floor),)


def _uniform(state: np.random.RandomState, shape: tuple[int, ...]) -> Array:
    return np.asarray(state.rand(*shape))


def _normal(state: np.random.RandomState, shape: tuple[int, ...]) -> Array:
    return np.asarray(state.randn(*shape))


_PARAMETERS = {"RandomUniformLike": ("low", "high"), "RandomNormalLike": ("mean", "scale")}


def _draw_attributes(op: str, choose: Choose) -> dict[str, float]:
    first, second = _PARAMETERS[op]
    attributes: dict[str, float] = {"seed": float(choose.integer(0, 1000))}
    if choose.integer(0, 1):
        attributes |= {first: choose.one_of((-1.0, 3.0)), second: choose.one_of((4.0, 3.5))}
    return attributes


def _example(op: str, choose: Choose) -> Call:
    x = choose.tensor(choose.shape((0, 4)), choose.one_of((FLOAT, DOUBLE, FLOAT16, INT32)))
    attributes = _draw_attributes(op, choose)
    if x.dtype == INT32 or choose.integer(0, 1):
        attributes["dtype"] = NUMBERS[choose.one_of((FLOAT, DOUBLE, FLOAT16))]
    return Call((x,), attributes)


def _grow(op: str, choose: Choose, x: TensorType) -> Growth | None:
    return Growth((HERE,), _draw_attributes(op, choose)) if x.dtype in FLOATS else None


def _spec(op: str, draw: Draw) -> OpSpec:
    first, second = _PARAMETERS[op]
    return OpSpec(
        op,
        (1, 1),
        partial(_infer, op),
        partial(_reference, op, draw),
        partial(_error, op, draw),
        partial(_example, op),
        grow=partial(_grow, op),
        edges=(
            lambda: Call((zeros(3, 17),), {"seed": 7.0}),
            lambda: Call((zeros(5),), {"seed": -1.0, first: 2.0, second: 2.0}),
            lambda: Call((zeros(0, 3),), {"seed": 2.0**32}),
            lambda: Call((zeros(),), {"seed": 1.0, "dtype": NUMBERS[DOUBLE]}),
        ),
        rejects=(
            Reject("integers", lambda: Call((np.ones(3, "i4"),)), "output of dtype int32"),
            Reject(
                "backwards", lambda: Call((zeros(3),), {first: 0.0, second: -1.0}), "=-1.0, exp"
            ),
        ),
        reads=("dtype", "seed", first, second),
    )


SPECS: tuple[OpSpec, ...] = (
    _spec("RandomUniformLike", _uniform),
    _spec("RandomNormalLike", _normal),
)
