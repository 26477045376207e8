"""Inlining: model-local functions, and ONNX operators that ONNX itself defines by simpler ones.

Source: https://github.com/onnx/onnx/blob/main/docs/IR.md, "Functions". Each call gets its own copy
of the body; local values are renamed to `call name/local name`, made unique.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from onnx import AttributeProto, FunctionProto, NodeProto, TypeProto

from engine.errors import ModelError
from engine.ir.names import Names
from engine.onnx_import.definitions import definition
from engine.onnx_import.microsoft.body import TypeOf
from engine.onnx_import.raw_node import (
    RawNode,
    normal_domain,
    opset_versions,
    raw_node,
    require_text,
)
from engine.onnx_import.subgraphs import names_outside, nodes_inside, renamed, subgraphs_of

NODES_MAX = 500_000
"""Nested functions grow exponentially; beyond this many calls and nodes the model is refused."""
NODES_FREE, NODES_EACH = 50_000, 100
"""And beyond so many, and so many more for each node that is written in the file."""
NAMES_NBYTES_MAX = 2**28
"""Names grow with the depth of calls; beyond this many characters the model is refused."""
DEPTH_MAX = 64
"""Functions nested deeper are refused."""

Key = tuple[str, str, str]


class Context(Protocol):
    """The graph that nodes are added to while calls are replaced."""

    def type_of(self, name: str) -> TypeProto | None:
        """What is known of a value's type; None where its dtype is not."""
        ...

    def array_of(self, name: str) -> np.ndarray | None:
        """The array of a constant, None of another value."""
        ...

    def replace(self, call: RawNode, body: Sequence[RawNode]) -> None:
        """Nodes will be added instead of a call."""
        ...


@dataclass(frozen=True)
class _Body:
    """A function's nodes, read once; `proto` is kept so that its id stays its own."""

    proto: FunctionProto
    opsets: dict[str, int]
    nodes: list[RawNode]


class Inliner:
    """Replaces calls by bodies until only plain operators are left.

    Args:
        functions: the model's own.
        taken: every value name of the main graph; grows by those that are made.
        has_kernel: whether a node of the default domain needs no inlining, given the types of
            values by name.
        written: how many nodes the main graph has.
    """

    def __init__(
        self,
        functions: Sequence[FunctionProto],
        taken: Names,
        has_kernel: Callable[[RawNode, TypeOf], bool],
        written: int = 0,
    ) -> None:
        self._functions: dict[Key, FunctionProto] = {}
        self._bodies: dict[int, _Body] = {}
        self._taken = taken
        self._has_kernel = has_kernel
        written += sum(len(function.node) for function in functions)
        self._nodes_left = self._nodes_max = min(NODES_MAX, NODES_FREE + NODES_EACH * written)
        self._characters_left = NAMES_NBYTES_MAX
        for function in functions:
            require_text(function.domain, function.name, function.overload)
            require_text(*function.input, *function.output, *function.attribute)
            key = (normal_domain(function.domain), function.name, function.overload)
            if key in self._functions:
                raise ModelError(f"function {_shown(key)} is defined twice")
            self._functions[key] = function

    def inline(
        self, node: RawNode, context: Context | None = None, within: tuple[Key, ...] = ()
    ) -> Iterator[RawNode]:
        """The node, or where it is a call the nodes of its body, recursively.

        Args:
            context: given, calls are also the operators that ONNX defines by others, unless known;
                each node that is yielded is in the graph before the next is asked for.
        """
        key = (node.domain, node.op_type, node.overload)
        body = self._functions.get(key) or (self._definition(node, context) if context else None)
        if body is None:
            yield node
        else:
            if node.domain not in node.opsets:
                raise ModelError(f"{node.title}: the model does not import domain '{node.domain}'")
            if key in within or len(within) >= DEPTH_MAX:
                path = " -> ".join(map(_shown, (*within, key)))
                raise ModelError(
                    f"{node.title}: functions call one another in a circle: {path}"
                    if key in within
                    else f"{node.title}: functions are nested deeper than {DEPTH_MAX}: refused"
                )
            self._spend(1 + len(body.node))
            copies = self._expand(node, body)
            if context is not None:
                for copy in copies:
                    copy.origin = node.origin or node.title
                context.replace(node, copies)
            for copy in copies:
                yield from self.inline(copy, context, (*within, key))

    def _spend(self, nodes: int = 0, characters: int = 0) -> None:
        """Count what is about to be made."""
        self._nodes_left -= nodes
        self._characters_left -= characters
        if self._nodes_left < 0:
            raise ModelError(
                f"functions expand to more than {self._nodes_max} calls and nodes: refused"
            )
        if self._characters_left < 0:
            raise ModelError(
                f"functions expand to names of more than {NAMES_NBYTES_MAX} characters: refused"
            )

    def _body(self, proto: FunctionProto) -> _Body:
        """What is the same for all calls is read once."""
        if id(proto) not in self._bodies:
            opsets = opset_versions(proto.opset_import, f"function '{proto.name}'")
            nodes = [raw_node(node, opsets) for node in proto.node]
            self._bodies[id(proto)] = _Body(proto, opsets, nodes)
        return self._bodies[id(proto)]

    def _definition(self, node: RawNode, context: Context) -> FunctionProto | None:
        """ONNX's own of an operator that has no kernel."""
        if not node.domain and self._has_kernel(node, context.type_of):
            return None
        return definition(node, context.type_of, context.array_of)

    def _expand(self, call: RawNode, body: FunctionProto) -> list[RawNode]:
        """One copy of the body under the call's names; attributes are shared, not copied."""
        for have, formal, what in (
            (call.inputs, body.input, "inputs"),
            (call.outputs, body.output, "outputs"),
        ):
            if len(have) > len(formal):
                raise ModelError(
                    f"{call.title} has {len(have)} {what}, its function takes {len(formal)}"
                )
        names = dict.fromkeys(body.input, "")
        names.update(zip(body.input, call.inputs, strict=False))
        for graph in subgraphs_of(call.attributes):
            names.update({name: name for name in names_outside(graph) if name not in names})
        passed_on: list[tuple[str, str]] = []
        for formal, actual in zip(body.output, call.outputs, strict=False):
            if actual and formal in names:
                passed_on.append((formal, actual))
            elif actual:
                names[formal] = actual
        read = self._body(body)
        opsets, base = read.opsets or call.opsets, _base(call)
        actuals = _actual_attributes(call, body)
        copies = []
        for node in read.nodes:
            name = f"{base}/{node.name or node.op_type}"
            self._spend(characters=len(name))
            inputs = [self._renamed(name, names, call, reading=True) for name in node.inputs]
            outputs = [self._renamed(name, names, call) for name in node.outputs]
            attributes = self._with_subgraphs(_resolved(node, actuals), names, call, actuals)
            copies.append(
                RawNode(
                    name,
                    node.op_type,
                    node.domain,
                    node.overload,
                    inputs,
                    outputs,
                    attributes,
                    opsets,
                )
            )
        for formal, actual in passed_on:
            copies.append(RawNode("", "Identity", "", "", [names[formal]], [actual], {}, opsets))
        return copies

    def _with_subgraphs(
        self,
        attributes: dict[str, AttributeProto],
        names: Mapping[str, str],
        call: RawNode,
        actuals: Mapping[str, AttributeProto],
    ) -> dict[str, AttributeProto]:
        """The attributes with a copy of each subgraph under the call's names."""
        found = dict(attributes)
        for name, attribute in attributes.items():
            if attribute.type == AttributeProto.GRAPH and attribute.HasField("g"):
                self._spend(nodes_inside(attribute.g))
                found[name] = AttributeProto(name=name, type=AttributeProto.GRAPH)
                graph = renamed(
                    attribute.g,
                    names,
                    lambda inner: self._fresh(call, inner),
                    lambda node: _resolve(node, actuals),
                )
                found[name].g.CopyFrom(graph)
        return found

    def _fresh(self, call: RawNode, name: str) -> str:
        fresh = self._taken.fresh(f"{_base(call)}/{name}")
        self._spend(characters=len(fresh))
        self._taken.add(fresh)
        return fresh

    def _renamed(
        self, name: str, names: dict[str, str], call: RawNode, *, reading: bool = False
    ) -> str:
        if not name:
            return ""
        if name not in names:
            if reading:
                raise ModelError(
                    f"{call.title}: the function's body reads '{name}' before it is produced"
                )
            names[name] = self._fresh(call, name)
        return names[name]


