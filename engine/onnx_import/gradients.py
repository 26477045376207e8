"""Gradient (ai.onnx.preview.training): nodes that compute the derivatives of a part of the graph.

Source: https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Gradient.html. The part leads from
the tensors named by `xs` and `zs` to the one named by `y`. It is computed again from the values at
which the gradient is asked for, which are variables of their own, also where one value stands for
two. Its nodes are gone through backwards, and each adds to the gradients of what it reads (reverse
mode): of `y` itself, the sum of all elements, it is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any

from onnx import AttributeProto, helper

from engine.errors import ModelError, UnsupportedError
from engine.ir.names import Names
from engine.onnx_import.raw_node import DEFAULT_DOMAIN, RawNode

DOMAIN = "ai.onnx.preview.training"
OPSETS = {DEFAULT_DOMAIN: 18}
"""Of the nodes that are written."""
TRANSPOSED = "...ij->...ji"


def is_gradient(node: RawNode) -> bool:
    """Whether a node is one to replace."""
    return (node.domain, node.op_type) == (DOMAIN, "Gradient")


def gradient(call: RawNode, nodes: Iterable[RawNode], taken: Names) -> list[RawNode]:
    """The nodes that compute the outputs of a Gradient.

    Args:
        nodes: of the graph that it stands in. taken: names of values; grows by those that are made.

    Raises:
        ModelError: it names what the graph has not. UnsupportedError: an operator of the part has
            no derivative here.
    """
    return _Gradient(call, taken).nodes_for(list(nodes))


class _Gradient:
    """Writes the nodes for one Gradient."""

    def __init__(self, call: RawNode, taken: Names) -> None:
        self._call, self._taken = call, taken
        self._xs, self._zs = (_texts(call, name) for name in ("xs", "zs"))
        self._y = _text(call, "y")
        given = len(self._xs) + len(self._zs)
        if not self._xs or len(call.inputs) != given or len(call.outputs) > len(self._xs):
            raise ModelError(
                f"{call.title}: {len(call.inputs)} inputs and {len(call.outputs)} outputs for "
                f"{len(self._xs)} xs and {len(self._zs)} zs"
            )
        self._written: list[RawNode] = []
        self._gradients: dict[str, str] = {}

    def nodes_for(self, nodes: Sequence[RawNode]) -> list[RawNode]:
        """All that is written."""
        asked = [*self._xs, *self._zs]
        for name in asked:
            if name not in self._taken:
                raise ModelError(f"{self._call.title}: the graph has no '{name}'")
        part = _between(self._call, nodes, asked, self._y)
        given = zip(asked, self._call.inputs, strict=True)
        values = {name: self.of("Identity", value) for name, value in given}
        depending = {values[x] for x in self._xs}
        copies = [self._again(node, values) for node in part]
        for node in copies:
            depending.update(node.outputs if depending & {*node.reads} else ())
        y = values.get(self._y, self._y)
        self._gradients[y] = self._full(1.0, y)
        for written, node in zip(reversed(part), reversed(copies), strict=True):
            self._go_back(node, depending, written.title)
        for x, output in zip(self._xs, self._call.outputs, strict=False):
            found = self._gradients.get(values[x]) or self._full(0.0, values[x])
            self.of("Identity", found, into=output)
        return self._written

    def _again(self, node: RawNode, values: dict[str, str]) -> RawNode:
        """A copy of a node that reads other values."""
        inputs = [values.get(name, name) for name in node.inputs]
        values.update({name: self._fresh(name) for name in node.outputs if name})
        outputs = [values.get(name, "") for name in node.outputs]
        name = f"{self._call.name or self._call.outputs[0]}/{node.name or node.op_type}"
        copy = RawNode(
            *(name, node.op_type, node.domain, node.overload, inputs, outputs),
            *(node.attributes, node.opsets, self._call.title),
        )
        self._written.append(copy)
        return copy

    def _go_back(self, node: RawNode, depending: Set[str], title: str) -> None:
        """Add to the gradients of what a node reads.

        Args:
            depending: what depends on xs: of nothing else is there a derivative to compute.
            title: of the node that this one is a copy of.
        """
        (y, *_), known = node.outputs, self._gradients
        if y not in known or y not in depending:
            return
        rule = RULES.get(node.op_type) if not node.domain else None
        if rule is None or any(node.outputs[1:]):
            raise UnsupportedError(
                f"{self._call.title}: {title} has no derivative here; there are those of "
                f"{', '.join(sorted(RULES))}"
            )
        for x, partial in zip(node.inputs, rule(self, node, y, known[y]), strict=False):
            if x in depending and partial:
                own = self._reduced(partial, x)
                known[x] = self.of("Add", known[x], own) if x in known else own

    def of(self, op_type: str, *inputs: str, into: str = "", **attributes: Any) -> str:
        """The name of what a new node computes."""
        output = into or self._fresh(op_type)
        given = {name: helper.make_attribute(name, value) for name, value in attributes.items()}
        name = f"{self._call.name or self._call.outputs[0]}/{op_type}_{len(self._written)}"
        node = RawNode(
            *(name, op_type, DEFAULT_DOMAIN, "", list(inputs), [output]),
            *(given, OPSETS, self._call.title),
        )
        self._written.append(node)
        return output

    def _fresh(self, name: str) -> str:
        fresh = self._taken.fresh(f"{self._call.name or self._call.outputs[0]}/{name}")
        self._taken.add(fresh)
        return fresh

    def _full(self, number: float, like: str) -> str:
        """A number in the shape and dtype of a value."""
        one = self.of("CastLike", self.of("Constant", value_float=number), like)
        return self.of("Expand", one, self.of("Shape", like))

    def _reduced(self, partial: str, x: str) -> str:
        """The sum over the axes along which x was broadcast, in the shape of x."""
        shape, there = self.of("Shape", x), self.of("Shape", partial)
        missing = self.of("Sub", self.of("Shape", there), self.of("Shape", shape))
        one = helper.make_tensor("one", 7, [1], [1])
        before = self.of("ConstantOfShape", missing, value=one)
        whole = self.of("Concat", before, shape, axis=0)
        differs = self.of("NonZero", self.of("Sub", there, whole))
        axes = self.of("Reshape", differs, self.of("Constant", value_ints=[-1]))
        total = self.of("ReduceSum", partial, axes, keepdims=1, noop_with_empty_axes=1)
        return self.of("Reshape", total, shape)


def _between(
    call: RawNode, nodes: Sequence[RawNode], asked: Sequence[str], y: str
) -> list[RawNode]:
    """The nodes from what is asked about to y, in the order of the graph.

    What they read besides and no node computes is a constant, or as good as one.
    """
    made = {name: node for node in nodes for name in node.outputs if name}
    if y not in made and y not in asked:
        raise ModelError(f"{call.title}: no node computes y='{y}'")
    found: set[int] = set()
    waiting = [y]
    while waiting:
        name = waiting.pop()
        node = None if name in asked else made.get(name)
        if node is call:
            raise ModelError(f"{call.title}: '{name}' is computed from its own output")
        if node is not None and id(node) not in found:
            found.add(id(node))
            waiting += node.reads
    return [node for node in nodes if id(node) in found]


def _texts(call: RawNode, name: str) -> list[str]:
    given = call.attributes.get(name)
    if given is not None and given.type != AttributeProto.STRINGS:
        raise ModelError(f"{call.title}: attribute '{name}' is no list of strings")
    return [] if given is None else [text.decode(errors="replace") for text in given.strings]


def _text(call: RawNode, name: str) -> str:
    given = call.attributes.get(name)
    if given is None or given.type != AttributeProto.STRING:
        raise ModelError(f"{call.title}: attribute '{name}' is missing, or no string")
    text: str = given.s.decode(errors="replace")
    return text


# --------------------------------------------------------------------- rules
Rule = Callable[[_Gradient, RawNode, str, str], Sequence[str]]
"""From a node, its output and the gradient of that to one for each input, "" for none."""


def _mul(w: _Gradient, node: RawNode, y: str, g: str) -> Sequence[str]:
    a, b = node.inputs
    return w.of("Mul", g, b), w.of("Mul", g, a)


def _div(w: _Gradient, node: RawNode, y: str, g: str) -> Sequence[str]:
    own = w.of("Div", g, node.inputs[1])
    return own, w.of("Neg", w.of("Mul", own, y))


def _mat_mul(w: _Gradient, node: RawNode, y: str, g: str) -> Sequence[str]:
    a, b = (w.of("Einsum", x, equation=TRANSPOSED) for x in node.inputs)
    return w.of("MatMul", g, b), w.of("MatMul", a, g)


def _sigmoid(w: _Gradient, node: RawNode, y: str, g: str) -> Sequence[str]:
    return (w.of("Mul", g, w.of("Sub", y, w.of("Mul", y, y))),)


def _tanh(w: _Gradient, node: RawNode, y: str, g: str) -> Sequence[str]:
    return (w.of("Sub", g, w.of("Mul", g, w.of("Mul", y, y))),)


def _reshaped(w: _Gradient, node: RawNode, y: str, g: str) -> Sequence[str]:
    return (w.of("Reshape", g, w.of("Shape", node.inputs[0])),)


RULES: dict[str, Rule] = {
    "Add": lambda w, node, y, g: (g, g),
    "Sub": lambda w, node, y, g: (g, w.of("Neg", g)),
    "Mul": _mul,
    "Div": _div,
    "MatMul": _mat_mul,
    "Neg": lambda w, node, y, g: (w.of("Neg", g),),
    "Identity": lambda w, node, y, g: (g,),
    "Exp": lambda w, node, y, g: (w.of("Mul", g, y),),
    "Log": lambda w, node, y, g: (w.of("Div", g, node.inputs[0]),),
    "Sqrt": lambda w, node, y, g: (w.of("Div", g, w.of("Add", y, y)),),
    "Relu": lambda w, node, y, g: (w.of("Mul", g, w.of("Sign", y)),),
    "Sigmoid": _sigmoid,
    "Tanh": _tanh,
    "Sin": lambda w, node, y, g: (w.of("Mul", g, w.of("Cos", node.inputs[0])),),
    "Cos": lambda w, node, y, g: (w.of("Neg", w.of("Mul", g, w.of("Sin", node.inputs[0]))),),
    "Reshape": _reshaped,
    "Unsqueeze": _reshaped,
    "Squeeze": _reshaped,
    "Flatten": _reshaped,
}
"""Operator -> its rule; of all others there is no derivative."""
