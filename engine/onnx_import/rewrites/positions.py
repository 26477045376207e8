"""Positions of a RotaryEmbedding, looked up in its caches: its kernels take angles of tokens.

Source: https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html, where the function body begins
with the same Gather. So one check of indices serves, and heads share what was looked up.
"""

from __future__ import annotations

from engine.errors import ModelError
from engine.ir.types import INT64, dtype_name
from engine.onnx_import.form import Emitter, Form

NAMES = ("cos_cache", "sin_cache", "position_ids")


def rotary_embedding(form: Form, emitter: Emitter) -> None:
    """Rows of both caches in place of `position_ids`."""
    positions = form.input(3)
    rank = 3 if positions is None else 2
    for name, value, expected in zip(NAMES, form.inputs[1:], (rank, rank, 2), strict=False):
        if emitter.rank(value) not in (None, expected):
            raise ModelError(
                f"{form.title}: {name} has rank {emitter.rank(value)}, expected {expected} "
                f"{'without' if positions is None else 'with'} position_ids"
            )
    if positions is not None:
        dtype = emitter.dtype(positions)
        if dtype not in (None, INT64):
            raise ModelError(f"{form.title}: position_ids is {dtype_name(dtype)}, expected int64")
        form.inputs[1:3] = [
            emitter.emit("Gather", [cache, positions], {"axis": 0}) for cache in form.inputs[1:3]
        ]
    del form.inputs[3:]
