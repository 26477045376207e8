"""Elementwise functions of one tensor: y_i = f(x_i), ONNX's activations among them.

Sources: https://onnx.ai/onnx/operators/ for the formulas; error rows from `numerics.ULPS`. Each
magnitude is the first-order error in units of u_c: |df/dq| |q| over the rounded quantities q.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import BOOL, DOUBLE, FLOAT, FLOATS, INT64, INTEGERS, TensorType, dtype_name
from engine.ops.neighbours import NEIGHBOURS
from engine.ops.numerics import Error, Units, exact, magnified
from engine.ops.operands import check_dtype
from engine.ops.spec import (
    HERE,
    Arrays,
    Attributes,
    Call,
    Choose,
    Growth,
    Operand,
    OpSpec,
    Reject,
    domain_of,
    example_by_growing,
)

Array = np.ndarray
SIGNED = FLOATS | {np.dtype(t) for t in (np.int8, np.int16, np.int32, np.int64)}


def _erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(x) if x.size else x.astype(np.float64)


def _sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        y: Array = 1.0 / (1.0 + np.exp(-x))
    return y


def typed(
    op_type: str, inputs: Sequence[Operand | None], dtypes: frozenset[np.dtype]
) -> TensorType:
    """The type of the first input.

    Raises:
        ShapeError: it is missing.
        UnsupportedError: its dtype is not one of `dtypes`.
    """
    first = inputs[0]
    if first is None:
        raise ShapeError(f"{op_type}: the first input is missing")
    check_dtype(op_type, first.type.dtype, dtypes)
    return first.type


def _booleans() -> Call:
    return Call((np.zeros((2, 3), np.bool_),))


def _floats() -> Call:
    return Call((np.zeros((2, 3), np.float32),))


INTEGER_EDGE = (0, 1, -1, 255, -256, 2**31, -(2**62))
"""Elements of functions of integers alone."""


@dataclass(frozen=True)
class Unary:
    """y = function(x, **attributes).

    Attributes:
        magnitude: `magnitude(x, y, units, **attributes)`: worst error of the compute format in
            units of u_c; None for an exact function.
        attributes: values of each attribute that examples draw; the first is its default.
        domain: range of the examples.
        divisor: the attribute that the formula divides by, hence not 0.
        slope: greatest |dy/dx|; None where there is none.
        only, defined: attributes of ONNX's of which kernels know one value; see OpSpec.
        exact_at_infinity: whether infinities give numbers that every format holds; C99 (F.9), by
            which OpenCL C goes, says which, and no row of a table applies.
        edge: elements that must work, alone and in vectors with others, with the default
            attributes and with the last ones.
    """

    op_type: str
    function: Callable[..., Array]
    magnitude: Callable[..., Array | float] | None = None
    _: KW_ONLY
    attributes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    dtypes: frozenset[np.dtype] = FLOATS
    out_dtype: np.dtype | None = None
    domain: tuple[float, float] = (-8.0, 8.0)
    divisor: str | None = None
    slope: float | Callable[[Attributes], float] | None = None
    is_exact: bool = False
    exact_at_infinity: bool = False
    only: Attributes = field(default_factory=dict)
    defined: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    edge: tuple[float, ...] = (0.0, -0.0, np.inf, -np.inf, np.nan, 88.8, -104.0, 0.3, 1e10)

    def parameters(self, attributes: Attributes) -> dict[str, float]:
        """All attributes as ONNX holds them: floats, also for double tensors."""
        given = {k: attributes.get(k, values[0]) for k, values in self.attributes.items()}
        return {k: float(np.float32(v)) for k, v in given.items()}

    def infer_types(
        self, inputs: Sequence[Operand | None], attributes: Attributes
    ) -> tuple[TensorType]:
        """The shape of x; attributes that are not finite leave 0 * inf and inf - inf to chance."""
        x = typed(self.op_type, inputs, self.dtypes)
        for name, value in self.parameters(attributes).items():
            if not math.isfinite(value):
                raise ShapeError(f"{self.op_type}: {name}={value}, expected a finite number")
            if name == self.divisor and value == 0:
                raise ShapeError(f"{self.op_type}: {name}=0, by which its formula divides")
        return (TensorType(self.out_dtype or x.dtype, x.shape),)

    def reference(self, inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
        """`function` of every element."""
        with np.errstate(all="ignore"):
            return (np.asarray(self.function(inputs[0], **self.parameters(attributes))),)

    def error_model(
        self, inputs: Arrays, attributes: Attributes, units: Units
    ) -> tuple[Error, ...]:
        """`magnitude` of a float result."""
        (y,) = self.reference(inputs, attributes)
        if self.magnitude is None or y.dtype != np.float64:
            return exact(y)
        with np.errstate(all="ignore"):
            worst = self.magnitude(inputs[0], y, units, **self.parameters(attributes))
        error = magnified(y, np.broadcast_to(worst, y.shape), units)
        if self.exact_at_infinity:
            is_end = np.isinf(inputs[0])
            error = Error(np.where(is_end, 0.0, error.sigma), np.where(is_end, 0.0, error.bound))
        return (error,)

    def draw_attributes(self, choose: Choose) -> dict[str, float]:
        """Each left out, or one of its values."""
        drawn = {k: choose.one_of((None, *values)) for k, values in self.attributes.items()}
        return {k: v for k, v in drawn.items() if v is not None}

    def grow(self, choose: Choose, x: TensorType) -> Growth | None:
        """Where values of the graph lie in the domain."""
        if x.dtype not in self.dtypes or self.out_dtype is not None or self.domain[0] > -1:
            return None
        return Growth((HERE,), self.draw_attributes(choose))

    def example(self, choose: Choose) -> Call:
        """Floats in the domain, integers, or booleans."""
        shape = choose.shape((0, 4))
        if BOOL in self.dtypes:
            return Call((choose.tensor(shape, FLOAT, -1.0, 1.0) > 0,))
        dtype = choose.one_of(sorted(self.dtypes, key=lambda d: (d != FLOAT, str(d))))
        x = choose.tensor(shape, dtype, *domain_of(choose, dtype, *self.domain))
        return Call((choose.mixed(x, self.edge),), self.draw_attributes(choose))

    def slopes(self, _: Arrays, attributes: Attributes) -> tuple[float, ...]:
        """`slope` as an OpSpec gives it."""
        assert self.slope is not None
        return (self.slope(attributes) if callable(self.slope) else self.slope,)


def parameters_of(op_type: str, attributes: Attributes) -> dict[str, float]:
    """The attributes of a function of one number, defaults filled in; none of other operators."""
    return next((u.parameters(attributes) for u in FUNCTIONS if u.op_type == op_type), {})


def _attribute_rejects(unary: Unary) -> Iterator[Reject]:
    """Values that attributes cannot have."""
    zeros: Array = np.zeros(2, _simplest(unary.dtypes))
    for name in unary.attributes:
        for value in (math.inf, math.nan, 0.0) if name == unary.divisor else (math.inf, math.nan):
            call = Call((zeros,), {name: value})
            yield Reject(f"{name} {value}", partial(_given, call), f"{name}=")


def _given(call: Call) -> Call:
    return call


def _simplest(dtypes: frozenset[np.dtype]) -> np.dtype:
    return next(d for d in (FLOAT, BOOL, INT64) if d in dtypes)


def spec_of(unary: Unary) -> OpSpec:
    """The operator of a function of one number."""
    dtype = _simplest(unary.dtypes)
    last = {name: values[-1] for name, values in unary.attributes.items()}
    return OpSpec(
        unary.op_type,
        (1, 1),
        unary.infer_types,
        unary.reference,
        unary.error_model,
        unary.example,
        grow=unary.grow,
        is_exact=unary.is_exact,
        slope=None if unary.slope is None else unary.slopes,
        reads=tuple(unary.attributes),
        only=unary.only,
        defined=unary.defined,
        edges=(
            lambda: Call((np.array(unary.edge, dtype),)),
            lambda: Call((np.zeros((0, 3), dtype),)),
            *((lambda: Call((np.array(unary.edge, dtype),), last),) if last else ()),
        ),
        rejects=(
            Reject("input of floats", _floats, "dtype float32")
            if BOOL in unary.dtypes
            else Reject("boolean input", _booleans, "dtype bool"),
            *_attribute_rejects(unary),
        ),
        laws=(NEIGHBOURS,),
        flops=lambda inputs, outputs, _: outputs[0].size,
    )


def _clip_infer(inputs: Sequence[Operand | None], _: Attributes) -> tuple[TensorType, ...]:
    x = typed("Clip", inputs, FLOATS | INTEGERS)
    for limit in inputs[1:]:
        if limit is None:
            continue
        if limit.type.dtype != x.dtype or limit.type.size != 1 or len(limit.type.shape) > 1:
            raise ShapeError(
                f"Clip: limit is {limit.type}, expected a scalar {dtype_name(x.dtype)}"
            )
    return (x,)


def _clip(inputs: Arrays, _: Attributes) -> tuple[Array, ...]:
    """ONNX's own function body: NaN elements stay, and a limit that is NaN limits nothing."""
    y = np.asarray(inputs[0])
    low = inputs[1] if len(inputs) > 1 else None
    high = inputs[2] if len(inputs) > 2 else None
    if low is not None:
        y = np.where(y < low, low, y).reshape(y.shape)
    if high is not None:
        y = np.where(high < y, high, y).reshape(y.shape)
    return (y,)


