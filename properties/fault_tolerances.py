"""Faults below what a bound or 6 sigma can tell, and faults of what tells them all the same."""

from __future__ import annotations

from typing import Any

from conformance import judge as judging
from engine.ir.types import FLOAT
from properties.choose import SeededChoose
from properties.comparator import check_leaning, check_mirror
from properties.fault import Bench, Fault, attribute, code, kernel
from properties.mirrored import check_declared, product_of
from properties.single import check_case, draw_case

LEAN = kernel(
    "matmul",
    (
        "sum *= (COMPUTE)alpha;",
        "sum *= (COMPUTE)(alpha * (sizeof(COMPUTE) == 2 ? 1 + 0x1p-9f : 1 + 0x1p-22f));",
    ),
)
"""Results are four roundoffs too large: about one sigma of a sum of 64 products."""
ONE_OF_MANY = kernel(
    "matmul",
    (
        "      sum *= (COMPUTE)alpha;",
        "      if (m0 == 0 && n0 == 0 && m == 0 && v == 0)\n"
        "        sum.s0 += (COMPUTE)(sizeof(COMPUTE) == 2 ? 0x1p-3f : 0x1p-16f);\n"
        "      sum *= (COMPUTE)alpha;",
    ),
)
"""The first of all results is off by about ten sigma of a sum of 64 products."""


def _products(where: Bench) -> None:
    """Where memory is not narrower than the sums."""
    for seed in range(3):
        for target in where.opencl:
            if target.backend.storage(FLOAT) == target.backend.compute(FLOAT):
                where.step()
                check_case(target.backend, product_of(seed))


def _declared(*op_types: str) -> Any:
    def hunt(where: Bench) -> None:
        for seed in range(10):
            for op_type in op_types:
                for target in where.opencl:
                    where.step()
                    check_declared(target.backend, draw_case(op_type, SeededChoose(seed)))

    return hunt


def _comparator(where: Bench) -> None:
    for seed in range(5):
        where.step()
        check_leaning(seed)
    where.step()
    check_mirror()


TOLERANCE_FAULTS: tuple[Fault, ...] = (
    Fault("products-lean-away-from-zero", "kernel", LEAN, _products),
    Fault("one-product-of-ten-thousand-is-off", "kernel", ONE_OF_MANY, _products),
    Fault(
        "reduce-joins-other-lanes-than-it-declares",
        "kernel",
        kernel("reduce", ("MERGE(wide.lo, wide.hi)", "MERGE(wide.even, wide.odd)")),
        _declared("ReduceSum"),
    ),
    Fault(
        "leaning-errors-pass",
        "comparator",
        attribute(judging, "bias", lambda old: lambda found: 0.0),
        _comparator,
    ),
    Fault(
        "errors-away-from-zero-pass",
        "comparator",
        code("conformance.judge:_leaning", ("(z * np.sign(r)).sum()", "0.0")),
        _comparator,
    ),
    Fault(
        "equal-errors-count-each",
        "comparator",
        code(
            "conformance.judge:bias",
            ("return _leaning(z[first], r[first])", "return _leaning(z, r)"),
        ),
        _comparator,
    ),
    Fault(
        "mirrors-explain-everything",
        "comparator",
        code("conformance.mirrors:unexplained", ("best = left", "best = left[:0]")),
        _comparator,
    ),
    Fault(
        "mirrors-take-one-order-for-another",
        "comparator",
        code("conformance.mirrors.sums:_piece", ("i : i + sums.lanes", "i : i + 1")),
        _comparator,
    ),
)
