"""Examples of operators that the importer takes apart, so that no spec has any, or not all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.ir.types import FLOAT, FLOATS, INT64
from engine.ops import rotary_embedding
from engine.ops.spec import Call, Choose

Array = np.ndarray
EQUATIONS = (
    ("ij->ji", "ij"),
    ("ij->", "ij"),
    ("i,j->ij", "i", "j"),
    ("ij,jk", "ij", "jk"),
    ("bij,bjk->bik", "bij", "bjk"),
    ("bhid,bhjd->bhij", "bhid", "bhjd"),
    ("ijk,il->ljk", "ijk", "il"),
    ("ii->i", "ii"),
    ("iji,ik->jk", "iji", "ik"),
)
"""With the letters of every operand."""


@dataclass(frozen=True)
class Composed:
    """An operator.

    Attributes:
        example: draws a call. constant_inputs: positions of what must be known before a run.
    """

    example: Callable[[Choose], Call]
    constant_inputs: frozenset[int] = frozenset()


def _floats(choose: Choose, *shape: int, low: float = -4.0, high: float = 4.0) -> Array:
    return choose.tensor(shape, choose.one_of((FLOAT, *FLOATS - {FLOAT})), low, high)


def _sides(choose: Choose, rank: int) -> tuple[int, ...]:
    return tuple(choose.one_of((3, 1, 5, 17)) for _ in range(rank))


def _whole(choose: Choose, *shape: int, dtypes: tuple[str, ...] = ("u1", "i1")) -> Array:
    dtype = np.dtype(choose.one_of(dtypes))
    limits = np.iinfo(dtype)
    return choose.tensor(shape, dtype, limits.min, limits.max)


# ------------------------------------------------------------------------- floats
def _along_an_axis(**attributes: tuple[Any, ...]) -> Callable[[Choose], Call]:
    def example(choose: Choose) -> Call:
        rank = choose.integer(1, 4)
        axis = choose.integer(-rank, rank - 1)
        given = {name: choose.one_of(values) for name, values in attributes.items()}
        return Call((_floats(choose, *_sides(choose, rank)),), {"axis": axis, **given})

    return example


def _lp_pool(choose: Choose) -> Call:
    count = choose.integer(1, 3)
    attributes: dict[str, Any] = {
        "kernel_shape": tuple(choose.integer(1, 3) for _ in range(count)),
        "strides": tuple(choose.integer(1, 2) for _ in range(count)),
        "p": choose.integer(1, 3),
    }
    if choose.integer(0, 1):
        attributes["pads"] = (1, 0) * count
    return Call(
        (_floats(choose, 2, 3, *(choose.one_of((5, 9)) for _ in range(count))),), attributes
    )


def _global_lp_pool(choose: Choose) -> Call:
    shape = _sides(choose, choose.integer(3, 5))
    return Call((_floats(choose, *shape),), {"p": choose.integer(1, 3)})


def _eye_like(choose: Choose) -> Call:
    return Call((_floats(choose, *_sides(choose, 2)),), {"k": choose.integer(-2, 2)})


def _einsum(choose: Choose) -> Call:
    equation, *operands = choose.one_of(EQUATIONS)
    sides = dict(zip("ijklbhd", _sides(choose, 7), strict=True))
    dtype = choose.one_of((FLOAT, *FLOATS - {FLOAT}))
    shapes = [[sides[letter] for letter in letters] for letters in operands]
    return Call(tuple(choose.tensor(s, dtype) for s in shapes), {"equation": equation})


# ------------------------------------------------------------------------- positions
def _compress(choose: Choose) -> Call:
    shape = _sides(choose, choose.integer(1, 3))
    axis = choose.integer(-len(shape), len(shape))
    attributes = {} if axis == len(shape) else {"axis": axis}
    extent = math.prod(shape) if not attributes else shape[axis]
    kept = choose.tensor((choose.integer(0, extent),), np.dtype(bool))
    return Call((_floats(choose, *shape), kept), attributes)


def _reverse_sequence(choose: Choose) -> Call:
    time = choose.integer(0, 1)
    shape = _sides(choose, choose.integer(2, 4))
    lengths = choose.tensor((shape[1 - time],), INT64, 0, shape[time])
    return Call((_floats(choose, *shape), lengths), {"time_axis": time, "batch_axis": 1 - time})


def _tensor_scatter(choose: Choose) -> Call:
    past, count, dtype = choose.integer(4, 6), choose.integer(1, 3), choose.one_of((*FLOATS,))
    rank = choose.integer(3, 4)
    sizes = [2, *(3,) * (rank - 3)], [choose.one_of((2, 16))]
    cache, update = ((*sizes[0], n, *sizes[1]) for n in (past, count))
    at = choose.tensor((2,), INT64, 0, past - count)
    attributes = {"mode": choose.one_of(("linear", "circular")), "axis": -2}
    return Call((choose.tensor(cache, dtype), choose.tensor(update, dtype), at), attributes)


def _rotary_embedding(choose: Choose) -> Call:
    """Angles of each token, or positions in caches of five."""
    (spec,) = rotary_embedding.SPECS
    call = spec.example(choose)
    x, cosine, _ = call.inputs
    if choose.integer(0, 1) or cosine is None:
        return call
    caches = [choose.tensor((5, cosine.shape[2]), cosine.dtype, -1, 1) for _ in range(2)]
    return Call((x, *caches, choose.tensor(cosine.shape[:2], INT64, 0, 4)), call.attributes)


def _col2im(choose: Choose) -> Call:
    image, block = (choose.integer(5, 7), choose.integer(5, 7)), (choose.integer(1, 3), 2)
    attributes: dict[str, Any] = {}
    if choose.integer(0, 1):
        attributes = {"strides": (2, 1), "dilations": (1, 2), "pads": (1, 0, 0, 1)}
    strides, dilations = (attributes.get(n, (1, 1)) for n in ("strides", "dilations"))
    pads = attributes.get("pads", (0,) * 4)
    places = [
        (image[k] + pads[k] + pads[k + 2] - dilations[k] * (block[k] - 1) - 1) // strides[k] + 1
        for k in range(2)
    ]
    x = _floats(choose, 2, choose.integer(1, 3) * math.prod(block), math.prod(places))
    return Call((x, np.array(image), np.array(block)), attributes)


def _max_unpool(choose: Choose) -> Call:
    shape = (1, choose.integer(1, 2), choose.integer(1, 3), choose.integer(1, 3))
    kernel = choose.integer(1, 3), 2
    outputs = [n * k for n, k in zip(shape[2:], kernel, strict=True)]
    rng = np.random.default_rng(choose.integer(0, 99))
    places = rng.permutation(shape[1] * math.prod(outputs))[: math.prod(shape)].reshape(shape)
    return Call((_floats(choose, *shape), places), {"kernel_shape": kernel, "strides": kernel})


def _stft(choose: Choose) -> Call:
    dtype, length = choose.one_of((FLOAT, np.dtype(np.float64))), choose.one_of((8, 7))
    signal = choose.tensor((choose.integer(1, 2), choose.one_of((33, 16)), 1), dtype)
    step, frame = np.array(choose.integer(1, 6)), np.array(length)
    window = choose.tensor((length,), dtype)
    return Call((signal, step, window, frame), {"onesided": choose.integer(0, 1)})


# ------------------------------------------------------------------------- quantised
def _scale(choose: Choose) -> Array:
    return np.array(choose.one_of((0.5, 0.013, 1.0)), np.float32)


def _quantize(choose: Choose) -> Call:
    zero = _whole(choose)
    return Call((choose.tensor(_sides(choose, choose.integer(1, 4))), _scale(choose), zero))


def _dequantize(choose: Choose) -> Call:
    x = _whole(choose, *_sides(choose, choose.integer(1, 4)))
    return Call((x, _scale(choose), np.array(choose.integer(0, 9), x.dtype)))


def _mat_mul_integer(choose: Choose) -> Call:
    n, k, m = _sides(choose, 3)
    a, b = _whole(choose, n, k), _whole(choose, k, m)
    zeros = [np.array(choose.integer(0, 9), x.dtype) for x in (a, b)]
    return Call((a, b, *zeros[: choose.integer(0, 2)]))


def _conv_integer(choose: Choose) -> Call:
    x, w = _whole(choose, 1, 3, 5, 5), _whole(choose, 4, 3, choose.integer(1, 3), 2)
    zeros = [np.array(choose.integer(0, 9), a.dtype) for a in (x, w)]
    return Call((x, w, *zeros[: choose.integer(0, 2)]), {"strides": (choose.integer(1, 2), 1)})


def _quantised(choose: Choose, *shape: int) -> tuple[Array, Array, Array]:
    x = _whole(choose, *shape)
    return x, _scale(choose), np.array(choose.integer(0, 9), x.dtype)


def _q_linear_mat_mul(choose: Choose) -> Call:
    n, k, m = _sides(choose, 3)
    a, b = _quantised(choose, n, k), _quantised(choose, k, m)
    return Call((*a, *b, np.array(40, np.float32), np.array(choose.integer(0, 9), a[0].dtype)))


def _q_linear_conv(choose: Choose) -> Call:
    x, w = _quantised(choose, 1, 3, 5, 5), _quantised(choose, 4, 3, choose.integer(1, 3), 2)
    y = np.array(40, np.float32), np.array(choose.integer(0, 9), x[0].dtype)
    bias = [choose.tensor((4,), np.dtype(np.int32), -999, 999)] * choose.integer(0, 1)
    return Call((*x, *w, *y, *bias))


COMPOSED: Mapping[str, Composed] = {
    "Col2Im": Composed(_col2im, frozenset({1, 2})),
    "Compress": Composed(_compress),
    "ConvInteger": Composed(_conv_integer),
    "DequantizeLinear": Composed(_dequantize),
    "Einsum": Composed(_einsum),
    "EyeLike": Composed(_eye_like),
    "GlobalLpPool": Composed(_global_lp_pool),
    "Hardmax": Composed(_along_an_axis()),
    "LpNormalization": Composed(_along_an_axis(p=(2, 1))),
    "LpPool": Composed(_lp_pool),
    "MatMulInteger": Composed(_mat_mul_integer),
    "MaxUnpool": Composed(_max_unpool, frozenset({2})),
    "QLinearConv": Composed(_q_linear_conv),
    "QLinearMatMul": Composed(_q_linear_mat_mul),
    "QuantizeLinear": Composed(_quantize),
    "ReverseSequence": Composed(_reverse_sequence),
    "RotaryEmbedding": Composed(_rotary_embedding),
    "STFT": Composed(_stft, frozenset({1, 3})),
    "TensorScatter": Composed(_tensor_scatter),
}
