"""ONNX's own cases: what ONNX and other engines stored is what every device computes.

Node cases show what each operator means, at its newest opset; PyTorch wrote most of the others, of
opset 6, whose operators have older forms. What this engine cannot run is refused in the words of
`onnx_refused.txt`, no case more and none less.
"""

from __future__ import annotations

import os
from collections import Counter

import onnx
import pytest

from conformance import verify
from conformance.judge import Verdict
from conformance.onnx_suite import (
    NOT_COMPARED,
    RANDOM,
    ROUNDED_WHEN_STORED,
    TOO_LARGE_FOR_HALF,
    Case,
    cases,
    operator_of,
    refusal,
    refused,
)
from conformance.report import NOTHING_VERIFIED, VERIFIED, Agreement, PrecisionReport
from conformance.stored import Stored
from conformance.truth import evaluation, is_known
from engine.arrays import TEXT_KINDS, flattened
from engine.backends import opencl
from engine.backends.protocol import STRINGS_STAY
from engine.config import ForwardType, ScheduleConfig
from engine.interpreter import Interpreter
from engine.ir.types import BFLOAT16, FLOATS8, NARROW
from engine.passes import (
    bind_passes,
    infer_unfolded,
    run_passes,
)
from engine.runtime import Runtime

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
ALL, REFUSED = cases(), refused()
RUN = [case for case in ALL.values() if case.name not in REFUSED]
EACH = int(os.environ.get("PARALLAX_EACH", "1"))
"""On OpenCL every so-manyth case runs in CI; tox sets it for each driver."""
NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
COUNTS = {"node": 1884, "pytorch-converted": 82, "pytorch-operator": 35, "simple": 23}
"""Group -> how many cases onnx 1.23 has."""
LEAST = {"node": 1884, "pytorch-converted": 82, "pytorch-operator": 35, "simple": 23}
"""How many of them run."""
RUNTIME = Runtime()

FALLS_BACK = {
    **{
        case.name: opencl.NOT_YET["RandomUniformLike"]
        for case in ALL.values()
        if case.name in RANDOM or case.name.startswith("test_training_dropout")
    },
    **dict.fromkeys(("test_det_2d", "test_det_nd"), opencl.NOT_YET["Det"]),
    "test_pow_types_int32_float32": "Pow has no OpenCL kernel for int32 to the power of float32",
    "test_pow_types_int64_float32": "Pow has no OpenCL kernel for int64 to the power of float32",
}
"""Cases with a node that OpenCL leaves to the CPU backend -> why."""


ON_HOST = (
    *("test_string_concat_utf8", "test_string_split_maxsplit", "test_equal_string"),
    *("test_strnorm_model_monday_empty_output", "test_ai_onnx_ml_label_encoder_string_int"),
)
"""Cases that show enough of how strings are left to the CPU."""


@pytest.mark.device_free
def test_every_case_is_known() -> None:
    assert Counter(case.group for case in ALL.values()) == COUNTS
    assert set(REFUSED) <= set(ALL)
    assert Counter(case.group for case in RUN) == LEAST
    files = [onnx.ModelProto.FromString(c.model) for c in ALL.values() if c.group != "node"]
    assert sum(model.opset_import[0].version == 6 for model in files) == 112


@pytest.mark.device_free
@pytest.mark.parametrize(
    ("number", "case"),
    [pytest.param(i, c, id=str(c)) for i, c in enumerate(RUN) if c.name not in NOT_COMPARED],
)
def test_a_case_means_what_is_stored_as_it_is_read_or_as_it_is_optimised(
    number: int, case: Case
) -> None:
    """At one stage, in turns; nightly at both."""
    interpreter = Interpreter.from_buffer(case.model)
    cpu = RUNTIME.backend(ForwardType.CPU, ScheduleConfig())
    stages = (
        (interpreter.imported, infer_unfolded),
        (interpreter.graph, lambda bound: run_passes(bound, bind_passes())),
    )
    for graph, passes in stages if NIGHTLY else stages[number % 2 :][:1]:
        if graph is interpreter.graph and is_known(graph, case.inputs):
            continue  # rounded once for each node: nothing is left to be evaluated
        stored = Stored(
            flattened(case.outputs),
            evaluation(graph, case.inputs, passes),
            cpu,
            0,
            lambda done, total: None,
        )
        assert {name: d.beyond for name, d in stored.theirs.items()} == dict.fromkeys(
            flattened(case.outputs), 0
        )


