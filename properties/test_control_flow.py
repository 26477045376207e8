"""Random If, Loop and Scan, laid out in the plan or run in stages, are what onnxruntime says."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.interpreter import Interpreter
from engine.passes import cut_stages, deciding_inputs
from properties.choose import HypothesisChoose, SeededChoose
from properties.control_flow import ControlModel, check_control_flow, config_on, draw
from properties.devices import runtime, selectors


@st.composite
def models(draw_: st.DrawFn) -> ControlModel:
    return draw(HypothesisChoose(draw_))


@pytest.mark.parametrize("device", selectors())
@given(case=models())
def test_control_flow_is_what_onnxruntime_says(device: str, case: ControlModel) -> None:
    check_control_flow(case, runtime(), config_on(device))


@pytest.mark.device_free
def test_the_models_are_of_every_kind() -> None:
    """Each operator in the plan and in stages, nested, and decided by each kind of number."""
    found: Counter[str] = Counter()
    for seed in range(60):
        model = draw(SeededChoose(seed)).model
        kinds = {n.op_type for n in model.graph.node} & {"If", "Loop", "Scan"}
        graph = Interpreter.from_buffer(model.SerializeToString()).graph
        where = "the plan" if cut_stages(graph) is None else "stages"
        found.update(f"{kind} in {where}" for kind in kinds)
        found.update(["fed"] if "k" in deciding_inputs(graph) else [])
    assert (
        min(found[f"{k} in {w}"] for k in ("If", "Loop", "Scan") for w in ("stages", "the plan"))
        > 2
    )
    assert found["fed"] > 10