def _clip_grow(choose: Choose, x: TensorType) -> Growth | None:
    if x.dtype not in FLOATS | INTEGERS:
        return None
    low = np.array(choose.one_of((0,) if x.dtype.kind == "u" else (-1, 0, -2)), x.dtype)
    high = np.array(choose.one_of((1, 2, 6)), x.dtype)
    return Growth(choose.one_of(((HERE, low, high), (HERE, low, None), (HERE, None, high))))


def _clip_edge(low: float, high: float) -> Call:
    """NaN in every lane of a vector, and limits that are NaN or cross."""
    x = np.array([1, np.nan, -np.inf, -5, 7, np.inf, -0.0] * 5, "f4")
    return Call((x, np.array(low, "f4"), np.array(high, "f4")))


def _clip_draw(choose: Choose) -> Array:
    shape, dtype = choose.shape((0, 4)), choose.one_of((FLOAT, DOUBLE, *sorted(INTEGERS, key=str)))
    return choose.tensor(shape, dtype, *domain_of(choose, dtype, -8.0, 8.0))


CLIP = OpSpec(
    "Clip",
    (1, 3),
    _clip_infer,
    _clip,
    lambda inputs, attributes, units: exact(*_clip(inputs, attributes)),
    example_by_growing(_clip_grow, _clip_draw),
    grow=_clip_grow,
    is_exact=True,
    slope=lambda inputs, _: (1.0, 0.0, 0.0),
    edges=(
        lambda: Call((np.array([np.inf, -np.inf, np.nan, 1], "f4"), None, np.array(0.5, "f4"))),
        lambda: Call((np.array([7, -7, 2], "i8"), np.array(-3, "i8"), np.array(3, "i8"))),
        lambda: Call((np.array([1.5], "f4"), np.array(3.0, "f4"), np.array(np.inf, "f4"))),
        *(partial(_clip_edge, low, high) for low, high in ((np.nan, 2), (0, np.nan), (3, -3))),
    ),
    rejects=(
        Reject(
            "limit of another dtype",
            lambda: Call((np.zeros(3, "f4"), np.array(0, "i4"))),
            "limit is int32",
        ),
        Reject(
            "limit of rank 2",
            lambda: Call((np.zeros(3, "f4"), np.zeros((1, 1), "f4"))),
            "expected a scalar",
        ),
    ),
    laws=(NEIGHBOURS,),
    flops=lambda inputs, outputs, _: outputs[0].size,
)


