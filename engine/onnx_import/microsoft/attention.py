"""Attention of transformers: heads apart, what is added to scores, ONNX's Attention.

Letters in shapes: b sequences, n heads, s queries, t keys and values (those of the past first),
d elements of a head. Scores that a mask forbids get `mask_filter_value` added; what lies ahead of
a query, where `unidirectional` says so, gets none of the probability.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from engine.errors import ModelError, UnsupportedError
from engine.onnx_import.microsoft.body import Body

INT64 = TensorProto.INT64
FILTER = -10000.0
"""`mask_filter_value` where it is left out."""


def attention(body: Body) -> None:
    """Queries, keys and values are one product of the input, (b, s, n d)."""
    body.only("do_rotary", None, 0)
    body.only("past_present_share_buffer", None, 0)
    heads, keys = body.count("num_heads"), "p+s" if body.given("past") else "s"
    body.check_shapes(input="b s i", weights="i w", bias="w", past=f"2 b {heads} p d")
    body.check_shapes(mask_index=f"b | 2b | 3b+2 | b {keys}? | b s {keys} | b 1 * *")
    body.check_shapes(attention_bias=f"b? {heads}? s {keys}")
    qkv = body.of("MatMul", "input", "weights")
    if body.given("bias"):
        qkv = body.of("Add", qkv, "bias")
    sizes = body.attribute("qkv_hidden_sizes")
    if sizes is not None and len(sizes) != 3:
        raise ModelError(f"{body.title}: qkv_hidden_sizes={sizes}, expected three numbers")
    parts, split = ["query", "key", "value"], [body.integers(*sizes)] if sizes else []
    body.node("Split", [qkv, *split], parts, axis=-1, **({} if split else {"num_outputs": 3}))
    query, key, value = (_heads(body, part) for part in parts)
    past = ["", ""]
    if body.given("past"):
        body.node("Split", ["past"], ["past_keys", "past_values"], axis=0, num_outputs=2)
        first = body.integers(0)
        past = [body.of("Squeeze", part, first) for part in ("past_keys", "past_values")]
    bias = _bias(body, "mask_index", [key, past[0]], "input")
    attended, *presents = _attended(body, [query, key, value], bias, past)
    if body.wanted("present"):
        first = body.integers(0)
        both = [body.of("Unsqueeze", part, first) for part in presents]
        body.of("Concat", *both, into="present", axis=0)
    joined(body, attended)


def multi_head_attention(body: Body) -> None:
    """Queries (b, s, n d); keys and values that, or (b, n, t, d) as they are."""
    if not (body.given("key") and body.given("value")):
        raise UnsupportedError(
            f"{body.title}: keys and values that are packed with others are not supported"
        )
    apart = body.rank("key") == 4
    _check_inputs(body, apart)
    query, key, value = "query", "key", "value"
    if body.given("bias"):
        query, key, value = _biased(body, apart)
    query = _heads(body, query)
    key, value = (key, value) if apart else (_heads(body, key), _heads(body, value))
    past = [name if body.given(name) else "" for name in ("past_key", "past_value")]
    bias = _bias(body, "key_padding_mask", [key, past[0]], "query")
    attended, *presents = _attended(body, [query, key, value], bias, past)
    for present, now in zip(("present_key", "present_value"), presents, strict=True):
        if body.wanted(present):
            body.of("Identity", now, into=present)
    joined(body, attended)


def _check_inputs(body: Body, apart: bool) -> None:
    """Of a MultiHeadAttention, whose keys and values may be in heads, `apart`, already."""
    body.check_together("past_key", "past_value")
    heads, keys = body.count("num_heads"), "p+t" if body.given("past_key") else "t"
    body.check_shapes(query="b s h")
    if apart:
        body.check_shapes(key=f"b {heads} t d", value=f"b {heads} t d", bias="3h")
    else:
        body.check_shapes(key="b t h", value="b t v", bias="2h+v")
    body.check_shapes(past_key=f"b {heads} p d", past_value=f"b {heads} p e")
    body.check_shapes(key_padding_mask=f"b | 3b+2 | b {keys} | b s {keys}")
    body.check_shapes(attention_bias=f"b? {heads}? s {keys}")


def _biased(body: Body, apart: bool) -> list[str]:
    """Query, key and value, each with its part of the bias; of those in heads it is in already."""
    names = ("query", "key", "value")
    if apart:
        extent = body.of("Shape", "query", start=2, end=3)
        own = body.of("Slice", "bias", body.integers(0), extent)
        return [body.of("Add", "query", own), *names[1:]]
    extents = [body.of("Shape", name, start=2, end=3) for name in names]
    parts = [f"{name}_bias" for name in names]
    body.node("Split", ["bias", body.of("Concat", *extents, axis=0)], parts, axis=0)
    return [body.of("Add", *pair) for pair in zip(names, parts, strict=True)]


def _heads(body: Body, x: str) -> str:
    """(b, s, n d) to (b, n, s, d)."""
    split = body.of("Reshape", x, body.integers(0, 0, body.count("num_heads"), -1))
    return body.of("Transpose", split, perm=[0, 2, 1, 3])


def _bias(body: Body, mask: str, keys: list[str], like: str) -> str:
    """What is added to scores, "" for nothing: a bias, and the filter value for masked keys.

    Args:
        mask: of keys (b, t), of each query too (b, s, t), or the number of keys (b).
        keys: (b, n, t, d), those of the call and of the past, of which either may be "".
        like: an input of the dtype of scores.
    """
    given, bias = body.attribute("mask_filter_value"), "attention_bias"
    bias = bias if body.given(bias) else ""
    if not body.given(mask):
        return bias
    rank = body.rank(mask)
    if rank == 1:
        allowed = _among_the_first(body, keys, mask, like)
    elif rank in (2, 3):
        allowed = body.of("Greater", mask, body.constant(np.array(0, np.int32)))
        allowed = body.of("Unsqueeze", allowed, body.integers(*((1, 2) if rank == 2 else (1,))))
    else:
        raise UnsupportedError(f"{body.title}: a mask of {rank} axes is not supported")
    filtered = body.number(FILTER if given is None else given, like)
    masked = body.of("Where", allowed, body.number(0, like), filtered)
    return body.of("Add", bias, masked) if bias else masked


def _attended(body: Body, parts: list[str], bias: str, past: list[str]) -> list[str]:
    """Queries' results (b, n, s, d), and all keys and values, those of the past first."""
    query, *others = parts
    query, scale = scaled(body, query)
    results = ["attended", "all_keys", "all_values"]
    inputs = [query, *others, *([bias, *past] if past[0] else [bias] if bias else [])]
    is_causal = body.attribute("unidirectional") or 0
    body.node("Attention", inputs, results, is_causal=is_causal, **scale)
    return results


