"""The planner packs tightly, and its independent checker sees every way of packing wrongly."""

import dataclasses
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import PlanError, UnsupportedError
from engine.ir import Graph, TensorType, Value
from engine.ir.types import FLOAT
from engine.planner import check_plan, insert_copies, make_plan, place
from engine.planner.offsets import Block, lower_bound, pack

pytestmark = pytest.mark.device_free


def chain(links: list[tuple[int, int, int]]) -> Graph:
    """A graph of Add nodes: each link is (back offset, back offset, size)."""
    graph = Graph("chain")
    values = [graph.add_input("x", TensorType(FLOAT, (7,)))]
    for i, (a, b, size) in enumerate(links):
        inputs = [values[-1 - min(k, len(values) - 1)] for k in (a, b)]
        node = graph.add_node("Add", inputs, [(f"v{i}", TensorType(FLOAT, (size,)))])
        values.append(node.outputs[0])
    graph.outputs = [values[-1]]
    return graph


def plan_of(graph: Graph, keep: tuple[Value, ...] = (), guard: int = 0):
    values = graph.values()
    return make_plan(
        graph,
        dict.fromkeys(values, "cpu"),
        {v: v.known_type.nbytes for v in values},
        aliases={},
        keep=keep,
        alignment_nbytes={"cpu": 64},
        guard_nbytes=guard,
    )


links = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 300)), min_size=1)


@given(links, st.sampled_from([0, 64]))
@settings(deadline=None)
def test_plans_of_random_graphs_pass_the_independent_check(drawn, guard):
    graph = chain(drawn)
    check_plan(graph, plan_of(graph, guard=guard))


@given(links)
@settings(deadline=None)
def test_kept_values_all_have_memory_of_their_own(drawn):
    graph = chain(drawn)
    keep = tuple(graph.values())
    plan = plan_of(graph, keep)
    check_plan(graph, plan, keep)
    spans = sorted((w.offset_nbytes, w.offset_nbytes + w.nbytes) for w in plan.windows.values())
    assert all(a[1] <= b[0] for a, b in pairwise(spans))


def test_check_plan_sees_two_live_values_at_one_place():
    graph = chain([(0, 0, 64), (0, 1, 64), (0, 1, 64)])
    plan = plan_of(graph)
    victim = graph.nodes[1].outputs[0]
    moved = dataclasses.replace(
        plan.windows[victim],
        offset_nbytes=plan.windows[graph.nodes[0].outputs[0]].offset_nbytes,
    )
    broken = dataclasses.replace(plan, windows={**plan.windows, victim: moved})
    with pytest.raises(PlanError, match="still live"):
        check_plan(graph, broken)


def test_check_plan_sees_a_window_outside_its_arena():
    graph = chain([(0, 0, 64)])
    plan = plan_of(graph)
    victim = graph.nodes[0].outputs[0]
    peak = plan.arenas["cpu"].peak_nbytes
    moved = dataclasses.replace(plan.windows[victim], offset_nbytes=peak)
    broken = dataclasses.replace(plan, windows={**plan.windows, victim: moved})
    with pytest.raises(PlanError, match="outside its arena"):
        check_plan(graph, broken)


def test_a_lifetime_one_step_too_short_is_seen(monkeypatch):
    from engine.planner import plan as planning

    honest = planning.lifetimes

    def short(*args):
        return [dataclasses.replace(t, last=max(t.first, t.last - 1)) for t in honest(*args)]

    monkeypatch.setattr(planning, "lifetimes", short)
    graph = chain([(0, 0, 64), (0, 1, 64), (1, 1, 64), (0, 0, 64)])
    with pytest.raises(PlanError):
        check_plan(graph, plan_of(graph))


blocks = st.lists(
    st.builds(
        lambda n, first, span: Block(n, first, first + span),
        st.integers(1, 1000),
        st.integers(0, 30),
        st.integers(0, 10),
    ),
    min_size=1,
    max_size=40,
)


@given(blocks)
@settings(deadline=None)
def test_packing_never_beats_the_lower_bound_and_never_overlaps(drawn):
    packing = pack(drawn, 1)
    assert packing.peak_nbytes >= lower_bound(drawn)
    for i, a in enumerate(drawn):
        for j, b in enumerate(drawn[:i]):
            if a.first <= b.last and b.first <= a.last:
                low, high = packing.offsets[i], packing.offsets[j]
                assert low + a.nbytes <= high or high + b.nbytes <= low


def test_a_long_chain_needs_two_buffers():
    graph = chain([(0, 0, 1024)] * 20)
    size = plan_of(graph).arenas["cpu"]
    assert size.peak_nbytes == size.lower_bound_nbytes == 2 * 4096 + 64


def test_a_border_gets_one_copy_for_all_readers():
    graph = chain([(0, 0, 4), (0, 0, 4), (1, 1, 4)])
    first, second, third = graph.nodes
    where = {first: "opencl", second: "cpu", third: "cpu"}
    home = insert_copies(graph, where, "opencl")
    copies = [n for n in graph.nodes if n.op_type == "Copy"]
    assert len(copies) == 1
    assert where[copies[0]] == "cpu"
    assert home[copies[0].outputs[0]] == "cpu"
    assert set(second.inputs) == set(third.inputs) == {copies[0].outputs[0]}


def test_place_explains_fallback_and_strict_refuses_it():
    graph = chain([(0, 0, 4)])
    backends = {"opencl": lambda node: "no kernel for it", "cpu": lambda node: None}
    (placement,) = place(graph, backends)
    assert (placement.backend, placement.reason) == ("cpu", "opencl: no kernel for it")
    with pytest.raises(UnsupportedError, match="strict"):
        place(graph, backends, strict=True)