def _sigmoid_magnitude(x: Array, y: Array, units: Units) -> Array:
    """t = exp(-x): |y|(t/(1+t) 2 ULP_exp + 1 + 2 ULP_divide); 1-y = t/(1+t).

    Where t overflows the compute format the result is 0, off by y < 1/largest.
    """
    smooth = y * ((1 - y) * 2 * units.ulps("exp") + 1 + 2 * units.ulps("divide"))
    overflows = -x > math.log(units.without_storage().largest) - 4 * units.u_compute * abs(x)
    return np.where(overflows, y / units.u_compute, smooth)


def _hard_sigmoid(x: Array, alpha: float, beta: float) -> Array:
    return np.maximum(0.0, np.minimum(1.0, alpha * x + beta))


def _hard_sigmoid_magnitude(x: Array, y: Array, units: Units, alpha: float, beta: float) -> Array:
    """alpha is rounded to the compute format, then product and sum: 2|ax| + |ax + b| + |b|."""
    product = alpha * x
    worst = 2 * abs(product) + abs(product + beta) + abs(beta)
    inside = abs(product + beta - 0.5) <= 0.5 + 4 * units.u_compute * worst
    return np.where(inside, worst, 0.0)


def _hard_swish_magnitude(x: Array, y: Array, units: Units) -> Array:
    """|x| times HardSigmoid's error with alpha = 1/6, beta = 1/2, and the last product."""
    worst: Array = abs(x) * _hard_sigmoid_magnitude(x, y, units, 1 / 6, 0.5) + abs(y)
    return worst


