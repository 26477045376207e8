"""What onnx's reference evaluator reads differently, and why: indices, axes and order."""

from __future__ import annotations

import numpy as np

from properties.hostile.asked import (
    Call,
    Disagreement,
    call,
    has_nan,
    is_finite,
    ones,
)


def _loses_its_second(pair: np.ndarray) -> bool:
    """Whether off + (on - off) is not on."""
    if pair.dtype.kind != "f" or pair.size != 2:
        return False
    off, on = pair.reshape(-1)
    with np.errstate(all="ignore"):
        return bool(pair.dtype == np.float16 or off + (on - off) != on)


def _indices_are_floats(call: Call) -> bool:
    """Also where another node computes them, so that nothing is known of them."""
    try:
        return call.first.dtype.kind == "f"
    except KeyError:
        return True


def _takes_along_the_first_axis(call: Call) -> bool:
    """Whether a Unique is not along that one; without an axis, it is along all of them."""
    axis, rank = call.attribute("axis"), call.first.ndim
    return rank != 1 if axis is None else axis % rank != 0


DISAGREEMENTS = (
    Disagreement(
        "evaluator",
        frozenset({"Unique"}),
        "sorts whatever `sorted` says where one output alone is asked for",
        lambda c: c.attribute("sorted", 1) == 0 and len(c.model.graph.node[c.node].output) == 1,
        lambda: call("Unique", 11, np.array([2, 1], np.float32), sorted=0),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Unique"}),
        "takes elements along axis 0, whichever is asked for, where they stay unsorted",
        lambda c: c.attribute("sorted", 1) == 0 and _takes_along_the_first_axis(c),
        lambda: call("Unique", 11, ones(2, 1), constants=(0,), sorted=0, axis=1, outputs=2),
    ),
    Disagreement(
        "evaluator",
        frozenset({"OneHot"}),
        "compares indices that are no integers as they are; ONNX casts them to int64",
        _indices_are_floats,
        lambda: call(
            "OneHot", 11, np.array([0.5], np.float32), np.array(2), np.arange(2.0), constants=(1, 2)
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Shape"}),
        "takes end < -rank as Python does; the specification clamps it to [0, r]",
        lambda c: c.attribute("end", 0) < -c.first.ndim,
        lambda: call("Shape", 15, ones(7, 8), end=-3),
    ),
    Disagreement(
        "evaluator",
        frozenset({"OneHot"}),
        "rounds a depth that is no integer up; 'it will be casted to int64 before use'",
        lambda c: bool(np.any(c.input(1) % 1)),
        lambda: call(
            "OneHot", 11, np.array([0]), np.array(1.5), np.array([0, 1]), constants=(1,), axis=0
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"OneHot"}),
        "adds off + hot * (on - off), which rounds, and is NaN where a value is not finite",
        lambda c: not is_finite(c) or any(map(_loses_its_second, c.arrays)),
        lambda: call(
            "OneHot",
            11,
            np.array([0]),
            np.array(2),
            np.array([1, np.inf], np.float32),
            constants=(1,),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Unsqueeze"}),
        "inserts axes one after another as they come, and counts negative ones from the end "
        "reached by then; they are axes of the output, in any order",
        lambda c: (
            bool(axes := [*c.attribute("axes", ())]) and (axes != sorted(axes) or min(axes) < 0)
        ),
        lambda: call("Unsqueeze", 4, ones(3, 1, 4), axes=[-1, -3, 4]),
    ),
    Disagreement(
        "evaluator",
        frozenset({"NonMaxSuppression"}),
        "orders scores by <, by which NaN is as any number; docs/numerics.md has our rule",
        has_nan,
        lambda: call(
            "NonMaxSuppression",
            10,
            np.array([[[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]]], np.float32),
            np.array([[[np.inf, np.nan, 1]]], np.float32),
            np.array([2]),
            np.array([0.5], np.float32),
            constants=(0, 1, 2, 3),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Slice"}),
        "finds nothing in steps backward from before the first element, as Python does; the "
        "specification clamps starts to [0, dims - 1] there",
        lambda c: bool((c.input(4) < 0).any() and (c.input(1) < -min(c.first.shape)).any()),
        lambda: call(
            "Slice",
            13,
            ones(3, 2),
            *(np.array([n]) for n in (-9, -9, 0, -1)),
            constants=(1, 2, 3, 4),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Unique"}),
        "orders by <, by which NaN is as any number",
        has_nan,
        lambda: call(
            *("Unique", 11, np.array([[0, 1], [np.nan, 0], [-1, 0]], np.float32)),
            constants=(0,),
            axis=0,
        ),
    ),
)
