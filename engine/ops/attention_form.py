"""How a call of Attention is laid out, and what of it is refused.

Letters: b sequences, n heads of queries, m heads of keys and values (n / m of the former share one
of the latter), s queries, p keys of the past, t keys in all, d elements of a query and of a key, e
of a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import BOOL, FLOAT, FLOAT16, INT64, TensorType
from engine.ops.operands import check_dtype, tensor
from engine.ops.spec import Attributes, Operand

OP = "Attention"
DTYPES = frozenset((FLOAT, FLOAT16))
MASK, PAST_KEY, PAST_VALUE, FILLED = 3, 4, 5, 6
"""Positions of optional inputs; ONNX calls the last one nonpad_kv_seqlen."""
FARTHEST = 2**31
"""No tensor has so many keys, and positions of 64 bits do not overflow where it is added."""
Types = Sequence[TensorType | None]


@dataclass(frozen=True)
class Form:
    """A call: extents by the letters above, and what its attributes say.

    Attributes:
        apart: Q, K, V and Y have an axis of heads, (b, n, s, d); else (b, s, n d).
        left, right: how many keys before and after its own a query sees; None for all.
        scale, softcap: as ONNX holds them, floats; a softcap of 0 is none.
    """

    batch: int
    heads: int
    stored: int
    queries: int
    past: int
    keys: int
    size: int
    width: int
    apart: bool
    left: int | None
    right: int | None
    scale: float
    softcap: float

    @property
    def shared(self) -> int:
        """Heads of queries for each of keys."""
        return self.heads // self.stored

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Of the first output."""
        if self.apart:
            return self.batch, self.heads, self.queries, self.width
        return self.batch, self.queries, self.heads * self.width


def form_of(types: Types, a: Attributes) -> Form:
    """What the types of a call come to; raises ShapeError where they do not fit one another."""
    q, k, v = (_required(types, i) for i in range(3))
    ranks = {len(t.shape) for t in (q, k, v)}
    if ranks not in ({3}, {4}):
        raise ShapeError(f"{OP}: Q is {q}, K {k} and V {v}, expected all of rank 3, or all of 4")
    names = ("q_num_heads", "kv_num_heads", "kv_num_heads")
    given = zip((q, k, v), names, "QKV", strict=True)
    queries, keys, values = (_in_heads(t.dims, int(a.get(n, 0)), n, x) for t, n, x in given)
    (batch, heads, count, size), (_, stored, fresh, _), width = queries, keys, values[3]
    if keys != (batch, stored, fresh, size) or values != (batch, stored, fresh, width):
        raise ShapeError(f"{OP}: Q, K and V have shapes {queries}, {keys} and {values} in heads")
    if not stored or heads % stored:
        raise ShapeError(f"{OP}: {heads} heads of queries cannot share {stored} of keys")
    past = _past(types, (batch, stored, size, width))
    extents = (batch, heads, stored, count, past, past + fresh, size, width)
    return Form(*extents, ranks == {4}, *_window(a), *_factors(a, size))


def _window(a: Attributes) -> tuple[int | None, int | None]:
    """Keys before and after its own that a query sees; None for all of them."""
    left, right = (int(a.get(f"{side}_window_size", -1)) for side in ("left", "right"))
    if min(left, right) < -1:
        raise ShapeError(f"{OP}: windows of {left} and {right} keys, expected -1 or more")
    right = 0 if a.get("is_causal", 0) else right
    return left if 0 <= left < FARTHEST else None, right if 0 <= right < FARTHEST else None


def _factors(a: Attributes, size: int) -> tuple[float, float]:
    """Scale and softcap."""
    scale = float(np.float32(a.get("scale", 1 / np.sqrt(max(size, 1)))))
    softcap = float(np.float32(a.get("softcap", 0.0)))
    for name, factor in (("scale", scale), ("softcap", softcap)):
        if factor < 0:
            raise ShapeError(f"{OP}: {name}={factor}, expected 0 or more")
    return scale, softcap


