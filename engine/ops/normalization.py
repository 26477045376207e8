"""BatchNormalization (inference) and the normalizations by statistics of the input's own rows.

Sources: https://onnx.ai/onnx/operators/ for the formulas; `numerics.sum_of_products` for the sums.
A *row* is what one mean and one variance are taken over. Kernels take the mean in two steps
(Bjorck's corrected two-pass algorithm; Chan, Golub, LeVeque, "Algorithms for computing the sample
variance", 1983): m0 = sum x / n, then c = sum (x - m0) / n, variance = sum (x - m0)^2 / n - c^2 and
d = (x - m0) - c. So a mean of 1,000 with a deviation of 0.01 costs no digits. No kernel computes in
half (`reduce.accumulated`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import DOUBLE, FLOAT, FLOAT16, FLOATS, TensorType, dtype_name
from engine.ops.numerics import (
    Error,
    Units,
    finite,
    magnified,
    propagate,
    rounded,
    sum_of_products,
    where_sums_fit,
)
from engine.ops.operands import check_dtype, tensor
from engine.ops.reduce import accumulated, normal_axis
from engine.ops.spec import (
    HERE,
    Arrays,
    Attributes,
    Call,
    Choose,
    Growth,
    Known,
    Operand,
    OpSpec,
    Reject,
)

Array = np.ndarray
Rows = tuple[Array, Array, Array]
"""x as (rows, n), and scale and bias that broadcast to it."""


def float_input(op_type: str, inputs: Sequence[Operand | None], rank: int) -> TensorType:
    """The type of x; raises ShapeError for fewer axes, UnsupportedError for another dtype."""
    x = tensor(op_type, inputs, 0, "x")
    check_dtype(op_type, x.dtype, FLOATS, "x")
    if len(x.shape) < rank:
        raise ShapeError(f"{op_type}: x is {x}, expected rank {rank} or more")
    return x


def _per_channel(op_type: str, inputs: Sequence[Operand | None], names: Sequence[str]) -> None:
    x = float_input(op_type, inputs, 2)
    for name, operand in zip(names, inputs[1:], strict=False):
        if operand is None or operand.type.dims != (x.dims[1],):
            what = "missing" if operand is None else operand.type
            raise ShapeError(f"{op_type}: {name} is {what}, expected shape ({x.dims[1]},)")


def _one_dtype(op_type: str, inputs: Sequence[Operand | None]) -> None:
    """ONNX has one type parameter for all inputs of these."""
    names = {dtype_name(operand.type.dtype) for operand in inputs if operand is not None}
    if len(names) > 1:
        raise ShapeError(f"{op_type}: inputs are {' and '.join(sorted(names))}, expected one dtype")


def epsilon_of(attributes: Attributes) -> float:
    """The attribute as ONNX holds it: a float, also for double tensors."""
    return float(np.float32(attributes.get("epsilon", 1e-5)))


# ------------------------------------------------------------------------- rows
def normalized(rows: Rows, epsilon: float) -> tuple[Array, Array, Array]:
    """(y, mean, 1 / sqrt(variance + epsilon)) in float64; the mean in two steps."""
    x, scale, bias = rows
    with np.errstate(all="ignore"):
        mean = _mean(x)
        rest = _mean(x - mean)
        d, mean = (x - mean) - rest, mean + rest
        inverse = 1 / np.sqrt(_mean(d * d) + epsilon)
        return d * inverse * scale + bias, mean, inverse


def _mean(rows: Array) -> Array:
    """Of every row, (rows, 1); NaN of empty ones, in silence (np.mean warns)."""
    mean: Array = np.sum(rows, axis=1, keepdims=True) / rows.shape[1]
    return mean


def normalized_error(rows: Rows, epsilon: float, units: Units) -> tuple[Error, Error, Error]:
    """First-order errors of (y, mean, inverse) of the corrected two-pass algorithm.

    m0 is off the mean by at most C (the error of its sum). Then, u the unit roundoff:
    - c = sum d0 / n, |d0| <= |d| + C: E_c, the error of that sum, with d0 rounded once;
    - d = d0 - c: u|d0| + u|d| + E_c;
    - v = sum d0^2 / n - c^2: the error of that sum (its terms rounded three times), + 2 C E_c;
    - r = (v + eps)^(-1/2): relative E_v / (2 (v + eps)) + u, and rsqrt's ULP row;
    - y = d r g + b: |g| r E_d, then |d r g| times the relative error of r, two products, one sum.
    sigma takes C at three times its RMS, and the roundings of d0 as equal: constant rows and whole
    numbers make these errors systematic.
    """
    x, scale, _ = rows
    y, mean, inverse = normalized(rows, epsilon)
    inner, u, n = units.without_storage(), units.u_compute, max(x.shape[1], 1)
    divide = 2 * units.ulps("divide")

    def mean_of(terms: Array, size: Array, more: float) -> Error:
        t, s = finite(terms) / n, finite(size) / n
        error = sum_of_products(
            np.sum(t, axis=1, keepdims=True), np.sum(s * s, axis=1, keepdims=True),
            np.sum(s, axis=1, keepdims=True), n, inner,
        )  # fmt: skip
        worst = u * (divide * finite(np.sum(t, axis=1, keepdims=True)))
        total = u * more * np.sum(s, axis=1, keepdims=True)
        sigma = np.sqrt(error.sigma**2 + (worst**2 + total**2) / 3)
        return Error(sigma, error.bound + worst + total)

    first = mean_of(x, x, 0)
    results: list[tuple[Array, Array]] = []
    for c, kind in ((3 * first.sigma, "sigma"), (first.bound, "bound")):
        d = finite(x - mean)
        d0 = d + c
        e_c = getattr(mean_of(c + 0 * d, d0, 1), kind)
        e_d = np.hypot(u * np.hypot(d0, d) / np.sqrt(3), e_c)
        e_v = getattr(mean_of(d0 * d0, d0 * d0, 3), kind) + 2 * c * e_c + u * c * c
        relative = e_v * finite(inverse) ** 2 / 2 + u
        slope = finite(scale * inverse)
        if kind == "sigma":
            relative = np.hypot(relative, u * (2 * units.ulps("rsqrt") + 1) / np.sqrt(3))
            products = d * slope * np.hypot(relative, u)
            local = magnified(y, finite(y), units).sigma
            results.append((np.sqrt((slope * e_d) ** 2 + products**2 + local**2), relative))
        else:
            relative = relative + u * (2 * units.ulps("rsqrt") + 1)
            e_d = u * (d0 + d) + e_c
            products = d * slope * (relative / (1 - np.minimum(relative, 0.5)) + 2 * u)
            local = magnified(y, finite(y), units).bound
            results.append(((slope * e_d + products) * (1 + 16 * u) + local, relative))
    (sigma, r_sigma), (bound, r_bound) = results
    stored = magnified(mean, finite(mean), units)
    of_mean = Error(np.hypot(first.sigma, stored.sigma), first.bound + stored.bound)
    kept = magnified(inverse, finite(inverse), units)
    a = finite(inverse)
    of_inverse = Error(np.hypot(a * r_sigma, kept.sigma), 2 * a * r_bound + kept.bound)
    squares = np.sum((finite(x) + finite(mean)) ** 2, axis=1, keepdims=True)
    sums = np.maximum(squares, np.sum(finite(x), axis=1, keepdims=True))
    errors = (Error(sigma, bound), of_mean, of_inverse)
    return tuple(where_sums_fit(e, sums, n, units) for e in errors)  # type: ignore[return-value]


def _shaped(error: Error, shape: Sequence[int]) -> Error:
    return Error(error.sigma.reshape(shape), error.bound.reshape(shape))


# ------------------------------------------------------------------------- LayerNormalization
def _layer_rows(inputs: Arrays, attributes: Attributes) -> tuple[Rows, tuple[int, ...]]:
    x, scale, bias = (*inputs, None)[:3]
    assert x is not None
    assert scale is not None
    axis = normal_axis("LayerNormalization", int(attributes.get("axis", -1)), x.ndim)
    outer, inner = x.shape[:axis], x.shape[axis:]
    n = prod(inner)
    full = [np.broadcast_to(p, inner).reshape(1, n) for p in (scale, 0.0 if bias is None else bias)]
    return (x.reshape(prod(outer), n), full[0], full[1]), (*outer, *[1] * len(inner))


def _infer_layer(inputs: Sequence[Operand | None], a: Attributes) -> tuple[TensorType, ...]:
    x = float_input("LayerNormalization", inputs, 1)
    _one_dtype("LayerNormalization", inputs)
    axis = normal_axis("LayerNormalization", int(a.get("axis", -1)), len(x.shape))
    inner = x.dims[axis:]
    for name, operand in zip(("scale", "bias"), inputs[1:], strict=False):
        if operand is None:
            continue
        shape = operand.type.dims
        try:
            fits = np.broadcast_shapes(shape, inner) == inner
        except ValueError:
            fits = False
        if not fits:
            raise ShapeError(
                f"LayerNormalization: {name} has shape {shape}, expected {inner} "
                f"(axis={axis} of an input of shape {x.dims})"
            )
    if a.get("stash_type", 1) != 1:
        raise UnsupportedError(f"LayerNormalization: stash_type={a['stash_type']}, expected 1")
    statistics = TensorType(FLOAT, (*x.dims[:axis], *[1] * len(inner)))
    return (x, statistics, statistics)


def _layer(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    rows, shape = _layer_rows(inputs, attributes)
    y, mean, inverse = normalized(rows, epsilon_of(attributes))
    x = inputs[0]
    assert x is not None
    return y.reshape(x.shape), mean.reshape(shape), inverse.reshape(shape)


def _layer_error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    rows, shape = _layer_rows(inputs, attributes)
    with np.errstate(all="ignore"):
        errors = normalized_error(rows, epsilon_of(attributes), accumulated(units))
    x = inputs[0]
    assert x is not None
    mean, inverse = _shaped(errors[1], shape), _shaped(errors[2], shape)
    if units.compute == DOUBLE:  # Mean and InvStdDev are float all the same (stash_type 1)
        stored = [rounded(s, Units(FLOAT, FLOAT)) for s in _layer(inputs, attributes)[1:]]
        mean, inverse = propagate(stored[0], (1, mean)), propagate(stored[1], (1, inverse))
    return _shaped(errors[0], x.shape), mean, inverse


def hard_rows(choose: Choose, shape: Sequence[int]) -> Array:
    """Ordinary values, a large offset with a small deviation, constant rows, large values."""
    kind = choose.one_of(("plain", "offset", "constant", "large"))
    dtype = choose.one_of((FLOAT, FLOAT, FLOAT16, DOUBLE))
    if kind == "offset":
        return (choose.tensor(shape, DOUBLE, -0.01, 0.01) + 1000.0).astype(dtype)
    if kind == "constant":
        return np.full(shape, 1000.0 / 3, dtype)
    return choose.tensor(shape, dtype, *((-4.0, 4.0) if kind == "plain" else (-1000.0, 1000.0)))


def _layer_example(choose: Choose) -> Call:
    shape = choose.shape((1, 4))
    axis = choose.integer(0, len(shape) - 1)
    x = hard_rows(choose, shape)
    scale = choose.tensor(shape[axis:], x.dtype, -2.0, 2.0)
    bias = (choose.tensor(shape[axis:], x.dtype),) if choose.integer(0, 1) else ()
    epsilon = {"epsilon": choose.one_of((1e-12, 1e-6))} if choose.integer(0, 1) else {}
    return Call((x, scale, *bias), {"axis": axis - len(shape) * choose.integer(0, 1), **epsilon})


def _layer_grow(choose: Choose, x: TensorType) -> Growth | None:
    if x.dtype not in FLOATS or not x.shape:
        return None
    inner = x.dims[-1:]
    scale, bias = choose.tensor(inner, x.dtype, -2.0, 2.0), choose.tensor(inner, x.dtype)
    return Growth((HERE, scale, bias) if choose.integer(0, 1) else (HERE, scale), {"axis": -1})


LAYER = OpSpec(
    "LayerNormalization",
    (2, 3),
    _infer_layer,
    _layer,
    _layer_error,
    _layer_example,
    grow=_layer_grow,
    edges=(
        lambda: Call((np.zeros((0, 4), "f4"), np.ones(4, "f4"))),
        lambda: Call((np.array([[1, np.nan, 2], [1, 2, np.inf]], "f4"), np.ones(3, "f4"))),
        lambda: Call((np.full((2, 768), 1000.0, "f4"), np.ones(768, "f4")), note="no variance"),
        lambda: Call((np.zeros((2, 0), "f4"), np.ones(0, "f4"), np.ones(0, "f4")), note="no terms"),
        lambda: Call(
            (np.array([[3e38, 3e38, 1], [1, 2e19, 0]], "f4"), np.ones(3, "f4")), note="huge"
        ),
    ),
    rejects=(
        Reject(
            "scale of another dtype",
            lambda: Call((np.zeros((2, 3), "f4"), np.ones(3, "f8"))),
            "inputs are float32 and float64",
        ),
        Reject(
            "scale of another shape",
            lambda: Call((np.zeros((2, 3), "f4"), np.ones(2, "f4"))),
            "scale has shape (2,)",
        ),
    ),
    flops=lambda inputs, outputs, _: 8 * outputs[0].size,
    reads=("axis", "epsilon", "stash_type"),
)


# ------------------------------------------------------------------------- RMSNormalization
RMS_DTYPES = frozenset((FLOAT, FLOAT16))
"""Doubles are cut to float by a stash_type of 1, which is left to ONNX's definition."""


