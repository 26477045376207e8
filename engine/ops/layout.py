"""Rearrangements and repetitions of whole tensors, and the two internal copies.

Source: https://onnx.ai/onnx/operators/ (Transpose, Expand, Tile, DepthToSpace, SpaceToDepth).
`Reorder` changes how a value is stored (its slots tell), `Copy` carries a value across backends;
both are the identity, neither is an ONNX operator.
"""

from __future__ import annotations

import math

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import FLOATS, TensorType
from engine.ops.numerics import Error, Units, exact, rounded
from engine.ops.operands import (
    Ints,
    Operands,
    example_on_payload,
    integers,
    known_integers,
    movement,
    payload,
    tensor,
    vector,
    zeros,
)
from engine.ops.spec import HERE, Arrays, Attributes, Call, Choose, Growth, Law, OpSpec, Reject

Array = np.ndarray
HEAVY = 1 << 16
"""Random graphs stop repeating tensors beyond this many elements."""


# --------------------------------------------------------------------------- Transpose
def permutation(rank: int, attributes: Attributes) -> Ints:
    """`perm` of a Transpose; reversed axes by default."""
    perm = tuple(int(p) for p in attributes.get("perm") or range(rank)[::-1])
    if sorted(perm) != list(range(rank)):
        raise ShapeError(f"Transpose: perm={list(perm)} is not a permutation of {rank} axes")
    return perm


