"""The same elements under another shape: outputs that are the input's bytes.

Source: https://onnx.ai/onnx/operators/ (Reshape-25, Flatten-25, Squeeze-25, Unsqueeze-25, Identity,
Dropout at inference).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import INT64, TensorType
from engine.ops.operands import (
    Ints,
    Operands,
    example_on_payload,
    input_at,
    integers,
    known,
    known_integers,
    movement,
    normal_axes,
    payload,
    tensor,
    vector,
    zeros,
)
from engine.ops.spec import HERE, Arrays, Attributes, Call, Choose, Growth, Law, OpSpec, Reject

Array = np.ndarray
ShapeOf = Callable[[Ints, Ints | None, Attributes], Ints]
"""`shape_of(input shape, value of input 1, attributes)`: the output shape, or a ShapeError."""


def reshaped(shape: Ints, wanted: Ints | None, attributes: Attributes) -> Ints:
    """The target of a Reshape: 0 copies the input's extent (unless allowzero), -1 is inferred."""
    if wanted is None:
        raise ShapeError("Reshape: input 1 (shape) is missing")
    allow_zero = bool(attributes.get("allowzero", 0))
    if min(wanted, default=0) < -1 or wanted.count(-1) > 1 or (allow_zero and {0, -1} <= {*wanted}):
        raise ShapeError(f"Reshape: shape={list(wanted)}; expected extents and at most one -1")
    target = list(wanted)
    for i, extent in enumerate(wanted):
        if extent == 0 and not allow_zero:
            if i >= len(shape):
                raise ShapeError(f"Reshape: shape={list(wanted)} copies axis {i} of shape {shape}")
            target[i] = shape[i]
    size = math.prod(shape)
    if -1 in target:
        rest = math.prod(e for e in target if e != -1)
        if rest == 0 or size % rest:
            raise ShapeError(
                f"Reshape: shape={list(wanted)} cannot hold the {size} elements of shape {shape}"
            )
        target[target.index(-1)] = size // rest
    if math.prod(target) != size:
        raise ShapeError(
            f"Reshape: shape={list(wanted)} has {math.prod(target)} elements, {shape} has {size}"
        )
    return tuple(target)


def _flattened(shape: Ints, _: Ints | None, attributes: Attributes) -> Ints:
    axis, rank = int(attributes.get("axis", 1)), len(shape)
    if not -rank <= axis <= rank:
        raise ShapeError(f"Flatten: axis={axis} is outside [{-rank}, {rank}] for shape {shape}")
    axis = axis + rank if axis < 0 else axis
    return (math.prod(shape[:axis]), math.prod(shape[axis:]))


def _squeezed(shape: Ints, axes: Ints | None, _: Attributes) -> Ints:
    if axes is None:
        return tuple(e for e in shape if e != 1)
    drop = normal_axes("Squeeze", axes, len(shape), shape)
    for axis in drop:
        if shape[axis] != 1:
            raise ShapeError(
                f"Squeeze: axis {axis} of shape {shape} has extent {shape[axis]}, not 1"
            )
    return tuple(e for i, e in enumerate(shape) if i not in drop)


def _unsqueezed(shape: Ints, axes: Ints | None, _: Attributes) -> Ints:
    if axes is None:
        raise ShapeError("Unsqueeze: input 1 (axes) is missing")
    rank = len(shape) + len(axes)
    added = normal_axes("Unsqueeze", axes, rank, shape)
    extents = iter(shape)
    return tuple(1 if i in added else next(extents) for i in range(rank))


def _same(shape: Ints, _: Ints | None, attributes: Attributes) -> Ints:
    return shape


