"""RotaryEmbedding: pairs of elements of a head, turned by the angle of their position.

Source: https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html. The importer looks positions up
in the caches (`rewrites/positions.py`), so here every token comes with the cosines and sines of its
own angles, (batch, sequence, pairs). No kernel computes in half (`reduce.accumulated`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import FLOAT, FLOAT16, TensorType
from engine.ops.numerics import Error, Units, sum_of_products, where_sums_fit
from engine.ops.operands import tensor, zeros
from engine.ops.reduce import accumulated
from engine.ops.spec import Arrays, Attributes, Call, Choose, Law, Operand, OpSpec, Reject

OP = "RotaryEmbedding"
DTYPES = frozenset((FLOAT, FLOAT16))
Array = np.ndarray


@dataclass(frozen=True)
class Heads:
    """Heads of `size` elements, of which the first 2 `pairs` are turned.

    Attributes:
        is_apart: the tensor is (batch, heads, sequence, size), not (batch, sequence, heads size).
        interleaved: partners are neighbours, not `pairs` elements from one another.
    """

    batch: int
    count: int
    sequence: int
    size: int
    pairs: int
    is_apart: bool
    interleaved: bool

    @property
    def order(self) -> tuple[int, ...]:
        """Axes of (batch, sequence, heads, size) in the tensor."""
        return (0, 2, 1, 3) if self.is_apart else (0, 1, 2, 3)

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's, with an axis of heads."""
        extents = (self.batch, self.sequence, self.count, self.size)
        return tuple(extents[a] for a in self.order)

    @property
    def firsts(self) -> slice:
        """In a head, the first of every pair."""
        return slice(0, 2 * self.pairs, 2) if self.interleaved else slice(0, self.pairs)

    @property
    def seconds(self) -> slice:
        """And the second."""
        return (
            slice(1, 2 * self.pairs, 2) if self.interleaved else slice(self.pairs, 2 * self.pairs)
        )


