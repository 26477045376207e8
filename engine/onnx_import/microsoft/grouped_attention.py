"""Attention in which several heads of queries share one of keys, with a cache of keys and values.

Letters in shapes: b sequences, n heads of queries, m of keys, s queries, p places of the cache that
comes in, t of that which goes out, d elements of a head. Sequences of a batch may have different
lengths: a sequence has `seqlens_k` + 1 keys, of which the last s are new; those before come from
the cache, where they lie at its begin. Of a first prompt, in which all keys are new, they are the
first ones. Places behind a sequence are 0. A query sees the keys up to its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from engine.errors import ModelError, UnsupportedError
from engine.onnx_import.microsoft.attention import counted, joined, scaled
from engine.onnx_import.microsoft.body import Body

INT64 = TensorProto.INT64
ALL = -1
"""`local_window_size` where each query sees all keys up to its own."""


@dataclass(frozen=True)
class _Places:
    """Where queries and keys lie in their sequences.

    Attributes:
        begins: of the new keys, (b, 1). queries: (b, s). kept: all of the cache, (1, t).
        total: how many keys the longest sequence has, a vector of one number.
    """

    begins: str
    queries: str
    kept: str
    total: str


def attention(body: Body) -> None:
    """The probabilities of keys times values, heads side by side again."""
    _check_inputs(body)
    body.only("smooth_softmax", 0, -1)
    if (window := body.attribute("local_window_size")) < 1 and window != ALL:
        raise ModelError(
            f"{body.title}: local_window_size={window}, expected 1 or more, or {ALL} for no window"
        )
    query, key, value = _apart(body)
    places = _places(body, query)
    if body.attribute("do_rotary"):
        query, key = (_rotated(body, x, places) for x in (query, key))
    key = _cached(body, key, places, "past_key", "present_key")
    value = _cached(body, value, places, "past_value", "present_value")
    mask = _seen(body, places)
    if body.given("attention_bias"):
        hidden = body.number(-np.inf, "query")
        mask = body.of("Where", mask, "attention_bias", hidden)
    joined(body, _attended(body, query, key, value, mask))


def _check_inputs(body: Body) -> None:
    heads = body.count("kv_num_heads")
    body.check_together("key", "value")
    body.check_together("past_key", "past_value")
    body.check_shapes(query="b s h", key="b s k", value="b s v")
    body.check_shapes(past_key=f"b {heads} p d", past_value=f"b {heads} p e")
    body.check_shapes(seqlens_k="b | b 1 | 1 b", position_ids="b s")
    body.check_shapes(cos_cache="m r", sin_cache="m r")
    body.check_shapes(attention_bias=f"b? {body.count('num_heads')}? s t")
    body.check_single("total_sequence_length")
    _check_lengths(body)


def _check_lengths(body: Body) -> None:
    """Constant ones; only in a first prompt a sequence may have fewer keys than are new."""
    new, most = body.extent("s"), body.extent("p+s" if body.given("past_key") else "s")
    total = body.array("total_sequence_length")
    if new is None or most is None or total is None:
        return
    longest = int(total.item())
    body.check_range("total_sequence_length", new, most)
    body.check_range("seqlens_k", 0 if longest == new else new - 1, longest - 1)


def _apart(body: Body) -> list[str]:
    """Queries (b, n, s, d), keys and values (b, m, s, d)."""
    n, m = body.count("num_heads"), body.count("kv_num_heads")
    if n % m:
        raise ModelError(f"{body.title}: num_heads={n} is no multiple of kv_num_heads={m}")

    def heads(name: str, count: int) -> str:
        split = body.of("Reshape", name, body.integers(0, 0, count, -1))
        return body.of("Transpose", split, perm=[0, 2, 1, 3])

    if body.given("key"):
        return [heads("query", n), heads("key", m), heads("value", m)]
    parts = ["queries", "keys", "values"]
    body.node("Split", [heads("query", n + 2 * m), body.integers(n, m, m)], parts, axis=1)
    return parts


def _places(body: Body, query: str) -> _Places:
    one, none = body.integers(1), body.integers(0)
    total = body.of("Cast", "total_sequence_length", to=INT64)
    total = body.of("Reshape", total, one)
    new = body.of("Shape", query, start=2, end=3)
    lengths = body.of("Reshape", body.of("Cast", "seqlens_k", to=INT64), body.integers(-1, 1))
    begins = body.of("Sub", body.of("Add", lengths, one), new)
    begins = body.of("Where", body.of("Equal", new, total), none, begins)
    extent = total
    if body.given("past_key"):
        extent = body.of("Max", total, body.of("Shape", "past_key", start=2, end=3))
    kept = body.of("Unsqueeze", counted(body, extent), none)
    return _Places(begins, body.of("Add", begins, counted(body, new)), kept, total)


def _rotated(body: Body, x: str, places: _Places) -> str:
    if not (body.given("cos_cache") and body.given("sin_cache")):
        raise ModelError(f"{body.title}: do_rotary=1 needs cos_cache and sin_cache")
    _, half = body.dims("cos_cache")
    if half is None:
        raise UnsupportedError(f"{body.title}: the size of cos_cache is not known at import")
    at = "position_ids" if body.given("position_ids") else places.queries
    flags: dict[str, Any] = {"interleaved": body.attribute("rotary_interleaved") or 0}
    flags["rotary_embedding_dim"] = 2 * half
    return body.of("RotaryEmbedding", x, "cos_cache", "sin_cache", at, **flags)


def _cached(body: Body, new: str, places: _Places, past: str, present: str) -> str:
    """What was kept, then what is new, then 0, (b, m, t, d); of it, as many as the longest has."""
    extent = body.of("Shape", new, start=2, end=3)
    offset = body.of("Sub", places.kept, places.begins)  # (b, t), into what is new
    none, last = body.integers(0), body.of("Sub", extent, body.integers(1))
    at = body.of("Clip", offset, body.of("Squeeze", none), body.of("Squeeze", last))
    if body.given(past):
        kept = body.of("Shape", past, start=2, end=3)
        new = body.of("Concat", past, new, axis=2)
        old = body.of("Less", offset, none)
        at = body.of("Where", old, places.kept, body.of("Add", at, kept))
    at = body.of("Unsqueeze", at, body.integers(1, 3))
    ends = [body.of("Shape", new, start=i, end=i + 1) for i in (0, 1, 3)]
    keys = body.of("Shape", at, start=2, end=3)
    at = body.of("Expand", at, body.of("Concat", *ends[:2], keys, ends[2], axis=0))
    found = body.of("GatherElements", new, at, axis=2)
    within = body.of("Unsqueeze", body.of("Less", offset, extent), body.integers(1, 3))
    into = present if body.wanted(present) else ""
    cache = body.of("Where", within, found, body.number(0, "query"), into=into)
    return body.of("Slice", cache, body.integers(0), places.total, body.integers(2))


def _attended(body: Body, query: str, key: str, value: str, mask: str) -> str:
    """(b, n, s, d)."""
    query, scale = scaled(body, query)
    softcap = abs(body.attribute("softcap") or 0.0)  # c tanh(x / c) is that of -c
    return body.of("Attention", query, key, value, mask, softcap=softcap, **scale)


def _seen(body: Body, places: _Places) -> str:
    """(b, 1, s, t): which keys are not ahead of a query, and within its window."""
    last = body.of("Unsqueeze", places.queries, body.integers(2))
    keys = counted(body, places.total)
    seen = body.of("LessOrEqual", keys, last)
    window = body.attribute("local_window_size")
    if window != ALL:
        first = body.of("Sub", last, body.integers(window))
        seen = body.of("And", seen, body.of("Greater", keys, first))
    return body.of("Unsqueeze", seen, body.integers(1))
