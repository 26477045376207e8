"""Mirrors: what an honest kernel gives, computed by NumPy in the order that the kernel declares.

The float64 reference says how far a result is off; a mirror says whether that is the rounding of
the declared order or something else. It knows the declaration (`engine/backends/order.py`) and the
operator, never the kernel's source, so a kernel that does not do what it declares differs from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from conformance.mirrors import elementwise, means, products
from conformance.mirrors.arithmetic import Arithmetic, Range
from conformance.mirrors.asked import Arrays, Asked, Places
from engine.backends.order import Order
from engine.backends.protocol import Backend
from engine.ir.graph import Node
from engine.ops.compose import flops_of

MIRRORS: dict[str, Callable[[Asked, Arithmetic], Range]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "MatMul", "Gemm"), products.product),
    **dict.fromkeys(
        ("ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare"), means.reduction
    ),
    **dict.fromkeys(("ReduceLogSum", "ReduceLogSumExp"), means.reduction),
    "AveragePool": means.window_mean,
    "GlobalAveragePool": means.image_mean,
    **dict.fromkeys(("Softmax", "LogSoftmax"), means.softmax),
    **dict.fromkeys(
        ("LayerNormalization", "InstanceNormalization", "GroupNormalization"),
        means.normalized_rows,
    ),
    "RMSNormalization": means.root_mean_square,
    "BatchNormalization": means.normalized_batch,
    **dict.fromkeys(("LeakyRelu", "HardSigmoid", "HardSwish", "Sigmoid"), elementwise.activation),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), elementwise.binary),
}
TERMS_MAX = 1 << 20
"""Products that are in memory at a time."""


def order_of(node: Node, backend: Backend) -> Order | None:
    """What a kernel declares, where there is a mirror that can be made of it."""
    fused = bool(node.body) and MIRRORS.get(node.op_type) is not products.product
    return backend.order(node) if node.op_type in MIRRORS and not fused else None


def places(flat: np.ndarray, shape: Sequence[int]) -> Places:
    """The indices along each axis of elements given by their number."""
    return tuple(np.asarray(i) for i in np.unravel_index(flat, tuple(shape))) if shape else ()


def reflect(
    node: Node,
    arrays: Arrays,
    order: Order,
    storage: np.dtype,
    flat: np.ndarray,
    which: int = 0,
    *,
    fused: bool,
    rounds_well: bool = False,
) -> Range:
    """What some elements of an output are, in double: the least and the greatest.

    Args:
        arrays: inputs as the device holds them. storage: the format of the output in memory.
        flat: the numbers of the elements, row-major. fused, rounds_well: see `Arithmetic`.
    """
    arithmetic = Arithmetic(order.arithmetic, fused, rounds_well)
    shape = node.outputs[which].known_type.dims
    if not flat.size:
        return Range(np.zeros(0), np.zeros(0))
    found = []
    with np.errstate(all="ignore"):
        for part in np.array_split(flat, -(-flat.size * _terms(node, order) // TERMS_MAX) or 1):
            asked = Asked(node, arrays, order, places(part, shape), storage, which)
            ends = MIRRORS[node.op_type](asked, arithmetic)
            wide = (end.astype(storage).astype(np.float64) for end in (ends.low, ends.high))
            found.append([np.broadcast_to(end.reshape(-1), (part.size,)) for end in wide])
    low, high = (np.concatenate(ends) for ends in zip(*found, strict=True))
    return Range(low, high)


def _terms(node: Node, order: Order) -> int:
    """Of one output, roughly."""
    x, size = node.inputs[0], max(node.outputs[0].known_type.size, 1)
    assert x is not None
    if MIRRORS[node.op_type] is products.product:
        return int(flops_of(node)) // (2 * size) + 1
    return max(1, order.sums.run, x.known_type.size // size, *x.known_type.dims)


def unexplained(
    got: np.ndarray,
    node: Node,
    arrays: Arrays,
    order: Order,
    storage: np.dtype,
    flat: np.ndarray,
    which: int = 0,
) -> np.ndarray:
    """Those of the elements `flat` of an output that are not what the declared order gives.

    Whether products are rounded before they are added is open, but alike all over a kernel: of
    both answers the one that explains more is taken.
    """
    values = got.reshape(-1)[flat].astype(np.float64)
    best = flat
    for fused in (True, False):
        mirror = reflect(node, arrays, order, storage, flat, which, fused=fused)
        inside = (values >= mirror.low) & (values <= mirror.high)
        inside |= np.isnan(values) & (np.isnan(mirror.low) | np.isnan(mirror.high))
        left = flat[~inside]
        if left.size < best.size:
            best = left
        if not best.size:
            break
    return best