def heads_of(shape: Sequence[int], a: Attributes) -> Heads:
    """How the heads of X lie; raises ShapeError."""
    count, width = int(a.get("num_heads", 0)), int(a.get("rotary_embedding_dim", 0))
    if len(shape) == 4:
        batch, count, sequence, size = shape
    elif len(shape) == 3:
        batch, sequence, hidden = shape
        if count < 1 or hidden % count:
            raise ShapeError(
                f"{OP}: num_heads={count}, expected a divisor of the last extent of X {shape}"
            )
        size = hidden // count
    else:
        raise ShapeError(f"{OP}: X has shape {tuple(shape)}, expected rank 3 or 4")
    turned = width or size
    if not 0 <= turned <= size or turned % 2:
        raise ShapeError(
            f"{OP}: {turned} elements of each head are to be turned, expected an even number "
            f"up to its size {size}"
        )
    flags = len(shape) == 4, bool(a.get("interleaved", 0))
    return Heads(batch, count, sequence, size, turned // 2, *flags)


def _infer(inputs: Sequence[Operand | None], a: Attributes) -> tuple[TensorType, ...]:
    x = tensor(OP, inputs, 0, "X", DTYPES)
    heads = heads_of(x.dims, a)
    expected = (heads.batch, heads.sequence, heads.pairs)
    for index, name in ((1, "cos_cache"), (2, "sin_cache")):
        angles = tensor(OP, inputs, index, name, (x.dtype,))
        if angles.dims != expected:
            raise ShapeError(
                f"{OP}: {name} has shape {angles.dims} at the positions, expected {expected}"
            )
    return (x,)


def _turned(inputs: Arrays, heads: Heads, sign: float = -1.0) -> Array:
    """(batch, sequence, heads, size): each pair by (c, sign s) and (s, c), the rest as it is."""
    x, cosine, sine = (np.asarray(given) for given in inputs)
    cosine, sine = cosine[:, :, None], sine[:, :, None]
    y = x.reshape(heads.shape).transpose(heads.order).copy()
    first, second = y[..., heads.firsts].copy(), y[..., heads.seconds].copy()
    y[..., heads.firsts] = cosine * first + sign * sine * second
    y[..., heads.seconds] = sine * first + cosine * second
    return y


def _like_x(y: Array, heads: Heads, x: Array) -> Array:
    return y.transpose(heads.order).reshape(x.shape)


def _rotate(inputs: Arrays, a: Attributes) -> tuple[Array, ...]:
    heads = heads_of(inputs[0].shape, a)
    with np.errstate(all="ignore"):
        return (_like_x(_turned(inputs, heads), heads, inputs[0]),)


def _error(inputs: Arrays, a: Attributes, units: Units) -> tuple[Error, ...]:
    """Two products in any order: numerics.sum_of_products. What is not turned is exact."""
    x, cosine, sine = (np.asarray(given) for given in inputs)
    heads, units = heads_of(x.shape, a), accumulated(units)
    with np.errstate(all="ignore"):
        y = _turned(inputs, heads)
        squares = _turned((x * x, cosine**2, sine**2), heads, 1.0)
        sizes = _turned((abs(x), abs(cosine), abs(sine)), heads, 1.0)
        error = where_sums_fit(sum_of_products(y, squares, sizes, 2, units), sizes, 2, units)
    moved = np.arange(heads.size) >= 2 * heads.pairs
    return (
        Error(
            _like_x(np.where(moved, 0.0, error.sigma), heads, x),
            _like_x(np.where(moved, 0.0, error.bound), heads, x),
        ),
    )


def _example(choose: Choose) -> Call:
    batch, count, sequence = (choose.integer(1, 3) for _ in range(3))
    size = choose.one_of((2, 8, 16, 34, 66, 7))
    turned = choose.one_of((size - size % 2, 2))
    dtype = choose.one_of((FLOAT, FLOAT, FLOAT16))
    a: dict[str, int] = {} if turned == size else {"rotary_embedding_dim": turned}
    if choose.integer(0, 1):
        a["interleaved"] = 1
    shape: tuple[int, ...] = (batch, count, sequence, size)
    if choose.integer(0, 1):
        shape, a["num_heads"] = (batch, sequence, count * size), count
    angles = [choose.tensor((batch, sequence, turned // 2), dtype, -1.0, 1.0) for _ in range(2)]
    return Call((choose.tensor(shape, dtype, -4.0, 4.0), *angles), a)


def _call(shape: tuple[int, ...], pairs: int, **a: int) -> Call:
    """Angles that are not those of a circle: cosine and sine cannot stand in for one another."""
    rng = np.random.default_rng(7)
    sequence = shape[2] if len(shape) == 4 else shape[1]
    angles = [rng.uniform(-1, 1, (shape[0], sequence, pairs)).astype("f4") for _ in range(2)]
    return Call((rng.standard_normal(shape).astype("f4"), *angles), a)


def _hard() -> Call:
    call = _call((1, 1, 2, 8), 4)
    x, cosine, sine = call.inputs
    assert x is not None
    x[0, 0, 0, :3] = np.inf, np.nan, -0.0
    return Call((x, cosine, sine))


def _reversed() -> Law:
    """Sequences in another order."""

    def transform(call: Call) -> Call:
        return Call(tuple(x[::-1] for x in call.inputs if x is not None), call.attributes)

    return Law("order of the batch", transform, lambda call, y: y[::-1], bitwise=True)


_HEADS, _ANGLES = zeros(1, 2, 3, 4), zeros(1, 3, 2)
SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        OP,
        (3, 3),
        _infer,
        _rotate,
        _error,
        _example,
        edges=(
            lambda: _call((2, 3, 5, 80), 40),
            lambda: _call((2, 5, 3 * 80), 16, num_heads=3, rotary_embedding_dim=32),
            lambda: _call((2, 5, 3 * 80), 40, num_heads=3, interleaved=1),
            lambda: _call((2, 3, 0, 8), 4),
            lambda: _call((0, 3, 2, 8), 4),
            lambda: _call((1, 3, 2, 0), 0),
            _hard,
        ),
        rejects=(
            Reject("rank", lambda: Call((zeros(3, 4), _ANGLES, _ANGLES)), "expected rank 3 or 4"),
            Reject("no heads", lambda: Call((zeros(1, 3, 8), _ANGLES, _ANGLES)), "num_heads=0"),
            Reject(
                "heads that do not divide",
                lambda: Call((zeros(1, 3, 8), _ANGLES, _ANGLES), {"num_heads": 3}),
                "num_heads=3, expected a divisor of the last extent of X (1, 3, 8)",
            ),
            Reject(
                "an odd head",
                lambda: Call((zeros(1, 2, 3, 5), _ANGLES, _ANGLES)),
                "5 elements of each head are to be turned, expected an even number",
            ),
            Reject(
                "more than a head",
                lambda: Call((_HEADS, _ANGLES, _ANGLES), {"rotary_embedding_dim": 6}),
                "6 elements of each head are to be turned",
            ),
            Reject(
                "angles",
                lambda: Call((_HEADS, _ANGLES, zeros(1, 3, 3))),
                "sin_cache has shape (1, 3, 3) at the positions, expected (1, 3, 2)",
            ),
            Reject(
                "angles of another dtype",
                lambda: Call((_HEADS, _ANGLES.astype("f2"), _ANGLES)),
                "cos_cache of dtype float16 is not supported, only float32",
            ),
        ),
        laws=(_reversed(),),
        flops=lambda inputs, outputs, _: 3 * outputs[0].size,
        reads=("interleaved", "num_heads", "rotary_embedding_dim"),
    ),
)
