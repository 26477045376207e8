"""Attention: two products and the softmax between them, in float."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.cpu.matmul import multiply
from engine.backends.cpu.scratch import scratch
from engine.ir.graph import Node
from engine.ops.attention_form import FILLED, MASK, PAST_KEY, PAST_VALUE, Form, form_of

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

Array = np.ndarray
FLOAT = np.dtype(np.float32)


def _heads(x: Array, count: int) -> Array:
    """A view, (b, heads, tokens, size)."""
    if x.ndim == 4:
        return x
    batch, tokens, hidden = x.shape
    return x.reshape(batch, tokens, count, hidden // count).swapaxes(1, 2)


def _append(past: Array | None, fresh: Array, present: Array | None) -> Array:
    """What was kept and what is new, in `present` where that is asked for."""
    if past is None:
        if present is not None:
            present[...] = fresh
        return fresh
    return np.concatenate([past, fresh], axis=2, out=present)


def _hidden(form: Form, filled: Array | None) -> Array | None:
    """Keys that a query does not see, whatever the mask, each axis whole or 1; None for none."""
    key, query = np.arange(form.keys), np.arange(form.queries)[:, None]
    hidden: list[Array] = []
    own = query + form.past
    if filled is not None:
        ends = filled[:, None, None, None]
        own = query + (ends - form.queries)
        hidden.append(key >= ends)
    if form.right is not None:
        hidden.append(key - own > form.right)
    if form.left is not None:
        hidden.append(own - key > form.left)
    return functools.reduce(np.logical_or, hidden) if hidden else None


def _add_bias(scores: Array, mask: Array | None, hidden: Array | None) -> Array:
    """Into scores (b, n, s, t); returns which rows see a key at all, each axis whole or 1."""
    bias = np.zeros((1, 1, 1, 1), FLOAT)
    if mask is not None:
        bias = np.where(mask, FLOAT.type(0), -np.inf) if mask.dtype == np.bool_ else mask
        bias = bias.astype(FLOAT, copy=False).reshape((1,) * (4 - mask.ndim) + mask.shape)
        left_out = scores.shape[-1] - mask.shape[-1]
        if left_out:
            bias = np.pad(bias, [(0, 0)] * 3 + [(0, left_out)], constant_values=-np.inf)
    if hidden is not None:
        bias = bias + np.where(hidden, FLOAT.type(-np.inf), FLOAT.type(0))
    scores += bias
    is_seen: Array = (bias != -np.inf).any(axis=-1, keepdims=True)
    return is_seen


def _weigh(scores: Array, is_seen: Array) -> Array:
    """Scores become exponentials, 0 in rows that see no key; returns their sums, 1 for 0."""
    largest = np.max(scores, axis=-1, keepdims=True, initial=-np.inf)
    scores -= np.where(largest == -np.inf, FLOAT.type(0), largest)
    np.exp(scores, out=scores)
    if not is_seen.all():
        np.copyto(scores, 0, where=~is_seen)
    total = np.add.reduce(scores, axis=-1, keepdims=True)
    total[total == 0] = 1
    return total


def _make(backend: CpuBackend, node: Node) -> Function:
    types = [None if value is None else value.known_type for value in node.inputs]
    form = form_of(types, node.attributes)
    rows = (form.batch, form.stored, form.shared * form.queries)
    whole = (form.batch, form.heads, form.queries)

    def run(inputs: Views, outputs: Sequence[Array]) -> None:
        given = [*inputs, *(None,) * (FILLED + 1 - len(inputs))]
        q, k, v = (
            _heads(x, n)
            for x, n in zip(given[:3], (form.heads, form.stored, form.stored), strict=True)
            if x is not None
        )
        presents = [*outputs[1:], None, None]
        k, v = (
            _append(past, fresh, present).astype(FLOAT, copy=False)
            for past, fresh, present in zip(
                (given[PAST_KEY], given[PAST_VALUE]), (k, v), presents, strict=False
            )
        )
        scaled = np.multiply(q, FLOAT.type(form.scale), dtype=FLOAT).reshape(*rows, form.size)
        scores = scratch("attention scores", (*rows, form.keys), FLOAT)
        multiply(backend.team, scaled, k.swapaxes(2, 3), scores)
        if form.softcap:
            scores /= FLOAT.type(form.softcap)
            np.tanh(scores, out=scores)
            scores *= FLOAT.type(form.softcap)
        table = scores.reshape(*whole, form.keys)
        is_seen = _add_bias(table, given[MASK], _hidden(form, given[FILLED]))
        total = _weigh(table, is_seen)
        y = scratch("attention y", (*rows, form.width), FLOAT)
        multiply(backend.team, scores, v, y)
        y = y.reshape(*whole, form.width)
        y /= total
        _heads(outputs[0], form.heads)[...] = y

    return run


KERNELS = {"Attention": _make}
