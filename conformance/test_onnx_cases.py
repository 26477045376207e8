"""ONNX's own cases, of opsets 6 to 12: what other engines stored is what every device computes.

They lie in the installed `onnx` package. PyTorch wrote most of them, of opset 6, whose operators
have older forms than today's: stored outputs are an outside witness of how those are read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from conformance import verify
from conformance.report import NOTHING_VERIFIED, VERIFIED, Agreement
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.runtime import Runtime

DEVICES = [d.strip() for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",")]
DATA = Path(onnx.__file__).parent / "backend/test/data"
SUITES = {"pytorch-converted": 82, "pytorch-operator": 35, "simple": 23}
"""Folder -> how many cases onnx 1.23 has there."""
OPSET_6 = 112
RUNTIME = Runtime()

COMPUTED_SHAPE = r"shape is computed at run time, expected a constant"
DOMAIN = r"operators of domain 'ai\.onnx\.preview\.training' are not supported"
NO_KERNEL = r"there is no kernel for this operator"
STRINGS = r"graph input 'x': element type STRING is not supported"
REFUSED = {
    **{f"test_expand_shape_model{i}": COMPUTED_SHAPE for i in range(1, 5)},
    **dict.fromkeys(("test_gradient_of_add", "test_gradient_of_add_and_mul"), DOMAIN),
    **{f"test_sequence_model{i}": NO_KERNEL for i in range(1, 9)},
    "test_strnorm_model_monday_casesensintive_lower": STRINGS,
    "test_strnorm_model_monday_casesensintive_nochangecase": STRINGS,
    "test_strnorm_model_monday_casesensintive_upper": STRINGS,
    "test_strnorm_model_monday_empty_output": STRINGS,
    "test_strnorm_model_monday_insensintive_upper_twodim": STRINGS,
    "test_strnorm_model_nostopwords_nochangecase": STRINGS,
}
"""Case -> what the error says; every other case runs, and none of these does."""

CASES = [path.parent for suite in SUITES for path in sorted((DATA / suite).glob("*/model.onnx"))]


def arrays(folder: Path, kind: str, infos: Mapping[str, onnx.ValueInfoProto]) -> Iterator:
    """(name, array) of the stored inputs or outputs, which are numbered in graph order."""
    for i, name in enumerate(infos):
        file = folder / f"{kind}_{i}.pb"
        if file.exists():
            yield name, numpy_helper.to_array(TensorProto.FromString(file.read_bytes()))


def stored(case: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs and outputs of the case's only set of data."""
    (folder,) = case.glob("test_data_set_*")
    graph = onnx.load(case / "model.onnx").graph
    initialised = {t.name for t in graph.initializer}
    inputs = dict(arrays(folder, "input", {i.name: i for i in graph.input}))
    outputs = dict(arrays(folder, "output", {o.name: o for o in graph.output}))
    assert outputs
    return {n: a for n, a in inputs.items() if n not in initialised}, outputs


@pytest.mark.device_free
def test_every_case_is_known() -> None:
    found = {suite: sum(case.parent.name == suite for case in CASES) for suite in SUITES}
    assert found == SUITES
    assert set(REFUSED) <= {case.name for case in CASES}
    opsets = [onnx.load(case / "model.onnx").opset_import[0].version for case in CASES]
    assert sum(version == 6 for version in opsets) == OPSET_6


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", [c for c in CASES if c.name not in REFUSED], ids=lambda c: c.name)
def test_a_case_computes_what_is_stored(case: Path, device: str) -> None:
    inputs, outputs = stored(case)
    report = verify(
        case / "model.onnx",
        device=device,
        precisions=["high"],
        inputs=inputs,
        expected=outputs,
        runtime=RUNTIME,
    )
    (precision,) = report.precisions
    assert precision.exit_code in (VERIFIED, NOTHING_VERIFIED), str(report)
    assert precision.verified or precision.fallbacks or not precision.checks
    assert {c.error.name: c.verdict for c in precision.stored} == dict.fromkeys(
        outputs, Agreement.AGREE
    ), str(report)


@pytest.mark.device_free
@pytest.mark.parametrize("case", [c for c in CASES if c.name in REFUSED], ids=lambda c: c.name)
def test_a_case_that_cannot_run_is_refused_in_known_words(case: Path) -> None:
    with pytest.raises(ParallaxError) as refusal:
        Interpreter.from_file(case / "model.onnx").create_session()
    assert re.search(REFUSED[case.name], str(refusal.value))