def _required(types: Types, index: int) -> TensorType:
    given = types[index] if index < len(types) else None
    if given is None:
        raise ShapeError(f"{OP}: input {index} ({'QKV'[index]}) is missing")
    return given


def _in_heads(shape: Sequence[int], count: int, name: str, what: str) -> tuple[int, ...]:
    """(batch, heads, tokens, size)."""
    if len(shape) == 4:
        if count not in (0, shape[1]):
            raise ShapeError(f"{OP}: {name}={count}, but {what} has {shape[1]} heads")
        return tuple(shape)
    batch, tokens, hidden = shape
    if count < 1 or hidden % count:
        raise ShapeError(
            f"{OP}: {name}={count}, expected a divisor of the last extent of {what} {tuple(shape)}"
        )
    return batch, count, tokens, hidden // count


def _past(types: Types, extents: tuple[int, ...]) -> int:
    """Keys of the past."""
    batch, stored, size, width = extents
    key, value = ((*types, *[None] * 7)[i] for i in (PAST_KEY, PAST_VALUE))
    if key is None and value is None:
        return 0
    if key is None or value is None:
        raise ShapeError(f"{OP}: past_key and past_value are given together, or not at all")
    count = (*key.dims, 0, 0, 0)[2]
    expected = (batch, stored, count, size), (batch, stored, count, width)
    if (key.dims, value.dims) != expected:
        raise ShapeError(
            f"{OP}: past_key has shape {key.dims} and past_value {value.dims}, expected "
            f"{expected[0]} and {expected[1]}"
        )
    return count


def infer_types(inputs: Sequence[Operand | None], a: Attributes) -> tuple[TensorType, ...]:
    """The types of Y, present_key and present_value."""
    types = [None if given is None else given.type for given in inputs]
    types += [None] * (FILLED + 1 - len(types))
    q = tensor(OP, inputs, 0, "Q", DTYPES)
    names = {1: "K", 2: "V", PAST_KEY: "past_key", PAST_VALUE: "past_value"}
    for index, name in names.items():
        if index < 3 or types[index] is not None:
            tensor(OP, inputs, index, name, (q.dtype,))
    if a.get("softmax_precision", 1) != 1:
        raise UnsupportedError(
            f"{OP}: softmax_precision={a['softmax_precision']}, expected 1, float"
        )
    if not 0 <= (mode := int(a.get("qk_matmul_output_mode", 0))) <= 3:
        raise ShapeError(f"{OP}: qk_matmul_output_mode={mode}, expected 0 to 3")
    form = form_of(types, a)
    mask, filled = types[MASK], types[FILLED]
    if filled is not None:
        _check_filled(filled, form)
    if mask is not None:
        check_dtype(OP, mask.dtype, (BOOL, q.dtype), "attn_mask")
        _check_mask(mask.dims, form, filled is not None)
    kept = (form.batch, form.stored, form.keys)
    shapes = form.y_shape, (*kept, form.size), (*kept, form.width)
    return tuple(TensorType(q.dtype, shape) for shape in shapes)


def _check_filled(filled: TensorType, form: Form) -> None:
    if filled.dims != (form.batch,) or filled.dtype != INT64 or form.past:
        raise ShapeError(
            f"{OP}: nonpad_kv_seqlen is {filled}, expected int64 of shape ({form.batch},), and no "
            "past beside it"
        )


def _check_mask(shape: tuple[int, ...], form: Form, is_filled: bool) -> None:
    to = (form.batch, form.heads, form.queries)
    columns = shape[-1] if shape else 0
    given = (1,) * (4 - len(shape)) + shape[:-1]
    fits = 0 < len(shape) <= 4 and columns <= form.keys
    if not fits or any(g not in (1, n) for g, n in zip(given, to, strict=True)):
        raise ShapeError(
            f"{OP}: attn_mask has shape {shape}, which does not fit {(*to, form.keys)}"
        )
    if columns == 1 < form.keys and not is_filled:
        raise UnsupportedError(
            f"{OP}: attn_mask has one column for {form.keys} keys, which opset 23 repeats and "
            "later ones fill up with -inf; give it a column for each key"
        )
