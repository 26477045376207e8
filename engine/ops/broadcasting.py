"""Elementwise operators of several tensors: NumPy's broadcasting, its types, how to draw it.

Source of the shape rule: https://onnx.ai/onnx/repo-docs/Broadcasting.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import (
    BOOL,
    DOUBLE,
    FLOAT,
    FLOAT16,
    FLOATS,
    INT32,
    INT64,
    INTEGERS,
    NUMERIC,
    TensorType,
    dtype_name,
)
from engine.ops.neighbours import NEIGHBOURS
from engine.ops.numerics import Error, Units, exact
from engine.ops.operands import check_dtype
from engine.ops.spec import (
    HERE,
    PEER,
    Arrays,
    Attributes,
    Call,
    Choose,
    Growth,
    Law,
    Operand,
    OpSpec,
    Reject,
    domain_of,
)

Array = np.ndarray
ErrorOf = Callable[[Sequence[Array], Array, Units], Error]
"""`error(values, y, units)` of a float result."""
DRAWN = (FLOAT, INT64, DOUBLE, INT32, FLOAT16, *sorted(INTEGERS - {INT32, INT64}, key=str))
HARD = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -3.0, 6e4, 1e-310)
"""The last is subnormal in double, and 0 in all others."""


def broadcast_shape(op_type: str, types: Sequence[TensorType]) -> tuple[int, ...]:
    """The common shape; raises ShapeError naming the shapes."""
    try:
        return np.broadcast_shapes(*(t.dims for t in types))
    except ValueError:
        shapes = " and ".join(str(t.dims) for t in types)
        raise ShapeError(f"{op_type}: shapes {shapes} do not broadcast together") from None


def present(op_type: str, inputs: Sequence[Operand | None]) -> list[TensorType]:
    """Types of all inputs, none of which may be omitted; raises ShapeError."""
    missing = [i for i, x in enumerate(inputs) if x is None]
    if missing or not inputs:
        raise ShapeError(f"{op_type}: input {missing[0] if missing else 0} is missing")
    return [x.type for x in inputs if x is not None]


def same_dtype(op_type: str, types: Sequence[TensorType], dtypes: frozenset[np.dtype]) -> np.dtype:
    """The one dtype of all inputs.

    Raises:
        ShapeError: they differ.
        UnsupportedError: it is not one of `dtypes`.
    """
    if any(t.dtype != types[0].dtype for t in types):
        names = sorted({dtype_name(t.dtype) for t in types})
        raise ShapeError(f"{op_type}: dtypes {' and '.join(names)} differ, expected one dtype")
    check_dtype(op_type, types[0].dtype, dtypes)
    return types[0].dtype


def exactly(values: Sequence[Array], y: Array, units: Units) -> Error:
    """No error."""
    return exact(y)[0]


def broadcastable(choose: Choose, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to `shape`: itself, with extents made 1, or leading axes dropped."""
    if choose.integer(0, 1) == 0:
        return shape
    kept = tuple(1 if choose.integer(0, 1) else extent for extent in shape)
    return kept[choose.integer(0, len(kept)) :]


def draw(choose: Choose, shape: Sequence[int], dtype: np.dtype, low: float, high: float) -> Array:
    """A tensor of any dtype; integers up to their ends, unsigned ones from 0, booleans fair."""
    if dtype == BOOL:
        return choose.tensor(shape, FLOAT, -1.0, 1.0) > 0
    return choose.tensor(shape, dtype, *domain_of(choose, dtype, low, high))


def _constant_shape(choose: Choose, shape: tuple[int, ...]) -> tuple[int, ...]:
    options: list[tuple[int, ...]] = [(), shape[-1:]]
    if len(shape) > 2:
        options.append((shape[1], *[1] * (len(shape) - 2)))
    return choose.one_of((*options, shape))


def _commutes() -> Law:
    def swap(call: Call) -> Call | None:
        return Call(call.inputs[::-1], call.attributes) if len(call.inputs) > 1 else None

    return Law("a op b = b op a", swap, lambda call, y: y)