def scaled(body: Body, query: str) -> tuple[str, dict[str, Any]]:
    """Queries, and the attribute of ONNX's Attention, which takes the root of its own."""
    scale = body.attribute("scale")
    if not scale:
        return query, {}
    return body.of("Neg", query) if scale < 0 else query, {"scale": abs(scale)}


def _among_the_first(body: Body, keys: list[str], mask: str, like: str) -> str:
    """(b, 1, 1, t): which keys are before the end of their sequence, and not before its begin."""
    batch, ends = body.of("Shape", like, start=0, end=1), mask
    (count,), (sequences, *_) = body.dims(mask), body.dims(like)
    if sequences and count == 3 * sequences + 2:  # begins and ends in packed rows come after
        ends = body.of("Slice", mask, body.integers(0), body.integers(sequences))
    extents = [body.of("Shape", key, start=2, end=3) for key in keys if key]
    places = counted(body, extents[0] if len(extents) == 1 else body.of("Add", *extents))
    if sequences and count == 2 * sequences:
        body.node("Split", [mask], ["ends", "begins"], axis=0, num_outputs=2)
        ends = "ends"
    upright = body.of("Concat", batch, body.integers(1, 1, 1), axis=0)

    def of_sequences(numbers: str) -> str:
        return body.of("Reshape", body.of("Cast", numbers, to=INT64), upright)

    allowed = body.of("Less", places, of_sequences(ends))
    if ends != "ends":
        return allowed
    return body.of("And", allowed, body.of("GreaterOrEqual", places, of_sequences("begins")))


def counted(body: Body, count: str) -> str:
    """0 to count - 1, where count is one number in a vector."""
    first, step = (body.constant(np.array(n, np.int64)) for n in (0, 1))
    return body.of("Range", first, body.of("Squeeze", count), step)


def joined(body: Body, x: str) -> None:
    """The output: (b, n, s, d) with heads side by side, (b, s, n d)."""
    rows = body.of("Transpose", x, perm=[0, 2, 1, 3])
    body.of("Reshape", rows, body.integers(0, 0, -1), into="output")


def columns_of_caches(body: Body, name: str, partial: int, heads: int) -> str:
    """How wide the caches of a RotaryEmbedding are: half of a head, or of what is rotated of it.

    Args:
        name: of the input that has the heads. heads: of three-dimensional inputs, 0: not known.

    Returns:
        A number, or a letter where it is not known at import.
    """
    dims = body.dims(name)
    width = dims[-1] if len(dims) == 4 else dims[-1] and heads and dims[-1] // heads
    whole = partial or width
    return str(whole // 2) if whole else "r"


def rotary_embedding(body: Body) -> None:
    """ONNX's, of (b, s, n d) or (b, n, s, d), at positions (b, s) or from one on."""
    body.only("scale", None, 1.0)
    body.only("is_packed_batching", None, 0)
    partial, heads = (body.attribute(n) or 0 for n in ("rotary_embedding_dim", "num_heads"))
    rank, at, x = body.rank("input"), "position_ids", "input"
    for name, value in (("num_heads", heads), ("rotary_embedding_dim", partial)):
        if value < 0:
            raise ModelError(f"{body.title}: {name}={value}, expected 0 or more")
    body.check_shapes(input="b s h" if rank == 3 else "b n s h", position_ids="1 | b s")
    columns = columns_of_caches(body, "input", partial, heads)
    body.check_shapes(cos_cache=f"m {columns}", sin_cache=f"m {columns}")
    if rank == 3:
        _, angles = body.dims("cos_cache")
        if not (heads or angles):
            raise UnsupportedError(f"{body.title}: the size of a head is not known at import")
        split = body.integers(0, 0, *((heads, -1) if heads else (-1, 2 * int(angles or 0))))
        x = body.of("Transpose", body.of("Reshape", x, split), perm=[0, 2, 1, 3])
    if body.rank(at) == 1:
        batch = body.of("Shape", x, start=0, end=1)
        extent = body.of("Shape", x, start=2, end=3)
        every = body.of("Add", counted(body, extent), at)
        at = body.of("Expand", every, body.of("Concat", batch, extent, axis=0))
    flags: dict[str, Any] = {
        "interleaved": body.attribute("interleaved") or 0,
        "rotary_embedding_dim": partial,
    }
    if rank == 3:
        joined(body, body.of("RotaryEmbedding", x, "cos_cache", "sin_cache", at, **flags))
    else:
        body.of("RotaryEmbedding", x, "cos_cache", "sin_cache", at, into="output", **flags)
