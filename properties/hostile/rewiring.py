"""Mutations of a model's graph: valid protobuf, wrong or strange ONNX."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper

from properties.hostile.retyping import (
    change_opset,
    make_constant,
    point_outside,
    reshape_tensor,
    retype_tensor,
    set_constant,
)

Rng = np.random.Generator
Mutation = Callable[[Rng, ModelProto], str]


def _node(rng: Rng, model: ModelProto) -> NodeProto:
    nodes = model.graph.node
    return nodes[int(rng.integers(len(nodes)))]


def _names(model: ModelProto) -> list[str]:
    graph = model.graph
    made = [n for node in graph.node for n in node.output]
    return [*(i.name for i in graph.input), *(t.name for t in graph.initializer), *made]


def rewire(rng: Rng, model: ModelProto) -> str:
    """An input of a node becomes another value, possibly a later one."""
    node, names = _node(rng, model), _names(model)
    if not node.input:
        return "nothing to rewire"
    node.input[int(rng.integers(len(node.input)))] = names[int(rng.integers(len(names)))]
    return "rewired"


def cycle(rng: Rng, model: ModelProto) -> str:
    """A node reads its own result."""
    node = _node(rng, model)
    if node.input and node.output:
        node.input[0] = node.output[0]
    return "cycle"


def drop_node(rng: Rng, model: ModelProto) -> str:
    """One node is gone."""
    del model.graph.node[int(rng.integers(len(model.graph.node)))]
    return "node dropped"


def repeat_node(rng: Rng, model: ModelProto) -> str:
    """One node stands twice, under the same names or reading its own result."""
    node = NodeProto()
    node.CopyFrom(_node(rng, model))
    if rng.random() < 0.5 and node.input and node.output:
        last, count = node.output[0], int(rng.choice([1, 3, 30]))
        # indices of indices are more each time, as nobody can count before they are there
        for k in range(min(count, 3) if node.op_type == "NonZero" else count):
            following = model.graph.node.add()
            following.CopyFrom(node)
            following.name = f"again{k}"
            following.input[0], following.output[0] = last, f"again{k}"
            last = following.output[0]
        model.graph.output.add().name = last
        return "chained"
    model.graph.node.append(node)
    return "node twice"


def double(rng: Rng, model: ModelProto) -> str:
    """Concat(t, t) again and again: a size that grows with every node."""
    names = _names(model)
    last = names[int(rng.integers(len(names)))]
    for k in range(int(rng.choice([2, 8, 25, 45]))):
        node = helper.make_node("Concat", [last, last], [f"double{k}"], axis=0)
        model.graph.node.append(node)
        last = node.output[0]
    model.graph.output.add().name = last
    return "doubled"


def rename(rng: Rng, model: ModelProto) -> str:
    """A value, a node or the graph gets a strange name, or one that is taken."""
    names = ["", "a/b", "é\u202e", "x" * 5000, "\n", "0", "__proto__", "../../etc/passwd"]
    name = str(names[int(rng.integers(len(names)))])
    if rng.random() < 0.5:
        taken = _names(model)
        name = taken[int(rng.integers(len(taken)))]
    node, which = _node(rng, model), int(rng.integers(4))
    if which == 0 and node.output:
        node.output[0] = name
    elif which == 1 and model.graph.initializer:
        model.graph.initializer[0].name = name
    elif which == 2 and model.graph.input:
        model.graph.input[0].name = name
    else:
        node.name = model.graph.name = name
    return "renamed"


def retype_operator(rng: Rng, model: ModelProto) -> str:
    """A node becomes another operator."""
    from properties.hostile.calls import schemas

    names, node = list(schemas()), _node(rng, model)
    node.domain, _, node.op_type = names[int(rng.integers(len(names)))].rpartition("::")
    return "another operator"


def rearrange(rng: Rng, model: ModelProto) -> str:
    """Inputs or outputs of a node are repeated, dropped, emptied or shuffled."""
    node = _node(rng, model)
    field = node.input if rng.random() < 0.7 else node.output
    names, how = list(field), int(rng.integers(4))
    if how == 0:
        names += names * int(rng.choice([1, 1, 30]))
    elif how == 1:
        names = names[:-1]
    elif how == 2 and names:
        names[int(rng.integers(len(names)))] = ""
    else:
        rng.shuffle(names)
    del field[:]
    field.extend(names)
    return "rearranged"


def nest(rng: Rng, model: ModelProto) -> str:
    """The graph, or a node of it, inside an If or a function of the model, again and again."""
    depth = int(rng.choice([1, 2, 3, 10, 70]))
    if rng.random() < 0.4:
        node = helper.make_node("If", ["c"], ["nested"])
        for branch in ("then_branch", "else_branch"):
            node.attribute.append(helper.make_attribute(branch, model.graph))
        model.graph.node.append(node)
        return "nested in If"
    return _nest_in_functions(rng, model, depth)


def _nest_in_functions(rng: Rng, model: ModelProto, depth: int) -> str:
    inner, twice = _node(rng, model), bool(rng.random() < 0.5)
    if len(inner.input) != 1 or len(inner.output) != 1:
        inner = helper.make_node("Relu", ["a"], ["b"])
    opsets = list(model.opset_import)[:1]
    for k in range(depth):
        call = NodeProto()
        call.CopyFrom(inner)
        if k:
            call = helper.make_node(f"E{k - 1}", ["a"], ["b"], domain="nested")
        call.input[0], call.output[0] = "a", "t" if twice else "b"
        body = [call]
        if twice:
            again = NodeProto()
            again.CopyFrom(call)
            again.input[0], again.output[0] = "t", "b"
            body.append(again)
        imports = [*opsets, helper.make_opsetid("nested", 1)]
        function = helper.make_function("nested", f"E{k}", ["a"], ["b"], body, imports)
        model.functions.append(function)
    names = _names(model)
    last = helper.make_node(
        f"E{depth - 1}", [names[int(rng.integers(len(names)))]], ["nested"], domain="nested"
    )
    model.graph.node.append(last)
    model.graph.output.add().name = "nested"
    model.opset_import.append(helper.make_opsetid("nested", 1))
    return f"nested in {depth} functions"


def expose(rng: Rng, model: ModelProto) -> str:
    """Another value becomes an output, or outputs go."""
    if rng.random() < 0.3:
        del model.graph.output[:]
        return "no outputs"
    names = _names(model)
    model.graph.output.add().name = names[int(rng.integers(len(names)))]
    return "another output"


MUTATIONS: tuple[Mutation, ...] = (
    *(rewire, rewire, cycle, drop_node, repeat_node, double, rename, retype_operator),
    *(rearrange, retype_tensor, reshape_tensor, reshape_tensor, set_constant, set_constant),
    *(make_constant, change_opset, nest, expose, point_outside),
)


def bend_graph(rng: Rng, data: bytes) -> tuple[str, bytes]:
    """One to three mutations of a graph."""
    model = onnx.load_from_string(data)
    told = []
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        if len(model.graph.node):
            told.append(MUTATIONS[int(rng.integers(len(MUTATIONS)))](rng, model))
    return ", ".join(told), model.SerializeToString()
