"""Attention: values weighted by a softmax of scaled products of queries and keys.

Source: https://onnx.ai/onnx/operators/onnx__Attention.html (versions 23 to 25), and its function
body for what a query that sees no key gives: 0. Letters as in `attention_form`. No kernel computes
in half (`reduce.accumulated`); what kernels do not take goes by ONNX's definition (`_takes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.ir.types import BOOL, INT64, TensorType
from engine.ops.attention_draw import EDGES, LAWS, REJECTS, example, grow
from engine.ops.attention_form import (
    DTYPES,
    FILLED,
    MASK,
    OP,
    PAST_KEY,
    PAST_VALUE,
    Form,
    form_of,
    infer_types,
)
from engine.ops.numerics import (
    Error,
    Units,
    exact,
    finite,
    quadrature,
    sum_of_products,
    where_sums_fit,
)
from engine.ops.operands import input_at
from engine.ops.reduce import accumulated
from engine.ops.spec import Arrays, Attributes, Known, OpSpec

KEYS = 64
"""A kernel that takes keys piece by piece takes at least so many at once."""
OUTPUTS = 3
"""The fourth, qk_matmul_output, is left to ONNX's definition."""
Array = np.ndarray


# ------------------------------------------------------------------------- reference
def _apart(x: Array, count: int) -> Array:
    """(batch, heads, tokens, size)."""
    if x.ndim == 4:
        return x
    return x.reshape(*x.shape[:2], count, x.shape[2] // count).swapaxes(1, 2)


def _together(y: Array, form: Form) -> Array:
    """As the output has it."""
    return y if form.apart else y.swapaxes(1, 2).reshape(form.y_shape)


def _present(inputs: Arrays, form: Form) -> tuple[Array, Array]:
    """All keys and values, (b, m, t, d) and (b, m, t, e)."""
    both = []
    for index, past in ((1, PAST_KEY), (2, PAST_VALUE)):
        fresh, old = _apart(np.asarray(inputs[index]), form.stored), input_at(inputs, past)
        both.append(fresh if old is None else np.concatenate([old, fresh], axis=2))
    return both[0], both[1]


def _bias(inputs: Arrays, form: Form) -> Array:
    """What is added to scores, (b or 1, n or 1, s, t): -inf where a key takes no part."""
    mask, filled = (input_at(inputs, i) for i in (MASK, FILLED))
    key, query = np.arange(form.keys), np.arange(form.queries)[:, None]
    bias = np.zeros((1, 1, form.queries, form.keys))
    if mask is not None:
        numbers = np.where(mask, 0.0, -np.inf) if mask.dtype == bool else mask
        missing = [(0, 0)] * (mask.ndim - 1) + [(0, form.keys - mask.shape[-1])]
        bias = bias + np.pad(numbers, missing, constant_values=-np.inf)
    own = query + form.past
    if filled is not None:
        filled = filled.reshape(-1, 1, 1, 1)
        own = query + filled - form.queries
        bias = bias + np.where(key < filled, 0.0, -np.inf)
    if form.right is not None:
        bias = bias + np.where(key <= own + form.right, 0.0, -np.inf)
    if form.left is not None:
        bias = bias + np.where(key >= own - form.left, 0.0, -np.inf)
    return bias


@dataclass(frozen=True)
class _Steps:
    """What the formula goes through, (b, n, s, t), and keys and values repeated for every head.

    Attributes:
        raw: scaled products. capped: those after softcap. x: those with the bias.
        distance: from the largest x of a row. log_p: logarithms of the weights.
        is_seen: whether a row has a key that takes part, (b, n, s, 1).
    """

    q: Array
    k: Array
    v: Array
    raw: Array
    capped: Array
    bias: Array
    x: Array
    distance: Array
    p: Array
    log_p: Array
    is_seen: Array

    @property
    def y(self) -> Array:
        """(b, n, s, e)."""
        y: Array = self.p @ self.v
        return y


def _steps(inputs: Arrays, form: Form) -> _Steps:
    q = _apart(np.asarray(inputs[0]), form.heads)
    k, v = (np.repeat(x, form.shared, axis=1) for x in _present(inputs, form))
    raw = form.scale * (q @ k.swapaxes(2, 3))
    capped = form.softcap * np.tanh(raw / form.softcap) if form.softcap else raw
    bias = _bias(inputs, form)
    x = capped + bias
    largest = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    shifted = x - np.where(largest == -np.inf, 0.0, largest)
    total = np.sum(np.exp(shifted), axis=-1, keepdims=True)
    log_p = shifted - np.log(np.where(total == 0, 1.0, total))
    distance = np.where(np.isfinite(x), finite(shifted), 0.0)
    is_seen = np.any(bias != -np.inf, axis=-1, keepdims=True)
    log_p = np.where(is_seen, log_p, -np.inf)
    return _Steps(q, k, v, raw, capped, bias, x, distance, np.exp(log_p), log_p, is_seen)


def _form(inputs: Arrays, a: Attributes) -> Form:
    types = [None if x is None else TensorType(x.dtype, x.shape) for x in inputs]
    return form_of(types, a)


def _attention(inputs: Arrays, a: Attributes) -> tuple[Array, ...]:
    form = _form(inputs, a)
    with np.errstate(all="ignore"):
        y = _together(_steps(inputs, form).y, form)
    return (y, *_present(inputs, form))


# ------------------------------------------------------------------------- error
def _score_error(s: _Steps, form: Form, units: Units) -> Error:
    """Of x: a sum of d products and its scaling, softcap, and the sum with the bias.

    softcap is c tanh(r / c): the error of r / c, with division's ULP row, times the greatest slope
    1 / cosh^2 within its reach; tanh's row and a product.
    """
    q, k, u = finite(s.q), finite(s.k).swapaxes(2, 3), units.u_compute
    sizes, squares = q @ k, (q * q) @ (k * k)
    error = sum_of_products(
        s.raw,
        form.scale**2 * squares + 2 * finite(s.raw) ** 2,
        form.scale * sizes,
        form.size + 2,
        units,
    )
    error = where_sums_fit(error, max(form.scale, 1.0) * sizes, form.size, units)
    sigma, bound = error.sigma, error.bound
    if form.softcap:
        t = finite(s.raw) / form.softcap
        divided = 2 * units.ulps("divide") * u * t + units.floor
        reach = bound / form.softcap + divided
        own = (2 * units.ulps("tanh") + 1) * u * finite(s.capped) + units.floor
        near = np.maximum(t - reach, 0.0)
        bound = form.softcap * np.minimum(reach / np.cosh(near) ** 2, 2.0) + own
        spread = np.hypot(sigma, form.softcap * divided / np.sqrt(3)) / np.cosh(t) ** 2
        sigma = np.hypot(spread, own / np.sqrt(3))
    added = u * np.where(s.bias == 0, 0.0, finite(s.x))
    return Error(np.hypot(sigma, added / np.sqrt(3)), bound + added)


def _growth(s: _Steps, error: Array) -> Array:
    """How much weights p e^error exceed p; in logarithms, where distances are huge."""
    growth: Array = np.maximum(np.exp(s.log_p + error) - finite(s.p), 0.0)
    return growth


def _y_error(s: _Steps, form: Form, units: Units) -> Error:
    """Weights off by factors e^h, |h| <= H, then the sums and the division.

    - H = E_x + u (|x - m| + exp's row); where the maximum m is taken in steps of KEYS keys or more,
      sums so far are multiplied by exp of its growth each time: exp's row and a product more.
    - Y' - Y = sum p (e^h - 1)(v - Y) / sum p e^h, hence at most
      sum p (e^H - 1)(|v| + |Y|) / sum p e^-H. sigma takes the h of one row as independent:
      sum p^2 (e^h - 1)^2 (v - Y)^2.
    - sum p v and sum p are sums of t terms, division has its ULP row, |Y| <= A = sum p |v|;
      weights below the least number vanish.
    """
    inner, u = units.without_storage(), units.u_compute
    scores, exp = _score_error(s, form, inner), 2 * units.ulps("exp")
    steps = (exp + 1) * form.keys / KEYS
    h = scores.bound + u * (s.distance + exp + steps)
    spread = np.hypot(scores.sigma, u / np.sqrt(3) * np.hypot(s.distance, exp + steps))
    p, v, y = finite(s.p), finite(s.v), finite(s.y)
    sizes = p @ v
    sums = sum_of_products(s.y, (p * p) @ (v * v), sizes, form.keys, units)
    of_one = sum_of_products(
        np.ones(p.shape[:3]), np.sum(p * p, -1), np.ones(p.shape[:3]), form.keys, inner
    )
    ratio = of_one.bound[..., None] + 2 * units.ulps("divide") * u
    grown = _growth(s, h)
    least = np.sum(np.exp(s.log_p - h), -1, keepdims=True)
    weighed = (grown @ v + y * np.sum(grown, -1, keepdims=True)) / np.where(least > 0, least, 1.0)
    lost = 2 * inner.floor * (np.sum(v, 2, keepdims=True) + form.keys * y)
    bound = (weighed + sizes * ratio) * (1 + 1e-3) * (1 + units.u_storage) + sums.bound + lost
    own = _growth(s, spread) ** 2
    signed = np.where(np.isfinite(s.v), s.v, 0.0)
    mean = np.where(np.isfinite(s.y), s.y, 0.0)
    apart = own @ signed**2 - 2 * mean * (own @ signed) + mean**2 * np.sum(own, -1, keepdims=True)
    of_total = of_one.sigma[..., None] + 2 * units.ulps("divide") * u / np.sqrt(3)
    sigma = quadrature(np.sqrt(np.maximum(apart, 0.0)), y * of_total, sums.sigma, lost)
    error = Error(np.nan_to_num(sigma), np.where(np.isnan(bound), np.inf, bound))
    return where_sums_fit(error, np.exp(-s.distance) @ v, form.keys, units)


def _error(inputs: Arrays, a: Attributes, units: Units) -> tuple[Error, ...]:
    """`_y_error`; 0 where no key is seen.

    Nothing is promised of infinite values, whose weights may vanish, nor of any that are no numbers
    where no key is seen, whose scores may be none either.
    """
    form, units = _form(inputs, a), accumulated(units)
    with np.errstate(all="ignore"):
        s = _steps(inputs, form)
        error = _y_error(s, form, units)
        is_open = np.where(s.is_seen, np.isinf(s.v).any(2, keepdims=True), ~np.isfinite(s.y))
        bound = np.where(is_open, np.inf, np.where(s.is_seen, error.bound, 0.0))
        sigma = np.where(s.is_seen, np.minimum(error.sigma, bound), 0.0)
    y = Error(_together(sigma, form), _together(bound, form))
    return (y, *exact(*_present(inputs, form)))


# ------------------------------------------------------------------------- spec
def _takes(inputs: Sequence[Known], outputs: int) -> bool:
    """Floats or halves throughout, a mask of them or of booleans, and no scores to be given.

    Opsets differ in what a mask of one column is, so where it is known to be one, each has its own
    definition.
    """
    given = [*inputs, *(Known(),) * (FILLED + 1 - len(inputs))]
    mask, filled = given[MASK], given[FILLED]
    floats = {known.dtype for i, known in enumerate(given) if i not in (MASK, FILLED)} - {None}
    is_whole = mask.dims is None or not mask.dims or mask.dims[-1] != 1
    return (
        outputs <= OUTPUTS
        and is_whole
        and len(floats) < 2
        and floats <= DTYPES
        and mask.dtype in {None, BOOL, *floats}
        and filled.dtype in (None, INT64)
    )


def _flops(
    inputs: Sequence[TensorType | None], outputs: Sequence[TensorType], a: Attributes
) -> int:
    """Two for each product, of queries with keys and of weights with values."""
    form = form_of(inputs, a)
    pairs = form.batch * form.heads * form.queries * form.keys
    return 2 * pairs * (form.size + form.width)


SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        OP,
        (3, 7),
        infer_types,
        _attention,
        _error,
        example,
        grow=grow,
        edges=EDGES,
        rejects=REJECTS,
        laws=LAWS,
        flops=_flops,
        reads=(
            *("is_causal", "kv_num_heads", "left_window_size", "q_num_heads"),
            *("qk_matmul_output_mode", "right_window_size", "scale", "softcap"),
            "softmax_precision",
        ),
        defined={"softmax_precision": (10, 11, 16)},  # half, double and bfloat16
        takes=_takes,
    ),
)
