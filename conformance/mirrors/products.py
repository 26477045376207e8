"""Conv, ConvTranspose, MatMul and Gemm: one accumulator per output, its terms in order."""

from __future__ import annotations

import numpy as np

from conformance.mirrors.arithmetic import Arithmetic, Range
from conformance.mirrors.asked import Array, Asked, Places
from conformance.mirrors.epilogues import activated
from conformance.mirrors.sums import Adding, add_up
from engine.ir.graph import Node
from engine.ops.compose import epilogue_of
from engine.ops.conv_window import conv_transpose_window, conv_window
from engine.ops.matmul import gemm_factors


def product(asked: Asked, arithmetic: Arithmetic) -> Range:
    """Sums of products, with what is fused behind them."""
    node, order, at = asked.node, asked.order, asked.at
    is_conv = node.op_type in ("Conv", "ConvTranspose")
    factors = (_convolved if is_conv else _multiplied)(node, asked.array(0), asked.array(1), at)
    start = None
    if order.start is not None:
        axis = 1 if is_conv else -1
        start = arithmetic.numbers(asked.array(order.start).reshape(-1)[_bias_at(asked, axis)])

    def step(total: Range, x: Range, w: Range) -> Range:
        return arithmetic.multiply_add(x, w, total)

    adding = Adding(step, arithmetic.add, start)
    total = add_up(arithmetic, adding, order.sums, *map(arithmetic.numbers, factors))
    if node.op_type == "Gemm" and order.start is None:
        total = _scaled(asked, arithmetic, total)
    epilogue = epilogue_of(node)
    if epilogue.residual is not None:
        residual = asked.array(epilogue.residual)
        total = arithmetic.add(total, arithmetic.numbers(residual[at]))
    return activated(arithmetic, epilogue, total, asked.storage)


def _bias_at(asked: Asked, axis: int) -> Array:
    """Which element of a vector, or of a constant, starts each sum."""
    assert asked.order.start is not None
    size = asked.array(asked.order.start).size
    return np.asarray(asked.at[axis] if size > 1 else np.zeros_like(asked.at[axis]))


def _scaled(asked: Asked, arithmetic: Arithmetic, total: Range) -> Range:
    """alpha AB + beta C; where neither factor is 1, either product may be the one not rounded."""
    alpha, beta = map(arithmetic.numbers, gemm_factors(asked.node.attributes))
    scaled = arithmetic.multiply(total, alpha)
    core = asked.node.body[0].inputs if asked.node.body else range(len(asked.arrays))
    if len(core) < 3 or asked.arrays[2] is None:
        return scaled
    m, n = asked.node.outputs[0].known_type.dims
    addend = arithmetic.numbers(np.broadcast_to(asked.array(2), (m, n))[asked.at])
    found = arithmetic.multiply_add(beta, addend, scaled)
    if not arithmetic.fused:
        return found
    other = arithmetic.multiply_add(total, alpha, arithmetic.multiply(beta, addend))
    return found.or_else(other)


# ---------------------------------------------------------------------- terms
def _multiplied(node: Node, a: Array, b: Array, at: Places) -> tuple[Array, Array]:
    """Both factors of each term: (places, K)."""
    if node.op_type == "Gemm":
        a = a.T if node.attributes.get("transA") else a
        b = b.T if node.attributes.get("transB") else b
        return a[at[0]], b[:, at[1]].T
    places = list(at)
    zero = np.zeros(len(at[0]) if at else 1, np.intp)
    column = zero if b.ndim == 1 else places.pop()
    row = zero if a.ndim == 1 else places.pop()
    a, b = a if a.ndim > 1 else a[None], b if b.ndim > 1 else b[:, None]
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left = np.broadcast_to(a, batch + a.shape[-2:])[(*places, row)]
    right = np.broadcast_to(b, batch + b.shape[-2:]).swapaxes(-1, -2)[(*places, column)]
    return left, right


def _convolved(node: Node, x: Array, w: Array, at: Places) -> tuple[Array, Array]:
    """Both factors of each term: (places, taps * channels), input positions in ascending order.

    Outside the image x is 0; a tap of a ConvTranspose that reaches nothing has a weight of 0, too.
    """
    turned = node.op_type == "ConvTranspose"
    window = (conv_transpose_window if turned else conv_window)(x.shape, w.shape, node.attributes)
    n, o, *position = at
    share = node.outputs[0].known_type.dims[1] // window.group
    channels = x.shape[1] // window.group
    rank, count = len(position), len(n)
    inside, pixels, taps = np.ones((count,) + (1,) * (rank + 1), bool), [], []
    steps = zip(window.kernel, window.strides, window.dilations, window.begins, strict=True)
    for axis, (k, stride, dilation, begin) in enumerate(steps):
        tap = np.arange(k)[::-1] if turned else np.arange(k)
        p = position[axis][:, None]
        if turned:
            reach, divides = np.divmod(p + begin - tap * dilation, stride)
            found, valid = reach, divides == 0
        else:
            found, valid = p * stride - begin + tap * dilation, np.bool_(True)
        valid = valid & (found >= 0) & (found < x.shape[2 + axis])
        shape = [count, *(k if a == axis else 1 for a in range(rank)), 1]
        inside = inside & valid.reshape(shape)
        pixels.append(np.clip(found, 0, max(x.shape[2 + axis] - 1, 0)).reshape(shape))
        taps.append(tap.reshape([1, *shape[1:]]))
    c, one = np.arange(channels), (count,) + (1,) * (rank + 1)
    n, o = n.reshape(one), o.reshape(one)
    group = o // share
    if turned:
        weights = w[(group * channels + c, o % share, *taps)]
        weights = np.where(inside, weights, 0)
    else:
        weights = w[(o, c, *taps)]
    if 0 in x.shape:
        values = np.zeros(weights.shape, x.dtype)
    else:
        values = np.where(inside, x[(n, group * channels + c, *pixels)], 0)
    values, weights = np.broadcast_arrays(values, weights)
    return values.reshape(count, -1), weights.reshape(count, -1)
