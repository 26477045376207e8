"""ONNX's cases at sizes that leave the tails of vectors: every node within its derived error.

`HYPOTHESIS_PROFILE=nightly` takes all of them, the tests every eighth.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from conformance import verify
from conformance.onnx_suite import Case, cases, refused
from conformance.report import NOTHING_VERIFIED, VERIFIED
from conformance.twins import Twin, twin_of
from engine.runtime import Runtime

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
EACH = {"nightly": 1}.get(os.environ.get("HYPOTHESIS_PROFILE", "ci"), 8)
REFUSED = refused()
FLOATS = [
    case
    for case in cases().values()
    if case.name not in REFUSED
    and any(isinstance(x, np.ndarray) and x.dtype.kind == "f" for x in case.inputs.values())
][::EACH]
SHARE = int(os.environ.get("PARALLAX_EACH", "1"))
"""On OpenCL every so-manyth of them; tox sets it for each driver."""
LEAST = 0.85
"""Of the cases with floats that have a twin; extents of recurrent weights and bodies are tied."""
RUNTIME = Runtime()
TWINS: dict[str, Twin | None] = {}


def twin(case: Case) -> Twin | None:
    """Made once for all devices."""
    if case.name not in TWINS:
        TWINS[case.name] = twin_of(case)
    return TWINS[case.name]


@pytest.mark.device_free
def test_most_cases_have_a_twin_that_leaves_a_tail() -> None:
    found = [made for case in FLOATS if (made := twin(case)) is not None]
    assert len(found) >= LEAST * len(FLOATS)
    assert all(max(made.extents.values()) % 16 for made in found)


@pytest.mark.parametrize(
    ("device", "case"),
    [
        pytest.param(device, case, id=f"{case}-{device}")
        for device in DEVICES
        for case in FLOATS[:: SHARE if device != "cpu" else 1]
    ],
)
def test_a_twin_is_verified_at_every_precision(device: str, case: Case) -> None:
    made = twin(case)
    if made is None:
        pytest.skip("no other extents fit")
    report = verify(made.model, device=device, inputs=made.inputs, runtime=RUNTIME)
    for precision in report.precisions:
        assert precision.exit_code in (VERIFIED, NOTHING_VERIFIED), str(report)
