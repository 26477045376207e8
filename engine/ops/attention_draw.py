"""Drawing calls of Attention, and those that must work or be refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from engine.ir.types import FLOAT, FLOAT16, INT64, TensorType
from engine.ops.attention_form import DTYPES
from engine.ops.operands import zeros
from engine.ops.spec import HERE, Call, Choose, Growth, Law, Reject

Array = np.ndarray
Sides = tuple[int, ...]


def _draw_mask(choose: Choose, sides: Sides, shortest: int, dtype: np.dtype) -> Array:
    """Booleans, numbers, -inf or the lowest number; any axes repeated, and columns left out.

    A row may allow no key.
    """
    batch, heads, queries, keys = sides
    rows = [choose.one_of((1, n)) for n in (batch, heads, queries)]
    columns = keys - choose.integer(0, max(keys - shortest, 0))
    shape = (*rows[choose.integer(0, 3) :], columns)
    allowed = choose.tensor(shape, FLOAT, -1.0, 1.0) > -0.3
    kind = choose.one_of(("booleans", "numbers", "infinite", "lowest"))
    if kind == "booleans":
        return allowed
    if kind == "numbers":
        return choose.tensor(shape, dtype, -4.0, 4.0)
    forbidden = np.array(-np.inf if kind == "infinite" else np.finfo(dtype).min, dtype)
    return np.where(allowed, np.zeros((), dtype), forbidden)


def _draw_attributes(choose: Choose) -> dict[str, Any]:
    a: dict[str, Any] = {}
    for name, values in (
        ("is_causal", (1,)),
        ("scale", (0.3, 1.5)),
        ("softcap", (2.0, 0.5)),
        ("left_window_size", (0, 2)),
        ("right_window_size", (0, 1)),
        ("softmax_precision", (1,)),
    ):
        if choose.integer(0, 2) == 2:
            a[name] = choose.one_of(values)
    return a


def _rows(x: Array) -> Array:
    """Heads side by side, (b, s, n d)."""
    return np.ascontiguousarray(x.swapaxes(1, 2)).reshape(x.shape[0], x.shape[2], -1)


def example(choose: Choose) -> Call:
    """Heads apart or side by side, shared or not; a past, or a cache that is filled in part."""
    dtype = choose.one_of((FLOAT, FLOAT, FLOAT16))
    batch, stored, shared = (choose.integer(1, 2) for _ in range(3))
    queries, fresh = choose.one_of((1, 3, 5)), choose.one_of((3, 1, 17, 66))
    size, width = (choose.one_of((2, 8, 16, 17, 66)) for _ in range(2))
    limit = choose.one_of((2.0, 2.0, 30.0))
    a, heads = _draw_attributes(choose), stored * shared
    q, k, v = (
        choose.tensor(shape, dtype, -limit, limit)
        for shape in (
            (batch, heads, queries, size),
            (batch, stored, fresh, size),
            (batch, stored, fresh, width),
        )
    )
    cache = choose.one_of(("none", "past", "filled"))
    past = choose.one_of((1, 5, 65)) if cache == "past" else 0
    more: list[Array | None] = [None] * 4
    if choose.integer(0, 1):
        total = past + fresh
        shortest = max(total - 2, min(total, 2))
        more[0] = _draw_mask(choose, (batch, heads, queries, total), shortest, dtype)
    if cache == "past":
        more[1:3] = (
            choose.tensor((batch, stored, past, n), dtype, -limit, limit) for n in (size, width)
        )
    if cache == "filled":
        more[3] = choose.tensor((batch,), INT64, 0, fresh)
    if choose.integer(0, 1):
        a |= {"q_num_heads": heads, "kv_num_heads": stored}
        q, k, v = map(_rows, (q, k, v))
    while more and more[-1] is None:
        more.pop()
    return Call((q, k, v, *more), a)


def grow(choose: Choose, x: TensorType) -> Growth | None:
    """A sequence attends to itself; its heads are apart where it has four axes."""
    if x.dtype not in DTYPES or len(x.shape) not in (3, 4) or 0 in x.dims:
        return None
    a: dict[str, Any] = {"is_causal": choose.integer(0, 1)}
    if len(x.shape) == 3:
        a |= {"q_num_heads": 1, "kv_num_heads": 1}
    return Growth((HERE, HERE, HERE), a)


# ------------------------------------------------------------------------- edges
def call(
    queries: Sides, keys: Sides, width: int, *more: Array | None, dtype: str = "f4", **a: Any
) -> Call:
    """Numbers about 0, in heads."""
    rng = np.random.default_rng(len(more) + sum(queries))
    shapes = (queries, keys, (*keys[:3], width))
    return Call((*(rng.standard_normal(s).astype(dtype) for s in shapes), *more), a)


def _past(batch: int, heads: int, keys: int, size: int, width: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(keys)
    key, value = (rng.standard_normal((batch, heads, keys, n)).astype("f4") for n in (size, width))
    return key, value


def _hard(index: int, number: float) -> Call:
    """One number that is none, in Q, K or V, of the first of two heads."""
    given = call((1, 2, 3, 5), (1, 2, 4, 5), 3)
    x = given.inputs[index]
    assert x is not None
    x[0, 0, 1, 2] = number
    return given


def _masked(*rows: list[float], dtype: str = "f4") -> Call:
    return call((1, 1, len(rows), 4), (1, 1, len(rows[0]), 4), 3, np.array(rows, dtype))


def _unseen(index: int, number: float) -> Call:
    """The same, and no query sees a key."""
    given = _hard(index, number)
    return Call((*given.inputs, np.zeros((3, 4), np.bool_)))


_INF, _FAR = np.inf, np.array([2**63 - 1, -(2**63)])
EDGES: tuple[Callable[[], Call], ...] = (
    lambda: call((2, 6, 9, 33), (2, 2, 130, 33), 70, is_causal=1),
    lambda: call((1, 2, 70, 16), (1, 2, 70, 16), 130, is_causal=1, left_window_size=66),
    lambda: call(
        (1, 2, 3, 16), (1, 2, 3, 16), 8, left_window_size=2**62, right_window_size=2**63 - 1
    ),
    lambda: call((1, 4, 1, 64), (1, 1, 200, 64), 64, scale=1.0, softcap=5.0),
    lambda: call((1, 2, 3, 8), (1, 2, 2, 8), 8, None, *_past(1, 2, 64, 8, 8), is_causal=1),
    lambda: call((1, 2, 3, 8), (1, 2, 2, 8), 8, None, *_past(1, 2, 0, 8, 8)),
    lambda: call((2, 1, 3, 8), (2, 1, 9, 8), 8, None, None, None, np.array([0, 7]), is_causal=1),
    lambda: call((2, 1, 3, 8), (2, 1, 9, 8), 8, None, None, None, _FAR, is_causal=1),
    lambda: call((2, 1, 3, 8), (2, 1, 9, 8), 8, np.ones((3, 1), "?"), None, None, np.array([1, 1])),
    lambda: _masked([0, -_INF, 1], [-_INF] * 3, [np.nan, 0, 0], [_INF, 0, 0]),
    lambda: _masked([-3.4e38, 0, 0], [-3.4e38] * 3, [1e30, 0, -1e30]),
    lambda: _masked([True, False], [False, False], dtype="?"),
    lambda: _unseen(0, np.nan),
    lambda: _unseen(2, np.inf),
    *(partial(_hard, i, n) for i in range(3) for n in (np.nan, np.inf)),
    lambda: call((1, 1, 2, 4), (1, 1, 0, 4), 3),
    lambda: call((1, 2, 0, 4), (1, 2, 3, 4), 3),
    lambda: call((0, 2, 3, 4), (0, 2, 3, 4), 3),
    lambda: call((1, 2, 3, 0), (1, 2, 4, 0), 3),
    lambda: call((1, 2, 3, 4), (1, 2, 4, 4), 0),
    lambda: call((1, 1, 3, 64), (1, 1, 5, 64), 8, dtype="f2", scale=40.0),
)

_Q, _ROWS, _TWO = zeros(1, 2, 3, 4), zeros(1, 3, 8), {"q_num_heads": 2, "kv_num_heads": 2}
REJECTS = (
    Reject("ranks", lambda: Call((_Q, _Q, _ROWS), _TWO), "expected all of rank 3, or all of 4"),
    Reject("no heads", lambda: Call((_ROWS,) * 3), "q_num_heads=0, expected a divisor"),
    Reject(
        "heads that do not divide",
        lambda: Call((_ROWS,) * 3, {"q_num_heads": 2, "kv_num_heads": 3}),
        "kv_num_heads=3, expected a divisor of the last extent of K (1, 3, 8)",
    ),
    Reject(
        "heads that are not there",
        lambda: Call((_Q,) * 3, {"q_num_heads": 3}),
        "q_num_heads=3, but Q has 2 heads",
    ),
    Reject(
        "heads that cannot be shared",
        lambda: Call((zeros(1, 3, 3, 4), _Q, _Q)),
        "3 heads of queries cannot share 2 of keys",
    ),
    Reject(
        "sizes of queries and keys",
        lambda: Call((_Q, zeros(1, 2, 3, 5), _Q)),
        "Q, K and V have shapes (1, 2, 3, 4), (1, 2, 3, 5) and (1, 2, 3, 4) in heads",
    ),
    Reject("numbers of values", lambda: Call((_Q, _Q, zeros(1, 2, 4, 4))), "have shapes"),
    Reject("another dtype", lambda: Call((_Q, _Q, _Q.astype("f2"))), "V of dtype float16"),
    Reject("half a past", lambda: Call((_Q, _Q, _Q, None, _Q)), "are given together"),
    Reject(
        "past of other heads",
        lambda: Call((_Q, _Q, _Q, None, zeros(1, 1, 3, 4), zeros(1, 1, 3, 4))),
        "past_key has shape (1, 1, 3, 4)",
    ),
    Reject(
        "past of two lengths",
        lambda: Call((_Q, _Q, _Q, None, _Q, zeros(1, 2, 2, 4))),
        "past_value (1, 2, 2, 4), expected (1, 2, 3, 4)",
    ),
    Reject(
        "mask",
        lambda: Call((_Q, _Q, _Q, zeros(2, 3, 3, 3))),
        "attn_mask has shape (2, 3, 3, 3), which does not fit (1, 2, 3, 3)",
    ),
    Reject("mask of a number", lambda: Call((_Q, _Q, _Q, zeros())), "attn_mask has shape ()"),
    Reject("mask that is too wide", lambda: Call((_Q, _Q, _Q, zeros(3, 4))), "does not fit"),
    Reject(
        "a cache that is filled for other sequences",
        lambda: Call((_Q, _Q, _Q, None, None, None, np.array([1, 2]))),
        "nonpad_kv_seqlen is int64[2], expected int64 of shape (1,)",
    ),
    Reject(
        "a cache that is filled, and a past",
        lambda: Call((_Q, _Q, _Q, None, _Q, _Q, np.array([1]))),
        "and no past beside it",
    ),
    Reject("mode", lambda: Call((_Q,) * 3, {"qk_matmul_output_mode": 4}), "expected 0 to 3"),
    Reject("window", lambda: Call((_Q,) * 3, {"left_window_size": -2}), "expected -1 or more"),
    Reject("scale", lambda: Call((_Q,) * 3, {"scale": -1.0}), "scale=-1.0, expected 0"),
)


# ------------------------------------------------------------------------- laws
def _of_each_sequence(x: Array, index: int) -> bool:
    """Masks may have fewer axes, or one entry for all sequences; reversed, that is the same."""
    return index != 3 or x.ndim == 4


def _reversed() -> Law:
    def transform(given: Call) -> Call:
        inputs = (
            x[::-1] if x is not None and _of_each_sequence(x, i) else x
            for i, x in enumerate(given.inputs)
        )
        return Call(tuple(inputs), given.attributes)

    return Law("order of the batch", transform, lambda _, y: y[::-1])


LAWS = (_reversed(),)