def _view(
    op: str,
    shape_of: ShapeOf,
    grow: Callable[[Choose, TensorType], Growth],
    *,
    second: str = "",
    arity: tuple[int, int] = (1, 1),
    edges: Sequence[Callable[[], Call]] = (),
    rejects: Sequence[Reject] = (),
    laws: Sequence[Law] = (),
    example: Callable[[Choose], Call] | None = None,
    reads: tuple[str, ...] = (),
) -> OpSpec:
    """`second` names input 1, a list of integers; "" where there is none."""

    def infer_types(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
        x = tensor(op, inputs, 0)
        wanted = known_integers(op, inputs, 1, second) if second else None
        return (TensorType(x.dtype, shape_of(x.dims, wanted, attributes)),)

    def move(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
        x, given = inputs[0], input_at(inputs, 1)
        assert x is not None
        wanted = integers(given) if second and given is not None else None
        return (x.reshape(shape_of(x.shape, wanted, attributes)),)

    return movement(
        op,
        arity,
        infer_types,
        move,
        example or example_on_payload(grow, largest=9),
        grow=grow,
        is_view=True,
        constant_inputs=frozenset(range(1, arity[1])),
        reads=reads,
        edges=tuple(edges),
        rejects=tuple(rejects),
        laws=tuple(laws),
    )


def _grow_reshape(choose: Choose, x: TensorType) -> Growth:
    """Merge two neighbouring axes, split off a 1, infer one extent, or copy one by 0."""
    shape = list(x.dims)
    if len(shape) > 1 and choose.integer(0, 1):
        i = choose.integer(0, len(shape) - 2)
        shape[i : i + 2] = [shape[i] * shape[i + 1]]
    if choose.integer(0, 1):
        shape.insert(choose.integer(0, len(shape)), 1)
    if shape and choose.integer(0, 1) and 0 not in shape:
        shape[choose.integer(0, len(shape) - 1)] = -1
    if 0 in shape:
        return Growth((HERE, vector(*shape)), {"allowzero": 1})
    for i, extent in enumerate(shape):
        if i < len(x.dims) and extent == x.dims[i] and choose.integer(0, 1):
            shape[i] = 0
    return Growth((HERE, vector(*shape)))


def _grow_flatten(choose: Choose, x: TensorType) -> Growth:
    rank = len(x.dims)
    return Growth((HERE,), {"axis": choose.integer(-rank, rank)})


def _grow_squeeze(choose: Choose, x: TensorType) -> Growth:
    ones = [i for i, e in enumerate(x.dims) if e == 1]
    if not ones or choose.integer(0, 1):
        return Growth((HERE,))
    axis = choose.one_of(ones)
    return Growth((HERE, vector(choose.one_of((axis, axis - len(x.dims))))))


def _example_squeeze(choose: Choose) -> Call:
    """Extents of 1 in about half of the places, so that axes choose among them."""
    drawn = choose.shape((0, 4), 9)
    shape = [1 if choose.integer(0, 1) else extent for extent in drawn]
    x = payload(choose, shape)
    axes = _grow_squeeze(choose, TensorType(x.dtype, x.shape)).inputs[1:]
    return Call((x, *(a for a in axes if not isinstance(a, str))))


def _grow_unsqueeze(choose: Choose, x: TensorType) -> Growth:
    rank = len(x.dims) + 1
    return Growth((HERE, vector(choose.integer(-rank, rank - 1))))


def _infer_dropout(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    training = known("Dropout", inputs, 2, "training_mode")
    if training is not None and bool(training):
        raise ShapeError("Dropout: training_mode is true; only inference is supported")
    return (tensor("Dropout", inputs, 0),)


def _here(choose: Choose, x: TensorType) -> Growth:
    return Growth((HERE,))


_base = _view("Dropout", _same, _here, arity=(1, 3))

SPECS: tuple[OpSpec, ...] = (
    _view(
        "Reshape",
        reshaped,
        _grow_reshape,
        second="shape",
        arity=(2, 2),
        edges=(
            lambda: Call((zeros(), vector(1, 1))),
            lambda: Call((zeros(1), vector())),
            lambda: Call((zeros(0, 3), vector(3, 0)), {"allowzero": 1}),
            lambda: Call((zeros(2, 0), vector(2, 0))),
            lambda: Call((np.arange(6, dtype=INT64) - 2**62, vector(-1, 2))),
        ),
        rejects=(
            Reject("element count", lambda: Call((zeros(2, 3), vector(4, 2))), "has 8 elements"),
            Reject("two inferred", lambda: Call((zeros(2, 3), vector(-1, -1))), "at most one -1"),
            Reject("indivisible", lambda: Call((zeros(2, 3), vector(4, -1))), "cannot hold"),
            Reject("zero beyond", lambda: Call((zeros(6), vector(6, 0))), "copies axis 1"),
        ),
        reads=("allowzero",),
    ),
    _view(
        "Flatten",
        _flattened,
        _grow_flatten,
        edges=(lambda: Call((zeros(),), {"axis": 0}), lambda: Call((zeros(2, 0, 3),))),
        rejects=(Reject("axis", lambda: Call((zeros(2, 3),), {"axis": 3}), "axis=3 is outside"),),
        reads=("axis",),
    ),
    _view(
        "Squeeze",
        _squeezed,
        _grow_squeeze,
        second="axes",
        arity=(1, 2),
        edges=(lambda: Call((zeros(1, 1),)), lambda: Call((zeros(1, 0, 1), vector(-1)))),
        example=_example_squeeze,
        rejects=(Reject("extent 2", lambda: Call((zeros(2, 1), vector(0))), "not 1"),),
    ),
    _view(
        "Unsqueeze",
        _unsqueezed,
        _grow_unsqueeze,
        second="axes",
        arity=(2, 2),
        edges=(lambda: Call((zeros(), vector(0, -1))), lambda: Call((zeros(2), vector()))),
        rejects=(Reject("twice", lambda: Call((zeros(2), vector(0, -3))), "an axis twice"),),
    ),
    _view(
        "Identity",
        _same,
        _here,
        edges=(lambda: Call((np.array(True),)), lambda: Call((zeros(0),))),
    ),
    OpSpec(
        "Dropout",
        (1, 3),
        _infer_dropout,
        _base.reference,
        _base.error_model,
        lambda c: Call((payload(c, c.shape((0, 4), 9)), np.array(0.5, "f4"), np.array(False))),
        grow=_here,
        constant_inputs=frozenset({1, 2}),
        is_view=True,
        moves=True,
        is_exact=True,
        ignores=("seed",),  # of training, which the importer takes apart
    ),
)