def _infer_rms(inputs: Sequence[Operand | None], a: Attributes) -> tuple[TensorType, ...]:
    x = tensor("RMSNormalization", inputs, 0, "X", RMS_DTYPES)
    scale = tensor("RMSNormalization", inputs, 1, "scale", (x.dtype,))
    normal_axis("RMSNormalization", int(a.get("axis", -1)), len(x.shape))
    try:
        fits = np.broadcast_shapes(scale.dims, x.dims) == x.dims
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"RMSNormalization: scale has shape {scale.dims}, which does not broadcast to {x.dims}"
        )
    if a.get("stash_type", 1) != 1:
        raise UnsupportedError(f"RMSNormalization: stash_type={a['stash_type']}, expected 1")
    return (x,)


def _rms_axes(x: Array, attributes: Attributes) -> tuple[int, ...]:
    axis = normal_axis("RMSNormalization", int(attributes.get("axis", -1)), x.ndim)
    return tuple(range(axis, x.ndim))


def _mean_square(x: Array, axes: tuple[int, ...]) -> Array:
    """With extents of 1 on the axes; NaN of nothing."""
    mean: Array = np.sum(x * x, axis=axes, keepdims=True) / prod(x.shape[a] for a in axes)
    return mean


def _rms(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x, scale = inputs
    with np.errstate(all="ignore"):
        mean = _mean_square(x, _rms_axes(x, attributes))
        return (x / np.sqrt(mean + epsilon_of(attributes)) * scale,)


def _rms_error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """First-order in all but the root, u the unit roundoff.

    - m = sum x^2 / n: the error of that sum of products, and division's ULP row on it;
    - t = m + eps: E_t = E_m + u t;
    - r = t^(-1/2), decreasing and convex: relative 1 / sqrt(1 - E_t / t) - 1, which has no bound
      where E_t reaches t (squares that vanish beside an eps of 0), and rsqrt's ULP row;
    - y = x r g: |y| times that, two products, and |g| times the least number, as x r may vanish.
    sigma takes the roundings of squares as equal: in a constant row they are.
    """
    x, scale = inputs
    units = accumulated(units)
    inner, u, axes = units.without_storage(), units.u_compute, _rms_axes(x, attributes)
    with np.errstate(all="ignore"):
        n = max(prod(x.shape[a] for a in axes), 1)
        squares = finite(x) ** 2
        total = np.sum(squares, axis=axes, keepdims=True)
        of_sum = sum_of_products(
            total, np.sum(squares**2, axis=axes, keepdims=True), total, n, inner
        )
        t = total / n + epsilon_of(attributes)
        shared = u * (1 + 2 * units.ulps("divide")) * total / n + u * t
        e_sigma = np.hypot(of_sum.sigma / n, shared / np.sqrt(3)) / t
        e_bound = np.where(t > 0, (of_sum.bound / n + shared) / t, 0.0)
        root = u * 2 * units.ulps("rsqrt")
        y = finite(_rms(inputs, attributes)[0])
        stored = magnified(y, 2 * y, units)
        vanished = finite(scale) * inner.floor
        relative = np.hypot(np.where(t > 0, e_sigma, 0.0) / 2, root / np.sqrt(3))
        sigma = np.hypot(np.hypot(y * relative, stored.sigma), vanished)
        worst = 1 / np.sqrt(1 - np.minimum(e_bound, 1)) - 1 + root
        bound = np.where(e_bound < 1, y * worst * (1 + 8 * u), np.inf) + stored.bound + vanished
        error = Error(np.broadcast_to(sigma, y.shape), np.broadcast_to(bound, y.shape))
    return (where_sums_fit(error, total, n, units),)


def _rms_example(choose: Choose) -> Call:
    shape = choose.shape((1, 4))
    axis = choose.integer(0, len(shape) - 1)
    x = hard_rows(choose, shape)
    x = x.astype(FLOAT) if x.dtype == DOUBLE else x
    columns = [d if choose.integer(0, 3) else 1 for d in shape[choose.integer(0, len(shape)) :]]
    scale = choose.tensor(choose.one_of((shape[axis:], tuple(columns))), x.dtype, -2.0, 2.0)
    epsilon = {"epsilon": choose.one_of((1e-12, 0.5))} if choose.integer(0, 1) else {}
    return Call((x, scale), {"axis": axis - len(shape) * choose.integer(0, 1), **epsilon})


def _rms_grow(choose: Choose, x: TensorType) -> Growth | None:
    if x.dtype not in RMS_DTYPES or not x.shape:
        return None
    return Growth((HERE, choose.tensor(x.dims[-1:], x.dtype, -2.0, 2.0)), {"axis": -1})


def _rms_takes(inputs: Sequence[Known], _: int) -> bool:
    """Floats or halves."""
    return {known.dtype for known in inputs} <= RMS_DTYPES | {None}


RMS = OpSpec(
    "RMSNormalization",
    (2, 2),
    _infer_rms,
    _rms,
    _rms_error,
    _rms_example,
    grow=_rms_grow,
    edges=(
        lambda: Call((np.zeros((0, 4), "f4"), np.ones(4, "f4"))),
        lambda: Call((np.zeros((2, 0), "f4"), np.ones(0, "f4")), note="no terms"),
        lambda: Call((np.array([[1, np.nan, 2], [1, 2, np.inf]], "f4"), np.ones(3, "f4"))),
        lambda: Call((np.zeros((2, 3), "f4"), np.ones(3, "f4")), note="zeros"),
        lambda: Call((np.zeros((2, 3), "f4"), np.ones(3, "f4")), {"epsilon": 0.0}, "0 by 0"),
        lambda: Call((np.array([[3e38, 1], [2e19, 0]], "f4"), np.ones(2, "f4")), note="huge"),
        lambda: Call((np.full((2, 768), 1000.0, "f2"), np.ones(768, "f2")), note="half's squares"),
        lambda: Call((np.full((2, 3, 17), 2.0, "f4"), np.array([[[2]], [[3]]], "f4"))),
    ),
    rejects=(
        Reject(
            "scale of another dtype",
            lambda: Call((np.zeros((2, 3), "f4"), np.ones(3, "f8"))),
            "scale of dtype float64 is not supported, only float32",
        ),
        Reject(
            "scale of more axes",
            lambda: Call((np.zeros((2, 3), "f4"), np.ones((4, 2, 3), "f4"))),
            "scale has shape (4, 2, 3), which does not broadcast to (2, 3)",
        ),
        Reject(
            "axis out of range",
            lambda: Call((np.zeros((2, 3), "f4"), np.ones(3, "f4")), {"axis": 2}),
            "axis=2 is outside [-2, 1]",
        ),
    ),
    flops=lambda inputs, outputs, _: 4 * outputs[0].size,
    reads=("axis", "epsilon", "stash_type"),
    defined={"stash_type": (10, 11, 16)},  # half, double and bfloat16
    takes=_rms_takes,
)


# ------------------------------------------------------------------------- by channel
@dataclass(frozen=True)
class ByChannel:
    """Instance- and GroupNormalization: rows are the groups of channels of one sample.

    Attributes:
        groups_of: number of groups from the attributes and the number of channels.
        attributes_of: draws attributes for a number of channels.
        reads: their names. ignores: see OpSpec.
    """

    op_type: str
    groups_of: Callable[[Attributes, int], int]
    attributes_of: Callable[[Choose, int], dict[str, int]]
    reads: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()

    def rows_of(self, inputs: Arrays, attributes: Attributes) -> Rows:
        """x by groups; scale and bias, one number a channel, repeated over its pixels."""
        x, scale, bias = inputs
        assert x is not None
        assert scale is not None
        assert bias is not None
        n, channels, pixels = x.shape[0], x.shape[1], prod(x.shape[2:])
        groups = self.groups_of(attributes, channels)
        rows, row = n * groups, channels // groups * pixels
        full = [
            np.broadcast_to(p[None, :, None], (n, channels, pixels)).reshape(rows, row)
            for p in (scale, bias)
        ]
        return x.reshape(rows, row), full[0], full[1]

    def infer_types(self, inputs: Sequence[Operand | None], a: Attributes) -> tuple[TensorType]:
        """The type of x."""
        _per_channel(self.op_type, inputs, ("scale", "bias"))
        _one_dtype(self.op_type, inputs)
        x = float_input(self.op_type, inputs, 2)
        groups, channels = self.groups_of(a, x.dims[1]), x.dims[1]
        if not 1 <= groups <= max(channels, 1) or channels % groups:
            raise ShapeError(
                f"{self.op_type}: num_groups={groups} does not divide {channels} channels"
            )
        return (x,)

    def reference(self, inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
        """`normalized`."""
        y = normalized(self.rows_of(inputs, attributes), epsilon_of(attributes))[0]
        return (y.reshape(np.shape(inputs[0])),)

    def error_model(
        self, inputs: Arrays, attributes: Attributes, units: Units
    ) -> tuple[Error, ...]:
        """`normalized_error`."""
        rows, epsilon = self.rows_of(inputs, attributes), epsilon_of(attributes)
        with np.errstate(all="ignore"):
            error = normalized_error(rows, epsilon, accumulated(units))[0]
        return (_shaped(error, np.shape(inputs[0])),)

    def grow(self, choose: Choose, x: TensorType) -> Growth | None:
        """Drawn scale and bias."""
        if x.dtype not in FLOATS or len(x.shape) < 3:
            return None
        channels = x.dims[1:2]
        scale, bias = choose.tensor(channels, x.dtype, -2.0, 2.0), choose.tensor(channels, x.dtype)
        return Growth((HERE, scale, bias), self.attributes_of(choose, channels[0]))

    def example(self, choose: Choose) -> Call:
        """Hard rows."""
        shape = choose.shape((3, 5), 17)
        x = hard_rows(choose, shape)
        scale, bias = choose.tensor(shape[1:2], x.dtype), choose.tensor(shape[1:2], x.dtype)
        return Call((x, scale, bias), self.attributes_of(choose, shape[1]))


def _with_parameters(by: ByChannel, x: Array, groups: int, channels: int = 2) -> Call:
    attributes = {"num_groups": groups} if "num_groups" in by.reads else {}
    return Call((x, *[np.ones(channels, "f4")] * 2), attributes)


def spec_of(by: ByChannel) -> OpSpec:
    """The operator of a rule that groups channels."""
    return OpSpec(
        by.op_type,
        (3, 3),
        by.infer_types,
        by.reference,
        by.error_model,
        by.example,
        grow=by.grow,
        reads=("epsilon", *by.reads),
        ignores=by.ignores,
        edges=(
            lambda: _with_parameters(by, np.full((1, 2, 5), 7.0, "f4"), 1),
            lambda: _with_parameters(by, np.zeros((0, 2, 5), "f4"), 2),
            lambda: _with_parameters(by, np.zeros((3, 2, 0), "f4"), 1),
            lambda: _with_parameters(by, np.zeros((3, 0, 2), "f4"), 1, channels=0),
            lambda: _with_parameters(by, np.array([[[1, 3e38], [2, 2e19]]], "f4"), 2),
        ),
        rejects=(
            Reject(
                "scale of another dtype",
                lambda: Call((np.zeros((1, 2, 3), "f4"), np.ones(2, "f8"), np.ones(2, "f8"))),
                "inputs are float32 and float64",
            ),
            Reject(
                "scale of another length",
                lambda: _with_parameters(by, np.zeros((1, 3, 2), "f4"), 1),
                "expected shape (3,)",
            ),
        ),
        flops=lambda inputs, outputs, _: 8 * outputs[0].size,
    )


INSTANCE = spec_of(
    ByChannel("InstanceNormalization", lambda a, channels: max(channels, 1), lambda choose, n: {})
)
GROUP = spec_of(
    ByChannel(
        "GroupNormalization",
        lambda a, channels: int(a.get("num_groups", 1)),
        lambda choose, n: {
            "num_groups": choose.one_of([g for g in range(1, max(n, 1) + 1) if n % g == 0])
        },
        reads=("num_groups",),
        ignores=("stash_type",),  # how precise a mean is kept; ours is never less
    )
)


# ------------------------------------------------------------------------- BatchNormalization
def _infer_batch(inputs: Sequence[Operand | None], a: Attributes) -> tuple[TensorType, ...]:
    if a.get("training_mode", 0):
        raise UnsupportedError("BatchNormalization: training_mode=1; only inference is supported")
    _per_channel("BatchNormalization", inputs, ("scale", "bias", "mean", "variance"))
    return (float_input("BatchNormalization", inputs, 2),)


def _batch_parts(inputs: Arrays, attributes: Attributes) -> tuple[Array, Array]:
    """((x - mean) scale / sqrt(variance + epsilon), bias)."""
    x, scale, bias, mean, variance = (np.asarray(v) for v in inputs)
    column = (-1, *[1] * (x.ndim - 2))
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + epsilon_of(attributes))
        return (x - mean.reshape(column)) * factor.reshape(column), bias.reshape(column)


def _batch(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    product, bias = _batch_parts(inputs, attributes)
    return (product + bias,)


def _batch_error(inputs: Arrays, attributes: Attributes, units: Units) -> tuple[Error, ...]:
    """t = (x - m) s r, y = t + b: difference, v + eps (2 halved), rsqrt, two products."""
    product, bias = _batch_parts(inputs, attributes)
    y, units = product + bias, accumulated(units)
    worst = finite(product) * (4 + 2 * units.ulps("rsqrt")) + finite(y)
    return (magnified(y, worst, units),)


def _batch_parameters(choose: Choose, channels: int, dtype: np.dtype) -> tuple[Array, ...]:
    scale, bias, mean = (choose.tensor((channels,), dtype) for _ in range(3))
    return scale, bias, mean, choose.tensor((channels,), dtype, 0.0, 4.0)


def _batch_example(choose: Choose) -> Call:
    x = hard_rows(choose, choose.shape((2, 5), 17))
    epsilon = {"epsilon": 1e-3} if choose.integer(0, 1) else {}
    return Call((x, *_batch_parameters(choose, x.shape[1], x.dtype)), epsilon)


def _batch_grow(choose: Choose, x: TensorType) -> Growth | None:
    if x.dtype not in FLOATS or len(x.shape) < 2:
        return None
    return Growth((HERE, *_batch_parameters(choose, x.dims[1], x.dtype)))


BATCH = OpSpec(
    "BatchNormalization",
    (5, 5),
    _infer_batch,
    _batch,
    _batch_error,
    _batch_example,
    grow=_batch_grow,
    edges=(
        lambda: Call((np.array([[np.nan, np.inf]], "f4"), *[np.ones(2, "f4")] * 4)),
        lambda: Call((np.zeros((0, 2, 5), "f4"), *[np.ones(2, "f4")] * 4)),
        lambda: Call((np.zeros((3, 2, 0), "f4"), *[np.ones(2, "f4")] * 4)),
        lambda: Call((np.ones((1, 2, 5), "f4"), *[np.zeros(2, "f4")] * 4), note="no variance"),
        lambda: Call(
            (
                np.full((1, 2, 5), 1000.1, "f4"),
                *[np.ones(2, "f4")] * 2,
                *(np.array([1000.12345678912, 1000.01]), np.array([1e-4, 1e-3]) / 3),
            ),
            note="statistics in double",
        ),
    ),
    rejects=(
        Reject(
            "mean of another length",
            lambda: Call(
                (np.zeros((1, 2, 2), "f4"), *[np.ones(2, "f4")] * 2, *[np.ones(3, "f4")] * 2)
            ),
            "mean is float32[3]",
        ),
    ),
    flops=lambda inputs, outputs, _: 2 * outputs[0].size,
    reads=("epsilon", "training_mode"),
    ignores=("momentum",),  # of training
)

SPECS: tuple[OpSpec, ...] = (BATCH, LAYER, RMS, INSTANCE, GROUP)