def _gelu_magnitude(x: Array, y: Array, units: Units) -> Array:
    """x/2 (1 + erf(x/sqrt 2)): |x|/2 (2 ULP_erf |erf| + argument 2|x| f(x) + |1 + erf|) + |y|."""
    e = _erf(x / math.sqrt(2))
    density = math.sqrt(2 / math.pi) * np.exp(-x * x / 2)
    inner = 2 * units.ulps("erf") * abs(e) + 2 * abs(x) * density + abs(1 + e)
    worst: Array = abs(x) / 2 * inner + abs(y)
    return worst


def _scaled(function: str) -> Callable[..., Array]:
    """|y| times two units of roundoff per ULP of a built-in."""
    return lambda x, y, units, **_: 2 * units.ulps(function) * abs(y)


def _softplus(x: Array) -> Array:
    y: Array = np.maximum(x, 0.0) + np.log1p(np.exp(-abs(x)))
    return y


def _softplus_magnitude(x: Array, y: Array, units: Units) -> Array:
    """max(x, 0) + log1p(e), e = exp(-|x|): e's row e / (1 + e), log1p's row, the sum."""
    e = np.exp(-abs(x))
    worst: Array = 2 * units.ulps("exp") * e / (1 + e) + 2 * units.ulps("log1p") * np.log1p(e)
    worst += abs(y)
    return worst


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


def _elu_magnitude(x: Array, y: Array, units: Units, alpha: float) -> Array:
    """alpha rounded, expm1's row, the product."""
    return np.where(x < 0, (2 * units.ulps("expm1") + 2) * abs(y), 0.0)


def _selu(x: Array, alpha: float, gamma: float) -> Array:
    return gamma * _elu(x, alpha)


def _selu_magnitude(x: Array, y: Array, units: Units, alpha: float, gamma: float) -> Array:
    """Elu's, gamma rounded, and one more product, which magnifies what was subnormal before it."""
    lost = abs(gamma) * units.without_storage().floor / units.u_compute if alpha else 0.0
    return np.where(x < 0, (2 * units.ulps("expm1") + 4) * abs(y) + lost, 2 * abs(y))


def _celu(x: Array, alpha: float) -> Array:
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0) / alpha), x)


def _celu_magnitude(x: Array, y: Array, units: Units, alpha: float) -> Array:
    """q = x / alpha (two roundings, division's row) reaches exp(q) |x|; then Elu's."""
    q = np.minimum(x, 0) / alpha
    reached = np.where((x < 0) & np.isfinite(x), np.exp(q) * abs(x), 0.0)
    argument = (2 * units.ulps("divide") + 1) * reached
    return np.where(x < 0, argument + (2 * units.ulps("expm1") + 2) * abs(y), 0.0)


def _mish_magnitude(x: Array, y: Array, units: Units) -> Array:
    """x tanh(s), s = Softplus: |x| (1 - tanh^2 s) times s's error, tanh's row, the product.

    Where s is subnormal, the rows of exp, log1p and tanh are multiples of the smallest number.
    """
    s = _softplus(x)
    rows = sum(2 * units.ulps(f) for f in ("exp", "log1p", "tanh"))
    smallest = rows * units.without_storage().floor / units.u_compute
    inner = (1 - np.tanh(s) ** 2) * _softplus_magnitude(x, s, units) + smallest
    worst: Array = abs(x) * inner + (2 * units.ulps("tanh") + 1) * abs(y)
    return worst


