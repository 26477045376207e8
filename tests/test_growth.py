"""Work grows as n log n with the number of operators: in lines that run, not in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from engine.interpreter import Interpreter
from engine.ir import Graph, TensorType
from engine.ir.names import Names
from engine.ir.types import FLOAT
from engine.planner import offsets
from engine.planner.offsets import Block, pack
from tests.counting import lines_run
from tests.growth_models import GROWING, of_a_list
from tests.sequence_models import X

pytestmark = pytest.mark.device_free

SMALL, FACTOR = 150, 4
GROWTH_MAX = 5.4
"""Of n log n, from 150 to 600, it is 5.1; of a square 16."""


def prepare(data: bytes) -> None:
    """Import, optimise, plan, and make all commands."""
    with Interpreter.from_buffer(data) as interpreter:
        interpreter.create_session().close()


@pytest.mark.parametrize("name", GROWING)
def test_preparing_a_model_grows_as_its_size(name: str) -> None:
    build = GROWING[name]
    prepare(build(8))
    small, large = (lines_run(lambda n=n: prepare(build(n))) for n in (SMALL, FACTOR * SMALL))
    assert large < GROWTH_MAX * small, (small, large)


def feed(count: int) -> None:
    """A sequence of so many tensors, given out again."""
    with Interpreter.from_buffer(of_a_list()) as interpreter:
        assert len(interpreter.create_session()({"s": [X] * count})["y"]) == count


def test_feeding_a_sequence_grows_as_its_length() -> None:
    feed(8)
    small, large = (lines_run(lambda n=n: feed(n)) for n in (50, FACTOR * 50))
    assert large < GROWTH_MAX * small, (small, large)


def test_packing_grows_as_the_number_of_blocks_however_many_are_live_together() -> None:
    def blocks(n: int, live: int) -> list[Block]:
        return [Block(64 + 64 * (i * 7919 % 13), i, min(i + live, n)) for i in range(n)]

    def lines(n: int, live: int) -> int:
        return lines_run(lambda: pack(blocks(n, live), 64))

    for live in (1, 10, 10_000):
        assert lines(1200, live) < GROWTH_MAX * lines(300, live), live


def test_a_sweep_is_not_much_worse_than_looking_at_every_pair() -> None:
    """Within a quarter of the largest live set, on blocks of many sizes that overlap at random."""
    drawn = [Block(1 + i * 7919 % 4093, i, i + i * 104_729 % 97) for i in range(2000)]
    for packed in (
        offsets.sweep(drawn),
        offsets.sweep([Block(b.nbytes, -b.last, -b.first) for b in drawn]),
    ):
        assert packed[1] <= 1.25 * offsets.lower_bound(drawn)


def test_fresh_names_go_on_where_the_last_search_ended() -> None:
    def make(n: int) -> None:
        names = Names()
        for _ in range(n):
            names.add(names.fresh("x"))

    assert lines_run(lambda: make(2000)) < GROWTH_MAX * lines_run(lambda: make(500))


def _fan(n: int) -> Graph:
    """One input that n nodes read, which are all outputs and all read by one more node."""
    graph = Graph("fan")
    x = graph.add_input("x", TensorType(FLOAT, (1,)))
    nodes = [graph.add_node("Neg", [x], [f"b{i}"]) for i in range(n)]
    values = [node.outputs[0] for node in nodes]
    graph.add_node("Concat", values, ["y"], {"axis": 0})
    graph.outputs = values
    return graph


def _replace_all(graph: Graph) -> None:
    """Another node for each of the n, which takes its place among the outputs and readers."""
    for node in list(graph.nodes)[:-1]:
        new = graph.add_node("Abs", node.inputs, [graph.unique("n")], before=node)
        graph.replace_uses(node.outputs[0], new.outputs[0])
        graph.remove_node(node)
    assert len(graph.nodes) == len(graph.outputs) + 1


def _remove_all(graph: Graph) -> None:
    """From the end."""
    nodes = list(graph.nodes)
    graph.outputs = []
    for node in reversed(nodes):
        graph.remove_node(node)
    assert not graph.nodes


@pytest.mark.parametrize("change", [_replace_all, _remove_all])
def test_a_change_of_a_graph_costs_the_same_in_a_larger_one(
    change: Callable[[Graph], None],
) -> None:
    """By the processor's time, 16 times as many: where each searched a list it took 256."""

    def seconds(n: int) -> float:
        graph = _fan(n)
        start = time.process_time()
        change(graph)
        return time.process_time() - start

    small = min(seconds(1000) for _ in range(3))
    assert min(seconds(16_000) for _ in range(2)) < 64 * small
