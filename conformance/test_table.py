"""The table of `verify`: worst first, words where there are no numbers, no number ever cut."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from conformance.judge import Judgement, Verdict, judge
from conformance.nodes import excerpt
from conformance.report import (
    OUT_OF_BOUNDS,
    VERIFIED,
    Against,
    Agreement,
    Distance,
    Failure,
    NodeCheck,
    OutputError,
    Parting,
    PrecisionReport,
    StoredCheck,
    VerifyReport,
)
from conformance.stored import distance_in
from conformance.suspects import settle
from conformance.table import print_report
from conformance.table_failure import headline
from engine.backends.protocol import DeviceInfo
from engine.ir.graph import Value
from engine.ir.types import FLOAT, FLOAT16, INT64, TensorType
from engine.ops.numerics import Error, Units, exact

pytestmark = pytest.mark.one_driver

ONES = np.ones(100)
JUDGED = judge(
    np.full(100, 1 + 2.0**-23, np.float32),
    ONES,
    Error(ONES * 1e-7, ONES * 1e-6),
    Units(FLOAT, FLOAT),
)
NAME = "a/very/long/scope/that/converters/write/block_{}/sub_block/MatMul_with_bias"
DEVICE = DeviceInfo("a name", "test", "1", "3.0", True, 2, 1 << 30, 128, False, True, False, False)


def check(
    number: int, verdict: Verdict = Verdict.PASS, note: str = "", **judged: object
) -> NodeCheck:
    """One of a node of that number."""
    return NodeCheck(
        title=f"MatMul '{NAME.format(number)}'",
        index=number,
        output=f"y{number}",
        type="float32[1,197,3072]",
        kind="computed",
        backend="opencl",
        on_device=True,
        judgement=replace(JUDGED, **judged),
        verdict=verdict,
        note=note,
    )


CHECKS = (
    check(0, sigmas=1.25e-7, bounds=0.5),
    check(1, Verdict.FAIL, sigmas=7.25, bounds=1.75),
    check(2, exact=True, rounded=True, sigmas=0.0, bounds=0.0),
    check(3, sigmas=5.5, bounds=0.25),
    check(4, note="3 of 100 elements beyond 6 sigma, so it is chance", sigmas=6.5, bounds=0.125),
    check(5, rounded=True, sigmas=1.7, bounds=0.9),
    check(6, Verdict.FAIL, sigmas=float("inf"), bounds=float("inf")),
)
ORDER = [6, 1, 4, 3, 0, 5, 2]
NUMBERS = {
    6: ("inf", "inf", "FAIL"),
    1: ("7.25", "1.75", "FAIL"),
    4: ("6.50", "0.125", "cleared"),
    3: ("5.50", "0.250"),
    0: ("1.25e-07", "0.500"),
    5: ("correctly", "rounded"),
    2: ("exact",),
}
CLOSE = OutputError("y" * 60, "float32[1,10]", 1.5e-7, 2.5e-7, 0.999999999, 0.9, 0, 0)
NEAR = Distance(1.5, (0, 3), 1.0, 1.0, 0, 0, 10, 1e-6)
FAR = replace(NEAR, spreads=812.0, beyond=2, value=1.5)


def report(**changed: object) -> VerifyReport:
    """One precision with CHECKS."""
    precision = PrecisionReport(
        requested="high",
        effective="high",
        same_as=None,
        checks=CHECKS,
        failure=None,
        fallbacks=(),
        context_bugs=(),
        outputs=(CLOSE,),
        stored=(),
        saturated=(),
        overflows=0,
        nans=0,
        undecided=0,
        seconds=1.0,
    )
    return VerifyReport("m.onnx", DEVICE, 0, {"x": (1, 4)}, (), (replace(precision, **changed),))


def printed(shown: VerifyReport, width: int = 100) -> list[str]:
    file = StringIO()
    print_report(shown, Console(file=file, width=width))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def words(shown: VerifyReport) -> str:
    return " ".join(" ".join(printed(shown)).split())


# ---------------------------------------------------------------------- nodes
@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_nodes_stand_by_verdict_then_by_sigma_and_keep_their_numbers(width: int) -> None:
    lines = printed(report(), width)
    head = next(i for i, line in enumerate(lines) if line.endswith("err/sigma  err/bound"))
    for line, number in zip(lines[head + 1 :], ORDER, strict=False):
        assert tuple(line.split()[-len(NUMBERS[number]) :]) == NUMBERS[number]
        assert line.startswith("MatMul")
        assert len(line) <= width
        if width == 160:
            assert NAME.format(number) in line
    assert max(map(len, lines)) <= width


def test_only_the_worst_are_listed_and_the_rest_is_counted() -> None:
    many = tuple(check(i, sigmas=float(i)) for i in range(12))
    lines = printed(report(checks=many))
    assert any(line.startswith("worst 10 of 12") for line in lines)
    assert sum(line.startswith("MatMul") for line in lines) == 10
    assert "7 node outputs on the device (1 exact, 1 correctly rounded)" in words(report())


def test_a_cleared_suspect_is_explained() -> None:
    said = words(report())
    assert "so it is chance" in said
    assert "MatMul 'a/very/long/scope/that/converters/write/block_4" in said


def test_what_did_not_happen_is_not_mentioned() -> None:
    assert "overflow" not in words(report())
    assert "elements of all tensors: 3 overflows to infinity" in words(report(overflows=3))


# ---------------------------------------------------------------------- exact and rounded
def judged(got: np.ndarray, reference: np.ndarray, storage: np.dtype) -> Judgement:
    error = Error(np.abs(reference), np.abs(reference))
    return judge(got, reference, error, Units(FLOAT, storage))


def test_exact_and_correctly_rounded_are_told_apart() -> None:
    third = np.array([1 / 3, np.nan, np.inf, 0.0])
    rounded = third.astype(np.float32)
    half = third.astype(np.float16).astype(np.float32)
    next_one = rounded.copy()
    next_one[0] = np.nextafter(rounded[0], np.float32(1))
    for got, reference, storage, expected in (
        (rounded, rounded.astype(np.float64), FLOAT, (True, True)),
        (rounded, third, FLOAT, (False, True)),
        (next_one, third, FLOAT, (False, False)),
        (half, third, FLOAT16, (False, True)),
        (rounded, third, FLOAT16, (False, False)),
    ):
        found = judged(got, reference, storage)
        assert (found.exact, found.rounded) == expected


def test_integers_are_exact_or_not() -> None:
    big = np.array([2**62 + 1, 5])
    assert judged(big, big.copy(), FLOAT).exact
    found = judged(big, big - [1, 0], FLOAT)
    assert (found.exact, found.rounded) == (False, False)


def test_few_elements_beyond_6_sigma_are_cleared_in_words() -> None:
    few = check(0, Verdict.SUSPECT, suspects=3, count=100_000, sigmas=6.4)
    (settled,) = settle([few], None, 0)  # type: ignore[arg-type]
    assert settled.verdict is Verdict.PASS
    assert settled.note == (
        "3 of 100000 elements beyond 6 sigma, the worst at 6.4; an honest kernel may have 10 "
        "there, so it is chance"
    )


# ---------------------------------------------------------------------- outputs
@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_comparison_with_stored_outputs_keeps_its_numbers(width: int) -> None:
    stored = StoredCheck(CLOSE, 2.0, NEAR, NEAR, Agreement.AGREE)
    lines = printed(report(stored=(stored,), checks=()), width)
    row = next(line for line in lines if line.endswith("agrees"))
    assert row.split()[-7:] == ["1.50e-07", "2.50e-07", "2.00", "90.0%", "1.50", "1.50", "agrees"]
    assert next(line for line in lines if "0.999999999" in line).split()[-4:] == [
        *("1.50e-07", "2.50e-07", "0.999999999", "90.0%")
    ]
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("ours", "stored", "said"),
    [
        (NEAR, FAR, "the stored output lies 812 times what rounding explains"),
        (FAR, NEAR, "every node is verified, so high precision does not carry this model"),
    ],
)
def test_what_differs_from_the_stored_outputs_is_said(
    ours: Distance, stored: Distance, said: str
) -> None:
    checks = tuple(c for c in CHECKS if c.verdict is Verdict.PASS)
    differing = StoredCheck(CLOSE, 2.0, ours, stored, Agreement.DIFFER)
    shown = report(stored=(differing,), checks=checks)
    assert shown.exit_code == OUT_OF_BOUNDS
    assert "high: OUTPUTS DIFFER from those stored" in words(shown)
    assert said in words(shown)
    undecided = StoredCheck(CLOSE, 2.0, NEAR, replace(NEAR, noise=0.5), Agreement.UNDECIDED)
    shown = report(stored=(undecided,), checks=checks)
    assert shown.exit_code == VERIFIED
    assert "rounding alone may change it by 50.0 % of its size" in words(shown)


def test_integers_that_float_does_not_have_are_printed_in_full() -> None:
    wrong, right = np.array([1, 2**53 + 1]), np.array([1, 2**53])
    (error,) = exact(right)
    failed = replace(check(0), judgement=judge(wrong, right, error, Units(FLOAT, FLOAT)))
    value = Value("y", TensorType(INT64, (2,)))
    excerpts = excerpt(value, wrong, (1,)), excerpt(value, right, (1,), "reference")
    shown = report(failure=Failure(failed, (), *excerpts))
    text = words(shown)
    assert "is 9007199254740993, expected 9007199254740992: inf sigma" in headline(shown)
    assert "got 9007199254740993, expected 9007199254740992 error 1.00" in text
    assert "1 [9007199254740993]" in text
    far = distance_in(wrong, right, np.zeros(2))
    differing = StoredCheck(CLOSE, None, far, far, Agreement.DIFFER)
    stored = words(report(stored=(differing,), checks=CHECKS[2:3]))
    assert "stored 9007199254740993, float64 9007199254740992" in stored
    parting = Parting("Add 'a'", "y", (1,), 2**53 + 1, 2**53, 2**53, far, far, "neither")
    against = Against("other 1", "other", 1, 0, None, (parting,))
    assert "is 9007199254740993 here, 9007199254740992 there, 9007199254740992 in float64" in words(
        report(against=against, checks=CHECKS[2:3])
    )