def _infer_transpose(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x = tensor("Transpose", inputs, 0)
    return (TensorType(x.dtype, tuple(x.shape[p] for p in permutation(len(x.shape), attributes))),)


def _transpose(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    (x,) = inputs
    assert x is not None
    return (np.transpose(x, permutation(x.ndim, attributes)),)


def _grow_transpose(choose: Choose, x: TensorType) -> Growth:
    left = list(range(len(x.shape)))
    if not left or not choose.integer(0, 2):
        return Growth((HERE,))
    perm = [left.pop(choose.integer(0, len(left) - 1)) for _ in range(len(left))]
    return Growth((HERE,), {"perm": tuple(perm)})


def _transposed_call(call: Call) -> Call:
    """The reversed input under the permutation that undoes the reversal."""
    x = call.inputs[0]
    assert x is not None
    perm = [x.ndim - 1 - p for p in permutation(x.ndim, call.attributes)]
    return Call((np.ascontiguousarray(x.T).reshape(x.shape[::-1]),), {"perm": tuple(perm)})


# --------------------------------------------------------------------------- Expand, Tile
def _infer_expand(inputs: Operands, _: Attributes) -> tuple[TensorType, ...]:
    x = tensor("Expand", inputs, 0)
    wanted = known_integers("Expand", inputs, 1, "shape")
    if wanted is None:
        raise ShapeError("Expand: input 1 (shape) is missing")
    try:
        return (TensorType(x.dtype, np.broadcast_shapes(x.dims, wanted)),)
    except ValueError:
        raise ShapeError(f"Expand: shape={list(wanted)} does not broadcast with {x.dims}") from None


def _expand(inputs: Arrays, _: Attributes) -> tuple[Array, ...]:
    x, shape = inputs
    assert x is not None
    return (np.broadcast_to(x, np.broadcast_shapes(x.shape, integers(shape))).copy(),)


def _grow_expand(choose: Choose, x: TensorType) -> Growth:
    shape = list(x.dims)
    for i, extent in enumerate(shape):
        if extent == 1 and math.prod(shape) < HEAVY:
            shape[i] = choose.one_of((1, 2, 5))
        elif choose.integer(0, 3) == 3:
            shape[i] = 1
    if math.prod(x.dims) < HEAVY and len(shape) < 5 and choose.integer(0, 1):
        shape.insert(0, choose.one_of((1, 3)))
    return Growth((HERE, np.array(shape, np.int64)))


def _infer_tile(inputs: Operands, _: Attributes) -> tuple[TensorType, ...]:
    x = tensor("Tile", inputs, 0)
    repeats = known_integers("Tile", inputs, 1, "repeats")
    if repeats is None or len(repeats) != len(x.dims) or min(repeats, default=0) < 0:
        raise ShapeError(
            f"Tile: repeats={repeats}, expected {len(x.dims)} counts >= 0 for shape {x.dims}"
        )
    return (TensorType(x.dtype, tuple(e * r for e, r in zip(x.dims, repeats, strict=True))),)


def _tile(inputs: Arrays, _: Attributes) -> tuple[Array, ...]:
    x, repeats = inputs
    assert x is not None
    return (np.tile(x, integers(repeats)),)


def _grow_tile(choose: Choose, x: TensorType) -> Growth:
    counts = (1, 2, 3) if math.prod(x.dims) < HEAVY else (1,)
    repeats = [1] * len(x.dims)
    for _ in range(min(2, len(repeats))):
        repeats[choose.integer(0, len(repeats) - 1)] = choose.one_of(counts)
    return Growth((HERE, np.array(repeats, np.int64)))


# --------------------------------------------------------------------------- blocks
def block_size(op: str, x: Ints, attributes: Attributes) -> int:
    """The blocksize, checked against a 4-D shape (N, C, H, W)."""
    block = int(attributes.get("blocksize", 0))
    if len(x) != 4 or block < 1:
        raise ShapeError(f"{op}: shape {x}, blocksize={block}; expected rank 4 and at least 1")
    if op == "DepthToSpace" and x[1] % (block * block):
        raise ShapeError(f"{op}: {x[1]} channels are not divisible by blocksize^2={block * block}")
    if op == "SpaceToDepth" and (x[2] % block or x[3] % block):
        raise ShapeError(f"{op}: height and width {x[2:]} are not divisible by blocksize={block}")
    return block


def _infer_depth_to_space(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x = tensor("DepthToSpace", inputs, 0)
    b = block_size("DepthToSpace", x.dims, attributes)
    mode = attributes.get("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise ShapeError(f"DepthToSpace: mode={mode!r} is neither DCR nor CRD")
    n, c, h, w = x.dims
    return (TensorType(x.dtype, (n, c // (b * b), h * b, w * b)),)


def _depth_to_space(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    (x,) = inputs
    assert x is not None
    n, c, h, w = x.shape
    b = block_size("DepthToSpace", x.shape, attributes)
    deep = c // (b * b)
    if attributes.get("mode", "DCR") == "DCR":
        y = x.reshape(n, b, b, deep, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(n, deep, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return (y.reshape(n, deep, h * b, w * b),)


def _infer_space_to_depth(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    x = tensor("SpaceToDepth", inputs, 0)
    b = block_size("SpaceToDepth", x.dims, attributes)
    n, c, h, w = x.dims
    return (TensorType(x.dtype, (n, c * b * b, h // b, w // b)),)


def _space_to_depth(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    (x,) = inputs
    assert x is not None
    n, c, h, w = x.shape
    b = block_size("SpaceToDepth", x.shape, attributes)
    y = x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
    return (y.reshape(n, c * b * b, h // b, w // b),)


def _grow_depth_to_space(choose: Choose, x: TensorType) -> Growth | None:
    if len(x.dims) != 4:
        return None
    fits = [b for b in (1, 2, 3) if x.dims[1] % (b * b) == 0]
    mode = choose.one_of(("DCR", "CRD"))
    return Growth((HERE,), {"blocksize": fits[choose.integer(0, len(fits) - 1)], "mode": mode})


def _grow_space_to_depth(choose: Choose, x: TensorType) -> Growth | None:
    if len(x.dims) != 4:
        return None
    fits = [b for b in (1, 2, 3) if x.dims[2] % b == 0 and x.dims[3] % b == 0]
    return Growth((HERE,), {"blocksize": fits[choose.integer(0, len(fits) - 1)]})


def _draw_blocks(op: str, choose: Choose) -> Call:
    b = choose.one_of((1, 2, 3))
    n, c, h, w = (choose.integer(1, 2), *(choose.one_of((1, 2, 5, 17)) for _ in range(3)))
    if op == "DepthToSpace":
        mode = choose.one_of(("DCR", "CRD"))
        return Call((payload(choose, (n, c * b * b, h, w)),), {"blocksize": b, "mode": mode})
    return Call((payload(choose, (n, c, h * b, w * b)),), {"blocksize": b})


# --------------------------------------------------------------------------- internal copies
def _infer_same(inputs: Operands, _: Attributes) -> tuple[TensorType, ...]:
    return (tensor("Copy", inputs, 0),)


def _same(inputs: Arrays, _: Attributes) -> tuple[Array, ...]:
    return (np.asarray(inputs[0]),)


def _copy_error(inputs: Arrays, _: Attributes, units: Units) -> tuple[Error, ...]:
    """Rounded to the destination's storage once; only floating-point elements can change."""
    y = np.asarray(inputs[0])
    return (rounded(y, units, roundings=0),) if y.dtype in FLOATS else exact(y)


SPECS: tuple[OpSpec, ...] = (
    movement(
        "Transpose",
        (1, 1),
        _infer_transpose,
        _transpose,
        example_on_payload(_grow_transpose),
        grow=_grow_transpose,
        edges=(
            lambda: Call((zeros(),)),
            lambda: Call((zeros(2, 0, 3),), {"perm": (2, 0, 1)}),
            lambda: Call((np.arange(720, dtype=np.int8).reshape(1, 2, 3, 4, 5, 6),)),
        ),
        rejects=(
            Reject("repeated", lambda: Call((zeros(2, 3),), {"perm": (0, 0)}), "permutation"),
            Reject("too short", lambda: Call((zeros(2, 3),), {"perm": (0,)}), "of 2 axes"),
        ),
        laws=(
            Law("a reversed input under the undone permutation", _transposed_call, lambda c, y: y),
        ),
        reads=("perm",),
    ),
    movement(
        "Expand",
        (2, 2),
        _infer_expand,
        _expand,
        example_on_payload(_grow_expand),
        grow=_grow_expand,
        constant_inputs=frozenset({1}),
        edges=(
            lambda: Call((zeros(), vector(2, 3))),
            lambda: Call((zeros(1, 3), vector(0, 1))),
            lambda: Call((zeros(3, 1), vector())),
        ),
        rejects=(Reject("extents", lambda: Call((zeros(2, 3), vector(4))), "does not broadcast"),),
    ),
    movement(
        "Tile",
        (2, 2),
        _infer_tile,
        _tile,
        example_on_payload(_grow_tile),
        grow=_grow_tile,
        constant_inputs=frozenset({1}),
        edges=(lambda: Call((zeros(), vector())), lambda: Call((zeros(2, 3), vector(0, 2)))),
        rejects=(Reject("count", lambda: Call((zeros(2, 3), vector(2))), "expected 2 counts"),),
    ),
    movement(
        "DepthToSpace",
        (1, 1),
        _infer_depth_to_space,
        _depth_to_space,
        lambda choose: _draw_blocks("DepthToSpace", choose),
        grow=_grow_depth_to_space,
        edges=(lambda: Call((zeros(0, 4, 2, 2),), {"blocksize": 2}),),
        rejects=(
            Reject("3", lambda: Call((zeros(1, 3, 2, 2),), {"blocksize": 2}), "not divisible"),
        ),
        reads=("blocksize", "mode"),
    ),
    movement(
        "SpaceToDepth",
        (1, 1),
        _infer_space_to_depth,
        _space_to_depth,
        lambda choose: _draw_blocks("SpaceToDepth", choose),
        grow=_grow_space_to_depth,
        edges=(lambda: Call((zeros(1, 0, 2, 2),), {"blocksize": 2}),),
        rejects=(
            Reject("3", lambda: Call((zeros(1, 4, 3, 2),), {"blocksize": 2}), "not divisible"),
        ),
        reads=("blocksize",),
        only={"mode": "DCR"},
        defined={"mode": ("CRD",)},
    ),
    movement(
        "Reorder", (1, 1), _infer_same, _same, example_on_payload(lambda c, x: Growth((HERE,)))
    ),
    OpSpec(
        "Copy",
        (1, 1),
        _infer_same,
        _same,
        _copy_error,
        example_on_payload(lambda c, x: Growth((HERE,))),
    ),
)
