"""Random graphs: every node right on its own inputs, every plan equal to every other."""

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from engine.config import ForwardType, ScheduleConfig
from engine.interpreter import Interpreter
from properties.control_flow import config_on
from properties.devices import Target, backends, opencl_backends, runtime, selectors
from properties.graph_runs import (
    Run,
    check_exact,
    check_extra_outputs,
    check_nodes,
    check_production,
    optimised,
    require_equal,
)
from properties.graphs import (
    DECISIONS,
    DTYPES,
    EXTENTS,
    LARGEST_BACK,
    LARGEST_DECISION,
    LARGEST_PEER,
    RANKS,
    SIDES_COUNT,
    Model,
    Program,
    Record,
    decode,
    entries,
    seeded_program,
)
from properties.pass_claims import check_template
from properties.pass_templates import template
from properties.shrinking import shrunk
from properties.wrapping import check_wrapped

CPU = Target("cpu", runtime().backend(ForwardType.CPU, ScheduleConfig()))
TARGETS = backends()
on_every_backend = pytest.mark.parametrize("target", TARGETS, ids=[t.id for t in TARGETS])


def programs(exact: bool = False) -> st.SearchStrategy[Program]:
    record = st.builds(
        Record,
        st.integers(0, entries(exact=exact)),
        st.integers(0, LARGEST_BACK),
        st.integers(0, LARGEST_PEER),
        st.tuples(*[st.integers(0, LARGEST_DECISION)] * DECISIONS),
    )
    return st.builds(
        Program,
        st.integers(0, len(RANKS) - 1),
        st.tuples(*[st.integers(0, len(EXTENTS) - 1)] * SIDES_COUNT),
        st.integers(0, len(DTYPES) - 1),
        st.integers(0, 2**32 - 1),
        st.lists(record, min_size=12, max_size=20).map(tuple),
        st.just(exact),
    )


@on_every_backend
def test_every_node_is_right_on_its_own_inputs(target):
    judged = []

    @given(programs(), st.booleans())
    def property_holds(program, plain):
        model = decode(program)
        graph = model.graph if plain else optimised(model.graph)
        judged.append(check_nodes(model, graph, target, CPU.backend))

    property_holds()
    assert sum(judged) > len(judged), f"{sum(judged)} nodes judged in {len(judged)} graphs"


@on_every_backend
def test_passes_keep_what_the_shapes_they_look_for_compute(target):
    @given(st.integers(0, 2**32 - 1))
    def property_holds(seed):
        check_template(template(seed), CPU.backend, (target,))

    property_holds()


@pytest.mark.device_free
@pytest.mark.parametrize("first", range(20, 320, 60))
def test_passes_keep_what_near_misses_of_their_shapes_compute(first):
    for seed in range(first, first + 60):
        check_template(template(seed), CPU.backend)


@on_every_backend
def test_reusing_memory_changes_no_bit(target):
    @given(programs(), st.booleans())
    def property_holds(program, plain):
        model = decode(program)
        graph = model.graph if plain else optimised(model.graph)
        check_production(model, graph, target, CPU.backend)

    property_holds()


@on_every_backend
def test_extra_outputs_change_no_bit(target):
    @given(programs())
    def property_holds(program):
        check_extra_outputs(decode(program), target, CPU.backend)

    property_holds()


@given(programs(exact=True))
def test_whole_numbers_give_equal_bits_everywhere(program):
    check_exact(decode(program), opencl_backends(), CPU)


@pytest.mark.parametrize("device", selectors())
@given(program=programs(exact=True), seed=st.integers(0, 2**32 - 1))
def test_control_flow_and_stages_change_no_whole_number(device, program, seed):
    check_wrapped(decode(program), seed, runtime(), config_on(device))


@given(programs())
def test_a_session_computes_what_its_execution_computes(program):
    model = decode(program)
    with Run(optimised(model.graph), CPU, CPU.backend) as run:
        expected = run(model.feeds())
    with Interpreter(model.graph.copy()).create_session(runtime=runtime()) as session:
        outputs = session(model.feeds())
        got = [outputs[name] for name in session.outputs]
    require_equal("session against execution", model, model.graph, got, expected)


@pytest.mark.parametrize("seed", range(40))
def test_decoding_is_total_and_repeatable(seed):
    first, second = decode(seeded_program(seed)), decode(seeded_program(seed))
    assert repr(first) == repr(second)
    assert all(v.known_type.is_static for v in first.graph.values())


def uses_of(model: Model, op_type: str, reader: str) -> bool:
    return any(
        node.op_type == op_type and any(u.op_type == reader for v in node.outputs for u in v.uses)
        for node in model.graph.nodes
    )


FIND = settings(
    max_examples=1000, derandomize=True, database=None, phases=(Phase.generate, Phase.shrink)
)
SEEDS = 300
BINARY = ("Add", "Sub", "Mul", "Max", "Min", "Sum")
GATES = ("Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "HardSwish", "Gelu")


@pytest.mark.device_free
def test_a_seeded_bug_is_found_and_shrinks_to_three_nodes():
    """The bug: an activation is wrong where a binary operator feeds it five elements or more."""
    drawn = (seeded_program(seed) for seed in range(SEEDS))
    program = next((p for p in drawn if has_bug(decode(p))), None)
    assert program is not None
    smallest = decode(shrunk(program, lambda p: has_bug(decode(p))))
    assert len(smallest.graph.nodes) <= 3


@pytest.mark.device_free
@pytest.mark.nightly
def test_a_seeded_bug_shrinks_to_a_few_nodes_by_hypothesis():
    smallest = find(programs(), lambda program: has_bug(decode(program)), settings=FIND)
    assert len(decode(smallest).graph.nodes) <= 4


def has_bug(model: Model) -> bool:
    return any(
        node.op_type in GATES
        and node.inputs[0].producer is not None
        and node.inputs[0].producer.op_type in BINARY
        and node.inputs[0].known_type.size > 4
        for node in model.graph.nodes
    )
