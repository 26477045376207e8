"""Random sequences, laid out in the plan or passed from stage to stage, are onnxruntime's."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.interpreter import Interpreter
from engine.ops.sequence import LAID_OUT
from engine.passes import cut_stages
from properties.choose import HypothesisChoose, SeededChoose
from properties.control_flow import ControlModel, check_control_flow, config_on
from properties.devices import runtime
from properties.sequences import draw

pytestmark = pytest.mark.device_free


@st.composite
def models(draw_: st.DrawFn) -> ControlModel:
    return draw(HypothesisChoose(draw_))


@given(case=models())
def test_sequences_are_what_onnxruntime_says(case: ControlModel) -> None:
    check_control_flow(case, runtime(), config_on("cpu"))


def test_the_models_are_of_every_kind() -> None:
    """Each operator in the plan and in stages."""
    found: Counter[tuple[str, bool]] = Counter()
    for seed in range(60):
        model = draw(SeededChoose(seed)).model
        staged = cut_stages(Interpreter.from_buffer(model.SerializeToString()).graph) is not None
        found.update((node.op_type, staged) for node in model.graph.node)
    kinds = {"If", "Loop", *LAID_OUT} - {"SequenceEmpty"}
    kinds -= {kind for kind in kinds if kind.startswith("Optional")}
    assert min(found[kind, staged] for kind in kinds for staged in (False, True)) > 1