def _swish_magnitude(x: Array, y: Array, units: Units, alpha: float) -> Array:
    """x / (1 + e), e = exp(-alpha x). Where e overflows, the result is 0.

    Argument 2|alpha x| (alpha rounded), exp's row, both through e / (1 + e); the sum; division's
    row.
    """
    overflows = -alpha * x > math.log(units.without_storage().largest) * (1 - 4 * units.u_compute)
    share = _sigmoid(-alpha * x)
    inner = share * (2 * abs(alpha * x) + 2 * units.ulps("exp")) + 1 + 2 * units.ulps("divide")
    inner = np.where(overflows, 1 / units.u_compute, inner)
    return abs(y) * np.where(np.isfinite(inner), inner, 0.0)


def _shrink(x: Array, lambd: float, bias: float) -> Array:
    """NaN compares false twice and gives 0, as the formula says and other engines do."""
    return np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0.0))


def _shrink_magnitude(x: Array, y: Array, units: Units, lambd: float, bias: float) -> Array:
    """Outside the threshold bias rounded, |bias|, and the sum, |y|; the comparisons are exact."""
    return np.where((x < -lambd) | (x > lambd), abs(bias) + abs(y), 0.0)


def _leaky_slope(attributes: Attributes) -> float:
    return max(1.0, abs(float(attributes.get("alpha", 0.01))))


def _softsign_magnitude(x: Array, y: Array, units: Units) -> Array:
    """x / (1 + |x|): the sum, division's row."""
    return (1 + 2 * units.ulps("divide")) * abs(y)


ABOVE_THREE_TENTHS = (float(np.float16(0.3)), -float(np.float16(0.3)))
"""0.3 rounds up to half: elements that a threshold of 0.3 loses when it is rounded likewise."""
_positive: dict[str, Any] = {"domain": (0.0, 16.0), "edge": (0.0, 1.0, np.inf, np.nan, 1e-30)}

