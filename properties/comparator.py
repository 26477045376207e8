"""Claims about the comparator itself: what `judge` and the guards must never let pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from conformance import judge as judging
from conformance.judge import Judgement, Verdict
from engine.backends.protocol import Backend
from engine.ir import Graph, TensorType
from engine.ir.types import FLOAT
from engine.ops.numerics import Error, Units
from properties.memory import GuardedMemory, Violation, poke

UNITS = Units(FLOAT, FLOAT)
SIGMA, BOUND = 1.0, 100.0
Change = Callable[[np.ndarray, tuple[int, ...]], None]


def _put(value: float) -> Change:
    def change(got: np.ndarray, at: tuple[int, ...]) -> None:
        got[at] = value

    return change


def _add(delta: float) -> Change:
    def change(got: np.ndarray, at: tuple[int, ...]) -> None:
        got[at] += delta

    return change


CHANGES: tuple[tuple[str, Change, Verdict], ...] = (
    ("nothing", _add(0.0), Verdict.PASS),
    ("an error below 6 sigma", _add(5.0 * SIGMA), Verdict.PASS),
    ("an error beyond 6 sigma", _add(8.0 * SIGMA), Verdict.SUSPECT),
    ("a negative error beyond 6 sigma", _add(-8.0 * SIGMA), Verdict.SUSPECT),
    ("an error beyond the bound", _add(1.5 * BOUND), Verdict.FAIL),
    ("a negative error beyond the bound", _add(-1.5 * BOUND), Verdict.FAIL),
    ("NaN", _put(np.nan), Verdict.FAIL),
    ("infinity", _put(np.inf), Verdict.FAIL),
    ("minus infinity", _put(-np.inf), Verdict.FAIL),
)


def judged(got: np.ndarray, reference: np.ndarray) -> Judgement:
    """`judge` with the sigma and bound of this module."""
    error = Error(np.full(got.shape, SIGMA), np.full(got.shape, BOUND))
    return judging.judge(got, reference, error, UNITS)


def check_judge(seed: int) -> None:
    """One changed element of a random tensor gives the verdict it deserves, wherever it lies."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 6, int(rng.integers(1, 4))))
    reference = np.rint(rng.uniform(-1000, 1000, shape)).astype(np.float64)
    places = [tuple(0 for _ in shape), tuple(n - 1 for n in shape)]
    for what, change, verdict in CHANGES:
        for at in places:
            got = reference.astype(np.float32)
            change(got, at)
            judgement = judged(got, reference)
            if judgement.verdict is not verdict:
                raise Violation(f"{what} at {at} of {shape}: {judgement.verdict.name}")
            if judgement.count != reference.size:
                raise Violation(f"{judgement.count} of {reference.size} elements compared")
    _check_special(reference)


def _check_special(reference: np.ndarray) -> None:
    """NaN and infinities of the reference must be met by the same."""
    for special in (np.nan, np.inf, -np.inf):
        expected = reference.copy()
        expected.reshape(-1)[-1] = special
        if judged(expected.astype(np.float32), expected).verdict is not Verdict.PASS:
            raise Violation(f"{special} for {special} must pass")
        if judged(reference.astype(np.float32), expected).verdict is not Verdict.FAIL:
            raise Violation(f"a number for {special} must fail")
    _check_shapes(reference)
    _check_integers()


def _check_shapes(reference: np.ndarray) -> None:
    try:
        judging.judge(
            np.zeros((1, *reference.shape), np.float32),
            reference,
            Error(np.zeros(1), np.zeros(1)),
            UNITS,
        )
    except AssertionError:
        return
    raise Violation("shapes that only broadcast must not be compared")


def _check_integers() -> None:
    """64-bit integers that double cannot tell apart differ."""
    big = np.array([2**53, 7], np.int64)
    zero = Error(np.zeros(2), np.zeros(2))
    if judging.judge(big + np.array([1, 0]), big, zero, UNITS).verdict is not Verdict.FAIL:
        raise Violation("2^53 + 1 for 2^53 must fail")


def check_guards(backend: Backend) -> None:
    """A byte written just outside a window is seen."""
    graph = Graph("guards")
    value = graph.add_input("x", TensorType(FLOAT, (3,)))
    for side in (-1, 0):
        with GuardedMemory(backend, [value]) as memory:
            memory.check_canaries("nobody")
            slot = memory.slots[value]
            offset = slot.offset_nbytes - 1 if side else slot.offset_nbytes + slot.nbytes
            poke(backend, memory.arena, np.zeros(1, np.uint8), offset)
            try:
                memory.check_canaries("somebody")
            except Violation:
                continue
            raise Violation("a byte written outside a window was not seen")
