"""Pad: a tensor surrounded by a constant, its reflection, its edge or its repetition.

Source: https://onnx.ai/onnx/operators/onnx__Pad.html. Negative pads crop, before anything is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ir.types import FLOAT8E8M0, FLOATS, TensorType, dtype_name, zero_of
from engine.ops.operands import (
    Ints,
    Operands,
    example_on_payload,
    input_at,
    integers,
    known_integers,
    movement,
    normal_axes,
    tensor,
    vector,
    zeros,
)
from engine.ops.spec import HERE, Arrays, Attributes, Call, Choose, Growth, OpSpec, Reject

Array = np.ndarray
PAD_MODES = ("constant", "reflect", "edge", "wrap")


@dataclass(frozen=True)
class Padding:
    """One axis of a Pad: `crop` elements dropped in front, `extent` kept, then padding added."""

    crop: int
    extent: int
    before: int
    after: int

    @property
    def output(self) -> int:
        """The extent of the result."""
        return self.before + self.extent + self.after


def paddings(shape: Ints, pads: Ints, axes: Ints | None, mode: str) -> tuple[Padding, ...]:
    """Every axis of a Pad; negative pads crop first."""
    normal = normal_axes("Pad", range(len(shape)) if axes is None else axes, len(shape), shape)
    if mode not in PAD_MODES:
        raise ShapeError(f"Pad: mode={mode!r} is not one of {', '.join(PAD_MODES)}")
    if len(pads) != 2 * len(normal):
        raise ShapeError(
            f"Pad: pads={list(pads)} has {len(pads)} entries, expected {2 * len(normal)}"
        )
    result = [Padding(0, n, 0, 0) for n in shape]
    for i, axis in enumerate(normal):
        begin, end = pads[i], pads[i + len(normal)]
        crop, extent = max(-begin, 0), shape[axis] - max(-begin, 0) - max(-end, 0)
        added = Padding(crop, extent, max(begin, 0), max(end, 0))
        if extent < 0 or (extent == 0 and mode != "constant" and added.output):
            raise ShapeError(
                f"Pad: pads ({begin}, {end}) leave {extent} of {shape[axis]} elements "
                f"on axis {axis}, mode={mode}"
            )
        result[axis] = added
    return tuple(result)


def _infer_pad(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x = tensor("Pad", inputs, 0)
    pads = known_integers("Pad", inputs, 1, "pads")
    if pads is None:
        raise ShapeError("Pad: input 1 (pads) is missing")
    value = inputs[2] if len(inputs) > 2 else None
    if value is not None and (value.type.size != 1 or value.type.dtype != x.dtype):
        raise ShapeError(f"Pad: constant_value is {value.type}, expected one {dtype_name(x.dtype)}")
    if value is None and x.dtype == FLOAT8E8M0 and attributes.get("mode", "constant") == "constant":
        raise UnsupportedError(
            f"Pad: {dtype_name(x.dtype)} has no zero to pad with: give constant_value"
        )
    axes = known_integers("Pad", inputs, 3, "axes")
    parts = paddings(x.dims, pads, axes, str(attributes.get("mode", "constant")))
    return (TensorType(x.dtype, tuple(p.output for p in parts)),)


def pad_parts(
    x: Ints, inputs: Sequence[Array | None], attributes: Attributes
) -> tuple[Padding, ...]:
    """`paddings` from the arrays of the inputs; x is the shape of the first."""
    axes = input_at(inputs, 3)
    mode = str(attributes.get("mode", "constant"))
    return paddings(x, integers(inputs[1]), None if axes is None else integers(axes), mode)


def _pad(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x, value = inputs[0], input_at(inputs, 2)
    assert x is not None
    parts = pad_parts(x.shape, inputs, attributes)
    kept = x[tuple(slice(p.crop, p.crop + p.extent) for p in parts)]
    widths = [(p.before, p.after) for p in parts]
    mode: Any = str(attributes.get("mode", "constant"))
    if not widths:
        return (kept,)
    if mode == "constant":
        fill = zero_of(x.dtype)[()] if value is None else value.reshape(())[()]
        return (np.pad(kept, widths, constant_values=fill),)
    return (np.pad(kept, widths, mode=mode),)


def _grow_pad(choose: Choose, x: TensorType) -> Growth:
    rank = len(x.dims)
    mode = choose.one_of(PAD_MODES)
    if 0 in x.dims:
        mode = "constant"
    widths = [[0, 0] for _ in range(rank)]
    for _ in range(min(2, rank)):
        axis = choose.integer(0, rank - 1)
        n = x.dims[axis]
        least = -1 if n > 2 else 0
        widths[axis] = [choose.integer(least, 3), choose.integer(least, 3)]
    order = list(range(rank))
    axes = None
    if rank and choose.integer(0, 2) == 2:
        order = order[::-1]
        axes = np.array([axis - choose.one_of((rank, 0)) for axis in order], np.int64)
    pads = np.array([widths[a][0] for a in order] + [widths[a][1] for a in order], np.int64)
    if mode != "constant":
        return Growth((HERE, pads) if axes is None else (HERE, pads, None, axes), {"mode": mode})
    value = np.array(choose.one_of((0, 1)), x.dtype)
    if x.dtype in FLOATS:
        value = np.array(choose.one_of((0, -1.5, -np.inf)), x.dtype)
    if axes is not None:
        return Growth((HERE, pads, choose.one_of((None, value)), axes), {})
    return Growth(choose.one_of(((HERE, pads), (HERE, pads, value))), {})


SPECS: tuple[OpSpec, ...] = (
    movement(
        "Pad",
        (2, 4),
        _infer_pad,
        _pad,
        example_on_payload(_grow_pad, (0, 4)),
        grow=_grow_pad,
        constant_inputs=frozenset({1, 3}),
        edges=(
            lambda: Call((zeros(), vector())),
            lambda: Call((zeros(0, 2), vector(1, 0, 2, 0), np.array(5, "f4"))),
            lambda: Call((np.arange(3, dtype="i8"), vector(7, 8)), {"mode": "reflect"}),
            lambda: Call((np.arange(3, dtype="i8"), vector(7, 8)), {"mode": "wrap"}),
            lambda: Call(
                (np.arange(8, dtype="f4"), vector(-2, 3), None, vector(-1)), {"mode": "edge"}
            ),
        ),
        rejects=(
            Reject("count", lambda: Call((zeros(2, 3), vector(1, 1))), "expected 4"),
            Reject("crop", lambda: Call((zeros(2), vector(-2, -1))), "leave -1 of 2"),
            Reject(
                "nothing to reflect",
                lambda: Call((zeros(0), vector(1, 0)), {"mode": "reflect"}),
                "mode=reflect",
            ),
        ),
        reads=("mode",),
    ),
)
