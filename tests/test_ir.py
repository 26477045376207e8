"""The graph keeps its edges, and verify sees every broken invariant."""

import numpy as np
import pytest

from engine.errors import GraphError
from engine.ir import Graph, TensorType
from engine.ir.types import FLOAT
from engine.ir.verify import verify

pytestmark = pytest.mark.device_free


@pytest.fixture
def graph() -> Graph:
    type_ = TensorType(FLOAT, (3,))
    g = Graph("g")
    x = g.add_input("x", type_)
    c = g.add_constant("c", np.ones(3, np.float32))
    a = g.add_node("Add", [x, c], [("a", type_)])
    b = g.add_node("Relu", [a.outputs[0]], [("b", type_)])
    g.outputs = [b.outputs[0]]
    verify(g)
    return g


def test_a_name_defined_twice_is_refused(graph):
    with pytest.raises(GraphError, match="'a' is defined twice"):
        graph.add_node("Relu", [graph.inputs[0]], ["a"])


def test_verify_sees_a_reader_before_its_producer(graph):
    graph.nodes.reverse()
    with pytest.raises(GraphError, match="before it is produced"):
        verify(graph)


def test_verify_sees_a_forgotten_use(graph):
    graph.inputs[0].uses.clear()
    with pytest.raises(GraphError, match="use list of 'x'"):
        verify(graph)


def test_verify_sees_a_dangling_output(graph):
    graph.outputs.append(Graph("other").add_input("z", TensorType(FLOAT, (1,))))
    with pytest.raises(GraphError, match="'z' is never produced"):
        verify(graph)


def test_verify_sees_a_constant_of_another_type(graph):
    graph.nodes[0].inputs[1].constant = np.ones(4, np.float32)
    with pytest.raises(GraphError, match="holds float32"):
        verify(graph)


def test_verify_sees_a_foreign_producer(graph):
    graph.nodes[1].outputs[0].producer = graph.nodes[0]
    with pytest.raises(GraphError, match="whose producer"):
        verify(graph)


def test_a_node_that_is_still_read_cannot_be_removed(graph):
    with pytest.raises(GraphError, match="still read"):
        graph.remove_node(graph.nodes[0])


def test_replacing_an_output_keeps_the_users_name(graph):
    a, b = graph.nodes
    graph.replace_uses(b.outputs[0], a.outputs[0])
    graph.remove_node(b)
    verify(graph)
    assert [v.name for v in graph.outputs] == ["b"]


def test_a_copy_is_independent_but_shares_constants(graph):
    twin = graph.copy()
    verify(twin)
    assert twin.nodes[0] is not graph.nodes[0]
    assert twin.nodes[0].inputs[1].constant is graph.nodes[0].inputs[1].constant
    assert list(twin.nodes[0].inputs[0].uses) == [twin.nodes[0]]
