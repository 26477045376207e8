"""Scan of opset 8: for each entry of a batch, which is the first axis of all, a Scan of today.

Source: https://github.com/onnx/onnx/blob/main/docs/Changelog.md#Scan-8, its pseudo-code: the loop
over the batch is a Scan whose body is that over the sequence. Where `sequence_lens` ends a sequence
before the longest, what follows is scanned, too, but changes no state; outputs there, which ONNX
leaves undefined, are 0, as in onnxruntime. One that is scanned backward begins at its own end.
Lengths are checked as indices are, by reading zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, ValueInfoProto, helper, numpy_helper
from onnx.defs import onnx_opset_version

from engine.errors import ModelError
from engine.onnx_import.raw_node import RawNode


def in_turn(node: RawNode, fresh: Callable[[str], str]) -> tuple[list[RawNode], RawNode, set[str]]:
    """The node as a Scan over the batch.

    Args:
        node: a Scan of opset 8 whose body goes with it. fresh: makes names for values.

    Returns:
        Nodes before it, the node, and the first outputs of nodes in it that are in the form of the
        newest opset.
    """
    batch = _Batch(node, fresh)
    before = batch.check_lengths()
    return before, *batch.whole()


class _Batch:
    """One such node on its way."""

    def __init__(self, node: RawNode, fresh: Callable[[str], str]) -> None:
        self._node, self._fresh = node, fresh
        self._lengths, *self._inputs = node.inputs
        self._scanned = node.attributes["num_scan_inputs"].i
        self._states = len(self._inputs) - self._scanned
        given = node.attributes.get("directions")
        self._backward = list(given.ints) if given else [0] * self._scanned
        if len(self._backward) != self._scanned or not {*self._backward} <= {0, 1}:
            raise ModelError(
                f"{node.title}: directions={self._backward}, expected 0 or 1 for each of "
                f"{self._scanned} inputs"
            )
        self._newest: set[str] = set()

    def check_lengths(self) -> list[RawNode]:
        """Nodes that refuse lengths beyond the sequences, or below 0, and give them as they are.

        Of S + 1 zeros those at n, and at 2n - (S + 1), are there where n is one of 0..S.
        """
        if not self._lengths:
            return []
        nodes: list[NodeProto] = []
        given = self._lengths
        count = self._made(nodes, "Shape", self._inputs[self._states], start=1, end=2)
        count = self._made(nodes, "Add", count, self._constant(nodes, np.ones(1, np.int64)))
        zeros = self._made(nodes, "Expand", self._constant(nodes, np.int64(0)), count)
        twice = self._made(nodes, "Sub", self._made(nodes, "Add", given, given), count)
        found = [self._made(nodes, "Gather", zeros, places) for places in (given, twice)]
        self._lengths = self._made(nodes, "Add", given, self._made(nodes, "Add", *found))
        whole = replace(self._node, version=onnx_opset_version(), origin=self._node.title)
        return [
            replace(
                whole,
                name="",
                op_type=part.op_type,
                inputs=list(part.input),
                outputs=list(part.output),
                attributes={a.name: a for a in part.attribute},
            )
            for part in nodes
        ]

    def whole(self) -> tuple[RawNode, set[str]]:
        """The Scan over the batch."""
        body = self._node.attributes["body"].g
        formals = [self._fresh(f"{name}_entry") for name in self._inputs]
        results = [self._fresh(f"{self._node.outputs[0]}_entry") for _ in body.output]
        length = [self._fresh(f"{self._lengths}_entry")] if self._lengths else []
        scan = self._over_sequence(body, formals, results, *length)
        outer = helper.make_graph(
            scan,
            self._fresh(f"{body.name}_entry"),
            [ValueInfoProto(name=name) for name in (*formals, *length)],
            [ValueInfoProto(name=name) for name in results[: len(self._node.outputs)]],
        )
        inputs = [*self._inputs, *([self._lengths] if length else [])]
        attributes = _attributes(body=outer, num_scan_inputs=len(inputs))
        version = onnx_opset_version()
        made = replace(self._node, inputs=inputs, attributes=attributes, version=version)
        return made, self._newest

    def _over_sequence(
        self, body: GraphProto, formals: Sequence[str], results: Sequence[str], length: str = ""
    ) -> list[NodeProto]:
        """The nodes that scan one entry."""
        states, scans = list(formals[: self._states]), list(formals[self._states :])
        if not length:
            forward = {"scan_input_directions": self._backward}
            return [self._scan(body, [*states, *scans], results, len(scans), **forward)]
        nodes: list[NodeProto] = []
        steps = self._steps(nodes, scans[0])
        alive = self._made(nodes, "Less", steps, length)
        last = self._made(nodes, "Sub", length, self._constant(nodes, np.int64(1)))
        none = self._constant(nodes, np.int64(0))
        places = self._made(nodes, "Max", self._made(nodes, "Sub", last, steps), none)
        turned = [
            self._made(nodes, "Gather", x, places) if backward else x
            for x, backward in zip(scans, self._backward, strict=True)
        ]
        masked = self._masked(body)
        inputs = [*states, alive, *turned]
        return [*nodes, self._scan(masked, inputs, results, len(scans) + 1)]

    def _steps(self, nodes: list[NodeProto], scan: str) -> str:
        """0, 1... for each step of the longest sequence."""
        shape = self._made(nodes, "Shape", scan, start=0, end=1)
        count = self._made(nodes, "Squeeze", shape)
        zero, one = (self._constant(nodes, np.int64(n)) for n in (0, 1))
        return self._made(nodes, "Range", zero, count, one)

    def _masked(self, body: GraphProto) -> GraphProto:
        """The body with one input more, whether the sequence goes on, before what is scanned."""
        masked, nodes = GraphProto(), list[NodeProto]()
        masked.CopyFrom(body)
        alive, inputs = self._fresh("goes_on"), list(body.input)
        zero = self._constant(nodes, np.float32(0))
        for k, output in enumerate(masked.output):
            if k < self._states:
                ended = inputs[k].name
            else:
                ended = self._made(nodes, "CastLike", zero, output.name)
            output.name = self._made(nodes, "Where", alive, output.name, ended)
        del masked.input[:]
        masked.input.extend(inputs[: self._states])
        masked.input.append(ValueInfoProto(name=alive))
        masked.input.extend(inputs[self._states :])
        masked.node.extend(nodes)
        return masked

    def _scan(
        self,
        body: GraphProto,
        inputs: Sequence[str],
        results: Sequence[str],
        count: int,
        **more: list[int],
    ) -> NodeProto:
        self._newest.add(results[0])
        return helper.make_node("Scan", inputs, results, body=body, num_scan_inputs=count, **more)

    def _made(self, nodes: list[NodeProto], op_type: str, *inputs: str, **more: int) -> str:
        """The output of a new node."""
        name = self._fresh(f"{self._node.outputs[0]}_{op_type.lower()}")
        nodes.append(helper.make_node(op_type, inputs, [name], **more))
        self._newest.add(name)
        return name

    def _constant(self, nodes: list[NodeProto], number: np.generic | np.ndarray) -> str:
        name = self._made(nodes, "Constant")
        value = numpy_helper.from_array(np.asarray(number), name)
        nodes[-1].attribute.append(helper.make_attribute("value", value))
        return name


def _attributes(**given: object) -> dict[str, AttributeProto]:
    return {name: helper.make_attribute(name, value) for name, value in given.items()}
