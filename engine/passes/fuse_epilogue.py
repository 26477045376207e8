"""fuse_epilogue: core [+ Add of a tensor of the output's shape] [+ activation] as one node."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from engine.ir.graph import BodyOp, Graph, Node, Value
from engine.ir.types import FLOATS
from engine.ops.compose import ACTIVATIONS
from engine.passes.base import Pass, only_reader, replace_node, require_types

CORES = {"Conv": 3, "ConvTranspose": 3, "Gemm": 3, "MatMul": 2}
"""Operators that may begin a fused node, with their number of inputs."""


def fuse_epilogue(graph: Graph, keep: Collection[str] = ()) -> None:
    """Build fused nodes in the form that engine.ops.compose documents.

    From the last node to the first, so that of two cores that meet in an Add the later one takes
    it, and its result is never stored. Intermediates must have one reader and be neither a
    graph output nor in `keep`.
    """
    kept = frozenset(keep)
    for core in reversed(list(graph.nodes)):
        if core.op_type not in CORES or core.body or core.outputs[0].known_type.dtype not in FLOATS:
            continue
        chain = _chain(graph, core, kept)
        if chain:
            _fuse(graph, core, chain)


def _chain(graph: Graph, core: Node, keep: frozenset[str]) -> list[Node]:
    """The epilogue nodes that follow the core, none to two."""
    chain: list[Node] = []
    after = only_reader(graph, core.outputs[0], keep)
    if after is not None and _is_residual(after, core.outputs[0]):
        chain.append(after)
        after = only_reader(graph, after.outputs[0], keep)
    if after is not None and _is_activation(after, (chain or [core])[-1].outputs[0]):
        chain.append(after)
    return chain


def _is_residual(node: Node, value: Value) -> bool:
    if node.op_type != "Add" or node.body:
        return False
    other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
    return (
        other is not None
        and not other.is_constant
        and other.type == value.type == node.outputs[0].type
    )


def _is_activation(node: Node, value: Value) -> bool:
    if node.op_type not in ACTIVATIONS or node.body or node.inputs[0] is not value:
        return False
    return all(_is_float_scalar(v) for v in node.inputs[1:] if v is not None)


def _is_float_scalar(limit: Value) -> bool:
    """One number, known, that survives float: kernels take the parameters of an epilogue so."""
    if limit.contents is None or limit.contents.type.size != 1:
        return False
    with np.errstate(over="ignore"):
        number = limit.contents.array.reshape(())
        return bool(number == np.float32(number) or np.isnan(number))


def _fuse(graph: Graph, core: Node, chain: list[Node]) -> None:
    """An absent bias becomes an explicit None, so that the epilogue's inputs come after it."""
    inputs: list[Value | None] = list(core.inputs)
    inputs += [None] * (CORES[core.op_type] - len(inputs))
    own = tuple(None if v is None else i for i, v in enumerate(inputs))
    inside = {id(n.outputs[0]) for n in (core, *chain)}
    inputs += [v for n in chain for v in n.inputs if v is not None and id(v) not in inside]
    at = {id(v): i for i, v in enumerate(inputs) if v is not None}
    body: list[BodyOp] = []
    for node in (core, *chain):
        sources = (
            own if node is core else tuple(None if v is None else at[id(v)] for v in node.inputs)
        )
        body.append(BodyOp(node.op_type, node.attributes, sources, node.outputs[0].known_type))
        at[id(node.outputs[0])] = len(inputs) + len(body) - 1
    replace_node(
        graph, chain[-1], core.op_type, inputs, core.attributes, name=core.name, body=tuple(body)
    )
    for node in reversed((core, *chain[:-1])):
        graph.remove_node(node)


def pass_keeping(keep: Collection[str]) -> Pass:
    """The pass; values named in `keep` stay."""
    return Pass("fuse_epilogue", lambda graph: fuse_epilogue(graph, keep), require_types)