FUNCTIONS = (
    Unary("Relu", lambda x: np.maximum(x, 0), dtypes=SIGNED, slope=1.0, is_exact=True),
    Unary("Abs", np.abs, dtypes=FLOATS | INTEGERS, slope=1.0, is_exact=True),
    Unary("Neg", np.negative, dtypes=SIGNED, slope=1.0, is_exact=True),
    Unary("Floor", np.floor, is_exact=True),
    Unary("Ceil", np.ceil, is_exact=True),
    Unary("Round", np.rint, is_exact=True),
    Unary("Sign", np.sign, dtypes=SIGNED, is_exact=True),
    Unary("IsNaN", np.isnan, out_dtype=BOOL),
    Unary(
        "IsInf",
        np.isinf,
        out_dtype=BOOL,
        only={"detect_negative": 1, "detect_positive": 1},
    ),
    Unary("Sqrt", np.sqrt, _scaled("sqrt"), **_positive),
    Unary("Reciprocal", lambda x: 1.0 / x, _scaled("reciprocal"), **_positive),
    Unary("Log", np.log, _scaled("log"), **_positive),
    Unary("Exp", np.exp, _scaled("exp"), domain=(-100.0, 80.0)),
    Unary("Sin", np.sin, _scaled("sin"), slope=1.0, domain=(-100.0, 100.0)),
    Unary("Cos", np.cos, _scaled("cos"), slope=1.0, domain=(-100.0, 100.0)),
    Unary("Tanh", np.tanh, _scaled("tanh"), slope=1.0, exact_at_infinity=True),
    Unary("Erf", _erf, _scaled("erf"), slope=2 / math.sqrt(math.pi), exact_at_infinity=True),
    Unary("Sigmoid", _sigmoid, _sigmoid_magnitude, slope=0.25, domain=(-100.0, 100.0)),
    Unary(
        "LeakyRelu",
        lambda x, alpha: np.where(x < 0, alpha * x, x),
        lambda x, y, units, alpha: np.where(x < 0, 2 * abs(y), 0.0),
        attributes={"alpha": (0.01, 0.3, -0.5)},
        slope=_leaky_slope,
    ),
    Unary(
        "HardSigmoid",
        _hard_sigmoid,
        _hard_sigmoid_magnitude,
        attributes={"alpha": (0.2, 0.3), "beta": (0.5, 0.125)},
        slope=lambda a: abs(float(a.get("alpha", 0.2))),
    ),
    Unary(
        "HardSwish",
        lambda x: x * _hard_sigmoid(x, 1 / 6, 0.5),
        _hard_swish_magnitude,
        slope=1.5,
        edge=(0.0, -0.0, np.inf, np.nan, 3.0, -3.0),
    ),
    Unary(
        "Gelu",
        lambda x: x / 2 * (1 + _erf(x / math.sqrt(2))),
        _gelu_magnitude,
        slope=1.13,
        only={"approximate": "none"},
        defined={"approximate": ("tanh",)},
    ),
    Unary("Not", np.logical_not, dtypes=frozenset({BOOL}), out_dtype=BOOL),
    Unary("BitwiseNot", np.bitwise_not, dtypes=INTEGERS, is_exact=True, edge=INTEGER_EDGE),
    Unary("Tan", np.tan, _scaled("tan"), domain=(-1.5, 1.5)),
    Unary("Asin", np.arcsin, _scaled("asin"), domain=(-1.0, 1.0)),
    Unary("Acos", np.arccos, _scaled("acos"), domain=(-1.0, 1.0)),
    Unary("Atan", np.arctan, _scaled("atan"), slope=1.0),
    Unary("Sinh", np.sinh, _scaled("sinh")),
    Unary("Cosh", np.cosh, _scaled("cosh")),
    Unary("Asinh", np.arcsinh, _scaled("asinh"), slope=1.0),
    Unary("Acosh", np.arccosh, _scaled("acosh"), domain=(1.0, 16.0)),
    Unary("Atanh", np.arctanh, _scaled("atanh"), domain=(-0.96875, 0.96875)),
    Unary("Softplus", _softplus, _softplus_magnitude, slope=1.0, domain=(-100.0, 100.0)),
    Unary(
        "Softsign",
        lambda x: x / (1 + abs(x)),
        _softsign_magnitude,
        slope=1.0,
        edge=(0.0, -0.0, np.nan, 88.8),
    ),
    Unary("Elu", _elu, _elu_magnitude, attributes={"alpha": (1.0, 0.3)}),
    Unary(
        "Selu",
        _selu,
        _selu_magnitude,
        attributes={
            "alpha": (1.67326319217681884765625, 0.3),
            "gamma": (1.05070102214813232421875, 2.5),
        },
    ),
    Unary("Celu", _celu, _celu_magnitude, attributes={"alpha": (1.0, 0.3)}, divisor="alpha"),
    Unary(
        "ThresholdedRelu",
        lambda x, alpha: np.where(x > alpha, x, 0.0),
        attributes={"alpha": (1.0, 0.3)},
        edge=(1.0, -0.0, np.inf, -np.inf, np.nan, *ABOVE_THREE_TENTHS),
    ),
    Unary(
        "Shrink",
        _shrink,
        _shrink_magnitude,
        attributes={"lambd": (0.5, 1.25, 0.3), "bias": (0.0, -0.3, 0.75)},
        is_exact=True,
        edge=(0.5, -0.5, 0.0, -0.0, np.inf, -np.inf, np.nan, 88.8, *ABOVE_THREE_TENTHS),
    ),
    Unary(
        "Mish",
        lambda x: x * np.tanh(_softplus(x)),
        _mish_magnitude,
        slope=1.1,
        edge=(0.0, -0.0, np.inf, np.nan, 88.8, -80.0),
    ),
    Unary(
        "Swish",
        lambda x, alpha: x * _sigmoid(alpha * x),
        _swish_magnitude,
        attributes={"alpha": (1.0, 1.702)},
        edge=(0.0, -0.0, np.inf, np.nan, 80.0, -80.0),
    ),
)
SPECS: tuple[OpSpec, ...] = (*map(spec_of, FUNCTIONS), CLIP)
