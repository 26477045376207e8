"""Random graphs: what they are made of, and that a fault which they find becomes small."""

from __future__ import annotations

from collections import Counter

import onnx
import pytest

from engine.ir.types import ALL_DTYPES, BFLOAT16, STRING, dtype_name
from properties import graph_faults, random_graphs, unreached
from properties.distribution import Distribution, possible
from properties.fuzz import case_of
from properties.graphs import NODES_MAX, decode, operator_table, seeded_program
from properties.shrinking import shrunk

pytestmark = pytest.mark.device_free
GRAPHS = 200


@pytest.fixture(scope="module")
def drawn() -> Distribution:
    found = Distribution()
    for seed in range(GRAPHS):
        found.note_graph(decode(seeded_program(seed)))
    return found


def test_every_operator_is_drawn(drawn: Distribution) -> None:
    assert {op for op, _ in drawn.operators} == set(operator_table())
    every = {dtype_name(dtype) for dtype in ALL_DTYPES | {STRING, BFLOAT16}}
    assert every <= {dtype for _, dtype in drawn.operators}


def test_sizes_ranks_inputs_and_constants_are_of_every_kind(drawn: Distribution) -> None:
    sides = ("one less", "whole vectors", "one more", "tail")
    spans = ("16 to 255", "256 and more")
    wanted = {"0", "1", "below 16"} | {f"{span}, {side}" for span in spans for side in sides}
    assert wanted - set(drawn.sizes) <= {"256 and more, one less"}
    assert set(range(6)) <= set(drawn.ranks)
    assert min(drawn.inputs) == 1 < max(drawn.inputs)
    assert NODES_MAX <= max(drawn.nodes) <= NODES_MAX + 5
    assert sum(count for readers, count in drawn.sharing.items() if readers > 1) > GRAPHS / 4


def test_what_is_explained_is_possible_and_not_reached(drawn: Distribution) -> None:
    assert set(unreached.UNREACHED) <= possible()
    assert unreached.stale(drawn.operators) == []


def test_odd_seeds_have_control_flow_stages_and_axes_without_an_extent() -> None:
    found: Counter[str] = Counter()
    for seed in range(1, 81, 2):
        graph = onnx.load_from_string(case_of(seed).model).graph
        found.update(n.op_type for n in graph.node if n.op_type in ("If", "Loop", "Scan"))
        found.update(n.op_type for n in graph.node if n.name.startswith("w_nonzero"))
        dims = (d for v in graph.input for d in v.type.tensor_type.shape.dim)
        found["named"] += any(d.dim_param for d in dims)
    assert min(found[kind] for kind in ("If", "Loop", "Scan", "NonZero", "named")) > 2


def test_a_fault_is_found_and_shrinks_to_a_node(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--device", "cpu", "--only", "cpu-relu-is-abs", "--graphs", "30"]
    assert graph_faults.main(arguments) == 0
    said = capsys.readouterr().out
    assert "found after" in said
    assert "found 1 of 1; of these 1 keep 3 nodes or less" in said


def test_shrinking_keeps_what_fails() -> None:
    program = seeded_program(28)

    def fails(candidate) -> bool:
        return any(n.op_type == "Relu" for n in decode(candidate).graph.nodes)

    small = shrunk(program, fails)
    assert [n.op_type for n in decode(small).graph.nodes] == ["Relu"]


def test_a_campaign_prints_what_it_judged(capsys: pytest.CaptureFixture[str]) -> None:
    assert random_graphs.main(["--device", "cpu", "--count", "4"]) == 0
    said = capsys.readouterr().out
    assert "4 graphs of" in said
    assert "alarms: 0 of 0 kinds" in said
    assert random_graphs.main(["--distribution", "--count", "2", "--holes"]) == 1
    assert "not reached: " in capsys.readouterr().out


def test_an_alarm_is_shrunk_and_told(capsys: pytest.CaptureFixture[str], planting) -> None:
    with planting("cpu-relu-is-abs"):
        assert random_graphs.main(["--device", "cpu", "--count", "1", "--seed", "28"]) == 1
    said = capsys.readouterr().out
    assert "seed 28 on cpu" in said
    assert "1 nodes left: decode(Program(" in said


@pytest.mark.parametrize("module", [random_graphs, graph_faults])
def test_a_device_that_is_not_there_is_told_in_a_sentence(module, capsys) -> None:
    arguments = ["--device", "no such device"]
    if module is graph_faults:
        arguments += ["--graphs", "1"]
    assert module.main(arguments) == 2
    assert "no such device" in capsys.readouterr().err