def _base(call: RawNode) -> str:
    return call.name or next((o for o in call.outputs if o), call.op_type)


def _shown(key: Key) -> str:
    return "'" + "::".join(part for part in key if part) + "'"


def _actual_attributes(call: RawNode, body: FunctionProto) -> dict[str, AttributeProto]:
    known = {*body.attribute, *(a.name for a in body.attribute_proto)}
    if body.domain:  # the model's own: what ONNX defines is held against its schema
        for name in call.attributes:
            if name not in known:
                raise ModelError(f"{call.title}: its function has no attribute '{name}'")
        for name in body.attribute:
            if name not in call.attributes:
                raise ModelError(f"{call.title}: its function needs the attribute '{name}'")
    return {a.name: a for a in body.attribute_proto} | call.attributes


def _resolved(node: RawNode, actuals: dict[str, AttributeProto]) -> dict[str, AttributeProto]:
    """References to the call's attributes replaced; one to an attribute not given is left out."""
    resolved: dict[str, AttributeProto] = {}
    for name, attribute in node.attributes.items():
        if not attribute.ref_attr_name:
            resolved[name] = attribute
        elif attribute.ref_attr_name in actuals:
            actual = actuals[attribute.ref_attr_name]
            if actual.type != attribute.type:
                raise ModelError(
                    f"{node.title}: attribute '{name}' refers to "
                    f"'{attribute.ref_attr_name}', which has another type"
                )
            resolved[name] = actual
    return resolved


def _resolve(node: NodeProto, actuals: Mapping[str, AttributeProto]) -> None:
    """The same for a node of a subgraph, in place."""
    if not any(attribute.ref_attr_name for attribute in node.attribute):
        return
    raw = raw_node(node, {})
    del node.attribute[:]
    for name, attribute in _resolved(raw, dict(actuals)).items():
        node.attribute.add().CopyFrom(attribute)
        node.attribute[-1].name = name


def refuse_references(nodes: Iterable[RawNode]) -> None:
    """Raise ModelError for an attribute reference outside any function."""
    for node in nodes:
        for attribute in node.attributes.values():
            if attribute.ref_attr_name:
                raise ModelError(
                    f"{node.title}: attribute '{attribute.name}' refers to "
                    f"'{attribute.ref_attr_name}', but the node is in no function"
                )
