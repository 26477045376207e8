"""Accumulated error of a model's outputs against other outputs, and what half storage saturates."""

from __future__ import annotations

import numpy as np

from conformance.judge import numbered
from conformance.report import OutputError, SaturatedConstant
from engine.backends.protocol import Backend
from engine.execution.execution import Execution
from engine.ir.types import FLOATS, type_of

CLASSES_MIN = 2
CLASSES_MIN_PER_STEP = 32
"""A rank-3 output (batch, step, class) must have this many classes to be taken for one."""


def output_error(name: str, got: np.ndarray, truth: np.ndarray) -> OutputError:
    """How far `got` lies from `truth`; integers, booleans and strings are compared as numbers.

    The distances are NaN where no element is finite on both sides, or the shapes differ.
    """
    if got.shape != truth.shape:
        none = float("nan")
        return OutputError(name, str(type_of(got)), none, none, none, None, 0, 0)
    numbers = numbered(got, truth)
    with np.errstate(invalid="ignore"):  # signalling NaN of bfloat16
        g, t = (x.astype(np.float64) for x in numbers)
    both = np.isfinite(g) & np.isfinite(t)
    a, b = g[both], t[both]
    unit_a, unit_b = a / scale_of(a), b / scale_of(b)
    norms = float(np.linalg.norm(unit_a)) * float(np.linalg.norm(unit_b))
    cosine = float(unit_a @ unit_b) / norms if norms else float(np.array_equal(a, b))
    compared = bool(both.any())
    return OutputError(
        name=name,
        type=str(type_of(got)),
        max_abs=float(np.abs(a - b).max()) if compared else float("nan"),
        relative_l2=relative_l2(a, b) if compared else float("nan"),
        cosine=cosine if compared else float("nan"),
        top1=_top1(g, t) if got.dtype in FLOATS else None,
        overflows=int((np.isinf(g) & np.isfinite(t)).sum()),
        nans=int((np.isnan(g) & ~np.isnan(t)).sum()),
    )


def relative_l2(got: np.ndarray, truth: np.ndarray) -> float:
    """||got - truth|| / ||truth||; 0 where both are zero."""
    scale = scale_of(truth, got - truth)
    error, size = (float(np.linalg.norm(x / scale)) for x in (got - truth, truth))
    return error / size if size else float("inf") if error else 0.0


def scale_of(*arrays: np.ndarray) -> float:
    """The power of two below the largest finite magnitude, so that squares of quotients are sane.

    1 for zeros.
    """
    largest = max(float(np.abs(a).max(initial=0.0, where=np.isfinite(a))) for a in arrays)
    return float(np.ldexp(0.5, int(np.frexp(largest)[1]))) if largest else 1.0


def _top1(got: np.ndarray, truth: np.ndarray) -> float | None:
    shape = list(truth.shape)
    while len(shape) > 2 and shape[-1] == 1:
        shape.pop()
    classes = shape[-1] if shape else 0
    likely = (len(shape) == 2 and classes >= CLASSES_MIN) or (
        len(shape) == 3 and classes >= CLASSES_MIN_PER_STEP
    )
    if not likely or truth.size == 0:
        return None
    a, b = got.reshape(-1, classes), truth.reshape(-1, classes)
    return float((a.argmax(1) == b.argmax(1)).mean())


def saturated_constants(execution: Execution, backend: Backend) -> list[SaturatedConstant]:
    """Constants that nodes on `backend` read, with finite elements that storage cannot hold."""
    found: dict[int, SaturatedConstant] = {}
    for node in execution.graph.nodes:
        if execution.backend_of(node.outputs[0]) is not backend:
            continue
        for value in node.inputs:
            if value is None or value.constant is None or id(value) in found:
                continue
            array = value.constant
            storage = backend.storage(array.dtype)
            if storage not in FLOATS or storage == array.dtype:
                continue
            limit = float(np.finfo(storage).max)
            count = int((np.isfinite(array) & (np.abs(array) > limit)).sum())
            found[id(value)] = SaturatedConstant(value.name, count)
    return [s for s in found.values() if s.elements]
