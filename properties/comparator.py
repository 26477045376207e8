"""Claims about the comparator itself: what `judge` and the guards must never let pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from conformance import judge as judging
from conformance import mirrors
from conformance.judge import Judgement, Verdict
from engine.backends.order import Order, Sums
from engine.backends.protocol import Backend
from engine.ir import Graph, TensorType, type_of
from engine.ir.types import DOUBLE, FLOAT
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


def check_leaning(seed: int) -> None:
    """Errors of 10,000 elements, each of them honest, that lean to one side are seen.

    By a tenth of sigma or more. Errors that do not lean pass, and one error of equal elements.
    """
    rng = np.random.default_rng(seed)
    reference = rng.uniform(-1000, 1000, 10_000)
    honest = SIGMA * rng.uniform(-np.sqrt(3), np.sqrt(3), reference.shape)  # RMS 1
    away = np.sign(reference)
    for what, error, verdict in (
        ("no lean", honest, Verdict.PASS),
        ("1 sigma away from 0", honest + SIGMA * away, Verdict.SUSPECT),
        ("1 sigma towards 0", honest - SIGMA * away, Verdict.SUSPECT),
        ("1 sigma upwards", honest + SIGMA, Verdict.SUSPECT),
        ("a tenth of sigma towards 0", honest - 0.1 * SIGMA * away, Verdict.SUSPECT),
    ):
        _check_lean(what, reference + error, reference, verdict)
    infinite = np.append(reference, np.inf)
    leaning = np.append(reference + honest + away, np.inf)
    _check_lean("a lean beside an infinity", leaning, infinite, Verdict.SUSPECT)
    equal = np.full(10_000, 5.0)
    _check_lean("one error of equal elements", equal + SIGMA, equal, Verdict.PASS)


def _check_lean(what: str, got: np.ndarray, reference: np.ndarray, expected: Verdict) -> None:
    error = Error(np.full(got.shape, SIGMA), np.full(got.shape, BOUND))
    found = judging.judge(got, reference, error, Units(DOUBLE, DOUBLE), independent=True)
    if found.verdict is not expected:
        raise Violation(f"{what}: {found.verdict.name}, a lean of {found.bias:.3g}")


def check_mirror() -> None:
    """A mirror computes in the declared order, and tells one wrong element from right ones."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-8, 9, shape).astype(np.float32) for shape in ((9, 20), (20, 7)))
    right = a @ b
    _check_mirrored(a, b, right, Order(FLOAT), [])
    for wrong in (0, right.size - 1):
        got = right.copy()
        got.flat[wrong] = np.nextafter(got.flat[wrong], np.float32(np.inf))
        _check_mirrored(a, b, got, Order(FLOAT), [wrong])
    a = np.array([[2.0**26, 1, -(2.0**26), 1]], np.float32)  # 1 is lost beside 2^26
    b, one, two = (np.full(s, x, np.float32) for s, x in (((4, 1), 1), ((1, 1), 1), ((1, 1), 2)))
    _check_mirrored(a, b, one, Order(FLOAT), [])
    _check_mirrored(a, b, two, Order(FLOAT), [0])
    _check_mirrored(a, b, two, Order(FLOAT, Sums(run=4, lanes=2)), [])


def _check_mirrored(
    a: np.ndarray, b: np.ndarray, got: np.ndarray, order: Order, expected: list[int]
) -> None:
    graph = Graph("mirror")
    inputs = [graph.add_input(name, type_of(x)) for name, x in (("a", a), ("b", b))]
    node = graph.add_node("MatMul", inputs, [("y", type_of(got))], {})
    flat = np.arange(got.size)
    left = mirrors.unexplained(got, node, [a, b], order, FLOAT, flat).tolist()
    if left != expected:
        raise Violation(f"of a product in {order}: elements {left} differ, expected {expected}")


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
