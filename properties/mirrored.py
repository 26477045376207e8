"""Claims about mirrors: kernels against the order they declare, and low where no driver has it."""

from __future__ import annotations

import copy

import numpy as np

from conformance import judge as judging
from conformance.mirrors import order_of, reflect, unexplained
from engine.backends.protocol import Backend
from engine.config import Precision
from engine.ops.compose import error_of, reference_of
from engine.ops.numerics import Error
from engine.ops.spec import Call
from properties.memory import Violation
from properties.single import Case, graph_of, run_case

MIRRORED_MAX = 64
"""Elements of an output that are computed, evenly spread, the first and the last included."""


def check_declared(backend: Backend, case: Case) -> int:
    """Elements are what the order that the kernel declares gives; how many were mirrored.

    Raises:
        Violation: see `run_case`; or an element differs.
    """
    outcome = run_case(backend, case)
    order = None if outcome is None else order_of(outcome.node, backend)
    if outcome is None or order is None:
        return 0
    count = 0
    for which, got in enumerate(outcome.outputs):
        flat = _spread(got.size)
        storage = backend.storage(got.dtype)
        left = unexplained(got, outcome.node, outcome.inputs, order, storage, flat, which)
        if left.size:
            at = tuple(int(i) for i in np.unravel_index(left[0], got.shape))
            raise Violation(
                f"{case} at {backend.precision.value}: {left.size} of {flat.size} elements are "
                f"not what the declared order of summation gives, the first {got[at]!r} at {at}"
            )
        count += flat.size
    return count


def _spread(size: int) -> np.ndarray:
    return np.unique(np.linspace(0, max(size - 1, 0), min(size, MIRRORED_MAX)).astype(np.intp))


def as_low(backend: Backend) -> Backend:
    """The same device as if it computed in half: nothing runs on it, but it declares orders."""
    low = copy.copy(backend)
    low.precision = Precision.LOW
    return low


def check_low(low: Backend, case: Case) -> int:
    """What a kernel declares at low lies within the bounds that are derived for it.

    Built-in functions are taken to be correctly rounded.

    Args:
        low: see `as_low`.

    Returns:
        how many elements were mirrored.

    Raises:
        Violation: one does not.
    """
    _, node = graph_of(case)
    order = order_of(node, low)
    if order is None:
        return 0
    arrays = [None if x is None else low.stored(x) for x in case.call.inputs]
    inputs, units = judging.float64_inputs(arrays), judging.units_for(low, node)
    with np.errstate(all="ignore"):
        reference, error = reference_of(node, inputs)[0], error_of(node, inputs, units)[0]
    flat = _spread(reference.size)
    parts = (np.broadcast_to(e, reference.shape) for e in (error.sigma, error.bound))
    here = Error(*(part.reshape(-1)[flat] for part in parts))
    for fused in (True, False):
        mirror = reflect(node, arrays, order, units.storage, flat, fused=fused, rounds_well=True)
        got = mirror.low.astype(units.storage)
        judgement = judging.judge(got, reference.reshape(-1)[flat], here, units)
        if judgement.verdict is judging.Verdict.FAIL:
            raise Violation(f"{case} at low, mirrored: {judgement}")
    return int(flat.size)


def product_of(seed: int) -> Case:
    """A MatMul of 10,000 results, each a sum of 64 products."""
    rng = np.random.default_rng(seed)
    operands = (rng.standard_normal(shape, np.float32) for shape in ((100, 64), (64, 100)))
    return Case("MatMul", Call(tuple(operands)))
