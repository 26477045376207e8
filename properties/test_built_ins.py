"""Kernels are right with any driver that OpenCL C allows, not only with those at hand."""

import re

import numpy as np
import pytest

from conformance.judge import Verdict
from engine.backends.opencl import context
from engine.ops import OPERATORS, unary
from engine.ops.numerics import ULPS
from properties.choose import SeededChoose
from properties.devices import selectors
from properties.fault import bench
from properties.single import Case, draw_case, judge_outcome, run_case

CALLED = [name for name in ULPS if name not in ("divide", "reciprocal")]
ANCHOR = "#define CAT_(a, b) a##b\n"
OF_BUILT_INS = [f.op_type for f in unary.FUNCTIONS if f.magnitude is not None] + ["Pow", "Softmax"]
UNITS = (("#ifdef USE_FP16", 1, "0x1p-11f"), ("#elif defined(USE_FP64)", 0, "0x1p-53"))


def macros() -> str:
    """least_f: f times 1 - its row of the table, in units of roundoff (an ULP is one or two).

    So erf(infinity) is not 1, exp(0) is not 1, and tanh never reaches 1.
    """
    lines = []
    for condition, column, unit in (*UNITS, ("#else", 0, "0x1p-24f")):
        lines.append(condition)
        for name in CALLED:
            factor = f"(COMPUTE)(1 - {ULPS[name][column]:g} * {unit})"
            lines.append(f"#define least_{name}(...) ({name}(__VA_ARGS__) * {factor})")
    return "\n".join([*lines, "#endif\n"])


def least_accurate(text: str) -> str:
    """Kernels that call least_f for f."""
    changed = re.sub(rf"\b({'|'.join(CALLED)})\(", r"least_\1(", text)
    return changed.replace(ANCHOR, macros() + ANCHOR)


@pytest.mark.slow
def test_no_kernel_needs_more_accuracy_than_the_standard_gives(monkeypatch):
    selector = next((s for s in selectors() if s != "cpu"), None)
    if selector is None:
        pytest.skip("PARALLAX_DEVICES names no OpenCL device")
    judged, wrong = 0, []
    real = context.source
    monkeypatch.setattr(context, "source", lambda family: least_accurate(real(family)))
    with bench(selector) as where:
        for op_type in OF_BUILT_INS:
            calls = [Case(op_type, edge()) for edge in OPERATORS[op_type].edges]
            calls += [draw_case(op_type, SeededChoose(seed)) for seed in range(3)]
            for target in where.opencl:
                for case in calls:
                    outcome = run_case(target.backend, case)
                    verdicts = judge_outcome(target.backend, outcome) if outcome else []
                    judged += len(verdicts)
                    wrong += [
                        f"{target.id}: {case} at {j.index}: got {j.got!r}, expected {j.expected!r}"
                        for j in verdicts
                        if j.verdict is Verdict.FAIL
                    ]
    assert wrong == []
    assert judged > len(OF_BUILT_INS)


@pytest.mark.device_free
def test_every_call_of_a_built_in_is_replaced():
    text = least_accurate(context.source("common") + context.source("unary"))
    assert "#define least_erf(...) (erf(__VA_ARGS__) * (COMPUTE)(1 - 4 * 0x1p-11f))" in text
    assert "#define least_erf(...) (erf(__VA_ARGS__) * (COMPUTE)(1 - 16 * 0x1p-24f))" in text
    assert "sign(v) : least_erf(v)" in text
    assert np.float16(1 - 4 * 2.0**-11) < 1
