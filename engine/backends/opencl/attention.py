"""Attention: keys and values with those of the past, then one launch that takes them in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backends.opencl import strides
from engine.backends.opencl.commands import in_order
from engine.backends.opencl.reduce import accumulating_options
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ir.types import BOOL, TensorType
from engine.ops.attention_form import FILLED, MASK, PAST_KEY, PAST_VALUE, Form, form_of

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

ROWS, COLUMNS, TOKENS = 4, 128, 64
"""Queries, elements of a value, tokens to append per work-item, as in kernels/attention.cl."""
NO_MASK, NUMBERS, BOOLEANS = 0, 1, 2
FAR = 2**63 - 1
"""A window that leaves out nothing."""
Ints = tuple[int, ...]


def _steps(shape: Ints, heads: int) -> Any:
    """Between sequences, heads and tokens, of either form."""
    if len(shape) == 4:
        return strides.longs(*strides.dense(shape))
    _, tokens, hidden = shape
    return strides.longs(tokens * hidden, hidden // heads, hidden, 1)


@dataclass(frozen=True)
class _Job:
    """What the launches of one node share."""

    backend: OpenCLBackend
    program: Any
    form: Form

    def present(self, past: Slot | None, fresh: Slot, present: Slot | None) -> tuple[Slot, Any]:
        """Where all keys, or values, lie, and the launch that brings them there, if any."""
        form = self.form
        if past is None and present is None:
            return fresh, None
        size = fresh.type.dims[-1] // (1 if form.apart else form.stored)
        if present is None:
            type_ = TensorType(fresh.type.dtype, (form.batch, form.stored, form.keys, size))
            nbytes = type_.size * fresh.storage.itemsize
            present = Slot(self.backend.allocate(nbytes), 0, type_, fresh.storage)
        grid = (-(-form.keys // TOKENS), form.stored if size else 0, form.batch)
        launch = self.backend.command(
            self.program, "append", grid, (1, 1, 1), past or fresh, fresh, present,
            _steps(fresh.type.dims, form.stored), strides.ints(form.past, form.keys, size, 0),
        )  # fmt: skip
        return present, launch

    def attend(self, qkv: Sequence[Slot], y: Slot, more: Sequence[Slot | None]) -> Command:
        """All queries, ROWS of those that share keys at a time."""
        form, (mask, filled) = self.form, more
        kind, columns, mask_steps = self.mask(mask)
        grid = (
            -(-(form.shared * form.queries) // ROWS),
            -(-form.width // COLUMNS),
            form.batch * form.stored,
        )
        numbers, booleans = ((mask or y) if kind == k else y for k in (NUMBERS, BOOLEANS))
        counts = (form.heads, form.stored, form.stored, form.heads)
        steps = (_steps(s.type.dims, n) for s, n in zip((*qkv, y), counts, strict=True))
        size = (form.stored, form.shared, form.queries, form.keys, form.size, form.width)
        windows = (FAR if side is None else side for side in (form.left, form.right))
        return self.backend.command(
            self.program, "attend", grid, (1, 1, 1), *qkv, numbers, booleans, filled or y, y,
            *steps, mask_steps, strides.ints(*size, columns, 0),
            strides.ints(kind, filled is not None), strides.longs(*windows),
            np.int64(form.past), np.float32(form.scale), np.float32(form.softcap),
        )  # fmt: skip

    def mask(self, mask: Slot | None) -> tuple[int, int, Any]:
        """Its kind, columns, and steps between sequences, heads, queries and keys."""
        form = self.form
        if mask is None:
            return NO_MASK, form.keys, strides.longs(0, 0, 0, 0)
        kind, shape = BOOLEANS if mask.type.dtype == BOOL else NUMBERS, mask.type.dims
        to = (form.batch, form.heads, form.queries, shape[-1])
        steps = strides.broadcast(shape, strides.dense(shape), to)
        return kind, shape[-1], strides.longs(*steps)


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    types = [None if value is None else value.known_type for value in node.inputs]
    form = form_of(types, node.attributes)
    options = accumulating_options(backend, node.outputs[0].known_type.dtype)
    job = _Job(backend, backend.program("attention", options), form)

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        given = [*inputs, *(None,) * (FILLED + 1 - len(inputs))]
        presents = [*outputs[1:], None, None]
        q, *fresh = given[:3]
        assert q is not None
        slots, launches, scratch = [], [], []
        for past, new, present in zip(
            (given[PAST_KEY], given[PAST_VALUE]), fresh, presents, strict=False
        ):
            assert new is not None
            slot, launch = job.present(past, new, present)
            slots.append(slot)
            if launch is not None:
                launches.append(launch)
            if slot not in (new, present):
                scratch.append(slot.arena)
        launches.append(job.attend((q, *slots), outputs[0], (given[MASK], given[FILLED])))
        return in_order(launches, scratch)

    return BoundKernel(bind)


KERNELS = {"Attention": _prepare}