@dataclass(frozen=True)
class Elementwise:
    """y = function(a, b, ...), all of one dtype; `error(values, y, units)` for float results.

    Attributes:
        predicate: the result is boolean.
        second: range of every input but the first.
        grows: whether random graphs use it.
    """

    op_type: str
    function: Callable[..., Array]
    error: ErrorOf = exactly
    _: KW_ONLY
    arity: tuple[int, int] = (2, 2)
    dtypes: frozenset[np.dtype] = NUMERIC
    predicate: bool = False
    second: tuple[float, float] = (-4.0, 4.0)
    slope: Callable[[Arrays, Attributes], tuple[Array | float, ...]] | None = None
    commutes: bool = False
    is_exact: bool = False
    grows: bool = True

    def infer_types(self, inputs: Sequence[Operand | None], _: Attributes) -> tuple[TensorType]:
        """The common dtype, or bool, and the common shape."""
        types = present(self.op_type, inputs)
        dtype = same_dtype(self.op_type, types, self.dtypes)
        shape = broadcast_shape(self.op_type, types)
        return (TensorType(BOOL if self.predicate else dtype, shape),)

    def reference(self, inputs: Arrays, _: Attributes) -> tuple[Array, ...]:
        """`function`, with NumPy's own broadcasting."""
        with np.errstate(all="ignore"):
            return (np.asarray(self.function(*inputs)),)

    def error_model(
        self, inputs: Arrays, attributes: Attributes, units: Units
    ) -> tuple[Error, ...]:
        """`error` of a float result; no error of integers and booleans."""
        (y,) = self.reference(inputs, attributes)
        if y.dtype != np.float64:
            return exact(y)
        with np.errstate(all="ignore"):
            return (self.error([x for x in inputs if x is not None], y, units),)

    def example(self, choose: Choose) -> Call:
        """Any number of inputs that broadcast to the first or, where it commutes, the last."""
        dtype = choose.one_of([d for d in (*DRAWN, BOOL) if d in self.dtypes])
        shape = choose.shape((0, 4))
        count = choose.integer(self.arity[0], min(self.arity[1], 4))
        others = (broadcastable(choose, shape) for _ in range(count - 1))
        tensors = [choose.mixed(draw(choose, shape, dtype, -4.0, 4.0), HARD)]
        tensors += [choose.mixed(draw(choose, o, dtype, *self.second), HARD) for o in others]
        if self.second[0] >= 0 and count == 2 and dtype not in FLOATS:
            tensors[1] = _without_zeros(tensors[1])
        if self.commutes and count == 2 and choose.integer(0, 1):
            tensors.reverse()
        return Call(tuple(tensors))

    def grow(self, choose: Choose, x: TensorType) -> Growth | None:
        """With another tensor of the graph, or with a constant that broadcasts to x."""
        if x.dtype not in self.dtypes or (self.predicate and x.dtype != BOOL) or not self.grows:
            return None
        if self.second == (-4.0, 4.0) and choose.integer(0, 1) == 0:
            return Growth((HERE, PEER))
        constant = draw(choose, _constant_shape(choose, x.dims), x.dtype, *self.second)
        if x.dtype not in FLOATS | {BOOL}:
            constant = _without_zeros(constant)
        swapped = self.commutes and choose.integer(0, 1)
        return Growth((constant, HERE) if swapped else (HERE, constant))


def _without_zeros(values: Array) -> Array:
    return np.where(values == 0, 1, values).astype(values.dtype)


def spec_of(elementwise: Elementwise) -> OpSpec:
    """The operator of a function of several numbers."""
    return OpSpec(
        elementwise.op_type,
        elementwise.arity,
        elementwise.infer_types,
        elementwise.reference,
        elementwise.error_model,
        elementwise.example,
        grow=elementwise.grow,
        is_exact=elementwise.is_exact,
        slope=elementwise.slope,
        edges=edges_of(elementwise.dtypes),
        rejects=rejects_of(elementwise.dtypes),
        laws=(NEIGHBOURS, _commutes()) if elementwise.commutes else (NEIGHBOURS,),
        flops=lambda inputs, outputs, _: outputs[0].size * (len(inputs) - 1),
    )


def edges_of(dtypes: frozenset[np.dtype]) -> tuple[Callable[[], Call], ...]:
    """Every pair of hard numbers (or of booleans), empty tensors, scalars, large integers."""
    hard = np.array(HARD)
    if BOOL in dtypes and FLOAT not in dtypes:
        table = np.array([False, True])
        return (lambda: Call((table[:, None], table)), lambda: Call((table[:0], table[:1])))
    if FLOAT not in dtypes:
        return tuple(partial(_pairs_of_integers, dtype) for dtype in sorted(dtypes, key=str))
    edges: list[Callable[[], Call]] = [
        lambda: Call((hard.astype("f4")[:, None], hard.astype("f4")), note="every pair"),
        *(partial(_pairs_in_lanes, hard, dtype) for dtype in (FLOAT, FLOAT16, DOUBLE)),
        lambda: Call((np.tile(hard.astype("f4"), 5), np.array(np.nan, "f4")), note="NaN beside"),
        lambda: Call((np.zeros((0, 3), "f4"), np.ones((1, 3), "f4")), note="empty"),
        lambda: Call((np.array(2.5, "f4"), np.array(-2.0, "f4")), note="rank 0"),
    ]
    if INT64 in dtypes:
        big = np.array([2**53 + 1, -(2**53) - 1, 7, -7], "i8")
        edges.append(lambda: Call((big[:, None], np.array([3, -3, 1], "i8")), note="beyond 2^53"))
    return tuple(edges)


def _pairs_of_integers(dtype: np.dtype) -> Call:
    """Every pair of small integers and of those at the limits, along more than a vector."""
    limits = np.iinfo(dtype)
    few = [n for n in (-9, -8, -3, -1, 0, 1, 2, 7, 8, 31, 32, 63) if n >= limits.min]
    hard = np.array([*few, limits.min, limits.max], dtype)
    return Call((np.repeat(hard, len(hard)), np.tile(hard, len(hard))), note=f"pairs of {dtype}")


def _pairs_in_lanes(hard: Array, dtype: np.dtype) -> Call:
    """Every pair once, along one axis that is longer than a vector."""
    a, b = np.repeat(hard, len(hard)), np.tile(hard, len(hard))
    return Call((a.astype(dtype), b.astype(dtype)), note="every pair, in lanes")


def rejects_of(dtypes: frozenset[np.dtype]) -> tuple[Reject, ...]:
    """Shapes that do not broadcast, and two dtypes in one call."""
    dtype = next(d for d in (FLOAT, BOOL, INT64) if d in dtypes)
    other = INT64 if dtype == FLOAT else FLOAT
    return (
        Reject(
            "shapes that do not broadcast",
            lambda: Call((np.zeros((2, 3), dtype), np.zeros(4, dtype))),
            "do not broadcast",
        ),
        Reject(
            "two dtypes",
            lambda: Call((np.zeros(3, dtype), np.zeros(3, other))),
            "differ",
        ),
    )
