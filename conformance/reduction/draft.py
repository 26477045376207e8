"""A case taken apart, to be changed and put together again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from conformance.bundles.failing import Case
from conformance.inputs import Feeds


@dataclass
class Draft:
    """The nodes, constants and feeds of a case; functions and opsets stay as they are.

    Attributes:
        constants: initialisers by name. outputs: names of the model's.
    """

    model: onnx.ModelProto
    nodes: list[onnx.NodeProto]
    constants: dict[str, np.ndarray]
    feeds: Feeds
    outputs: list[str]

    @classmethod
    def of(cls, case: Case) -> Draft:
        """Raises nothing: the case was loaded before."""
        model = onnx.load_from_string(case.model)
        graph = model.graph
        return cls(
            model,
            list(graph.node),
            {c.name: numpy_helper.to_array(c) for c in graph.initializer},
            dict(case.feeds),
            [v.name for v in graph.output],
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Feeds and constants."""
        return {**self.constants, **self.feeds}

    def with_arrays(self, changed: Mapping[str, np.ndarray]) -> Draft:
        """Other feeds or constants of the same names."""
        constants = {n: changed.get(n, a) for n, a in self.constants.items()}
        feeds = {n: changed.get(n, a) for n, a in self.feeds.items()}
        return Draft(self.model, self.nodes, constants, feeds, self.outputs)

    def case(self) -> Case:
        """The model of what is left; what nobody reads is left out."""
        read = {name for node in self.nodes for name in names_read(node)}
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        graph = model.graph
        for old in (graph.node, graph.initializer, graph.input, graph.output, graph.value_info):
            del old[:]
        feeds = {n: a for n, a in self.feeds.items() if n in read}
        graph.node.extend(self.nodes)
        graph.input.extend(_input(n, a) for n, a in feeds.items())
        graph.initializer.extend(
            numpy_helper.from_array(a, n) for n, a in self.constants.items() if n in read
        )
        graph.output.extend(helper.make_empty_tensor_value_info(n) for n in self.outputs)
        return Case(model.SerializeToString(), feeds)


def _input(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, element, array.shape)


def names_read(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, and what its subgraphs read of what is around them."""
    yield from filter(None, node.input)
    for graph in subgraphs(node):
        made = {v.name for v in graph.input} | {c.name for c in graph.initializer}
        made |= {name for inner in graph.node for name in inner.output}
        wanted = [name for inner in graph.node for name in names_read(inner)]
        yield from (n for n in [*wanted, *(v.name for v in graph.output)] if n not in made)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Bodies and branches."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def names_made(nodes: Iterable[onnx.NodeProto]) -> list[str]:
    """Outputs of nodes, in order."""
    return [name for node in nodes for name in node.output if name]
