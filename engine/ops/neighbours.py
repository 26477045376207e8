"""The law of elementwise operators: what becomes of an element depends on no other element.

Kernels work on vectors, and what they call may decide for a whole vector at once (a range
reduction, a branch) or differ between the vectors of a row and its end. So the elements of a call
are taken once more, each among sixteen copies of itself, then all of them backwards, then all of
them one place on: every result must be the same, bit for bit.
"""

from __future__ import annotations

import numpy as np

from engine.ops.spec import Call, Law

VECTOR = 16
"""Elements that kernels take at once."""
EXAMINED = 256
"""How many elements of a call are taken again, the first ones."""


def _again(elements: np.ndarray) -> np.ndarray:
    flat = elements.reshape(-1)[:EXAMINED]
    return np.concatenate([np.repeat(flat, VECTOR), flat[::-1], np.roll(flat, 1)])


def _rearranged(call: Call) -> Call | None:
    """Inputs of one element (limits, an exponent) stay as they are, but for the first input."""
    shape = np.broadcast_shapes(*(x.shape for x in call.inputs if x is not None))
    if 0 in shape:
        return None
    inputs = tuple(
        x
        if x is None
        else x.reshape(())
        if i and x.size == 1
        else _again(np.broadcast_to(x, shape))
        for i, x in enumerate(call.inputs)
    )
    return Call(inputs, call.attributes)


NEIGHBOURS = Law(
    "an element depends on no other", _rearranged, lambda call, y: _again(y), bitwise=True
)