def kept_narrow(case: Case) -> set[str]:
    """Why an OpenCL device may leave a node to the CPU: Casts of formats it only stores."""
    ends = (("from", case.inputs), ("to", case.outputs))
    return {
        f"opencl: Cast {which} {array.dtype.name} has no OpenCL kernel"
        for which, arrays in ends
        for array in flattened(arrays).values()
        if array.dtype in NARROW - FLOATS8 - {BFLOAT16}
    }


def kept_on_host(case: Case) -> set[str]:
    """Why an OpenCL device may leave a node to the CPU: strings, and what tables hold."""
    arrays = (*flattened(case.inputs).values(), *flattened(case.outputs).values())
    found = {STRINGS_STAY} if any(array.dtype.kind in TEXT_KINDS for array in arrays) else set()
    if operator_of(case) in ("LabelEncoder", "TfIdfVectorizer", "TreeEnsemble"):
        found.add(opencl.NOT_YET[operator_of(case)])
    return {f"opencl: {sentence}" for sentence in found}


def is_worth_a_device(case: Case) -> bool:
    """What is left to the CPU is computed there as if there were no device: Casts, and strings.

    Casts of all codes of 8-bit floats are in `tests/test_narrow.py`. And Attention in bfloat16 is
    that in float between Casts: one of ten cases is enough.
    """
    if kept_on_host(case) and case.name not in ON_HOST:
        return False
    dtypes = {x.dtype for ends in (case.inputs, case.outputs) for x in flattened(ends).values()}
    is_cast = bool(dtypes & (NARROW - {BFLOAT16})) and case.name.startswith("test_cast")
    is_attention = case.name.startswith("test_attention") and "bf16" in case.name
    return not is_cast and (not is_attention or case.name == "test_attention_4d_causal_bf16")


@pytest.mark.parametrize(
    ("case", "device"),
    [(c, d) for c in RUN for d in DEVICES if d == "cpu" or is_worth_a_device(c)],
    ids=str,
)
def test_a_case_computes_what_is_stored(device: str, case: Case) -> None:
    report = verify(
        case.model,
        device=device,
        precisions=["high"] if device == "cpu" else None,
        inputs=case.inputs,
        expected=None if case.name in NOT_COMPARED else case.outputs,
        runtime=RUNTIME,
    )
    for precision in report.precisions:
        assert all(check.verdict is Verdict.PASS for check in precision.checks), str(report)
        judged = any(y.size for y in flattened(case.outputs).values()) and precision.checks
        if judged and not precision.fallbacks:
            assert precision.verified, str(report)
        half = device != "cpu" and precision.requested != "high"
        if not (half and case.name in TOO_LARGE_FOR_HALF):
            assert precision.exit_code in (VERIFIED, NOTHING_VERIFIED), str(report)
            assert agrees(case, precision), str(report)
        reasons = {fallback.reason for fallback in precision.fallbacks}
        kept = kept_narrow(case) | kept_on_host(case) if device != "cpu" else set()
        assert bool(reasons) or not kept
        reasons -= kept
        expected = FALLS_BACK.get(case.name) if device != "cpu" else None
        assert reasons == (set() if expected is None else {f"opencl: {expected}"})


def agrees(case: Case, precision: PrecisionReport) -> bool:
    """Every output; within what ONNX allows where it was rounded when it was written down.

    Random numbers are the same on every device; which are below a probability is not, once that is
    rounded to half.
    """
    if case.name in RANDOM:
        most = int(precision.effective != "high")
        return [e.max_abs <= most for e in precision.outputs] == [True] * len(case.outputs)
    if case.name in ROUNDED_WHEN_STORED:
        return all(e.max_abs <= case.atol + case.rtol for e in precision.outputs)
    found = {c.error.name: c.verdict for c in precision.stored}
    return found == dict.fromkeys(flattened(case.outputs), Agreement.AGREE)


@pytest.mark.device_free
def test_cases_that_cannot_run_are_refused_in_known_words() -> None:
    assert {name: refusal(ALL[name], RUNTIME) for name in REFUSED} == REFUSED
