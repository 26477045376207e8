"""Models of any size, one for each way in which work could grow faster than they do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import NodeProto, helper

from tests.control_flow_models import serialised
from tests.model_writing import model_bytes, node
from tests.sequence_models import SEQUENCE, with_lists


def _links(op_types: str, n: int, more: str = "", **attributes: object) -> list[NodeProto]:
    """Operators one after the other, from t0 to t<n>; `more` are further inputs of each."""
    types = op_types.split()
    return [
        node(types[i % len(types)], f"t{i} {more}", f"t{i + 1}", **attributes) for i in range(n)
    ]


def _concat(n: int) -> NodeProto:
    return node("Concat", " ".join(f"b{i}" for i in range(n)), "y", axis=0)


def of_a_list() -> bytes:
    """A sequence that is given out as it is."""
    return serialised(with_lists([node("Identity", "s", "y")], [("s", SEQUENCE, None)], "y"))


def chain(n: int) -> bytes:
    """One operator after the other."""
    return model_bytes(_links("Neg Relu", n), {"t0": (8,)}, [f"t{n}"])


def backwards(n: int) -> bytes:
    """The same, the last written first."""
    return model_bytes(_links("Neg Relu", n)[::-1], {"t0": (8,)}, [f"t{n}"])


def wide(n: int) -> bytes:
    """As many results of one tensor, all needed at the end."""
    branches = [node("Neg", "x", f"b{i}") for i in range(n)]
    return model_bytes([*branches, _concat(n)], {"x": (2,)}, ["y"])


def fused(n: int) -> bytes:
    """The same, every branch of two operators that become one."""
    branches = [node("Gemm", "x w", f"a{i}") for i in range(n // 2)]
    branches += [node("Relu", f"a{i}", f"b{i}") for i in range(n // 2)]
    constants = {"w": np.ones((2, 2), np.float32)}
    return model_bytes([*branches, _concat(n // 2)], {"x": (1, 2)}, ["y"], constants)


def identities(n: int) -> bytes:
    """The same, of operators that are removed."""
    branches = [node("Identity", "x", f"b{i}") for i in range(n)]
    return model_bytes([*branches, _concat(n)], {"x": (2,)}, ["y"])


def dead(n: int) -> bytes:
    """As many results that nobody reads."""
    nodes = [node("Neg", "x", f"b{i}") for i in range(n)]
    return model_bytes([*nodes, node("Abs", "x", "y")], {"x": (2,)}, ["y"])


def many_outputs(n: int) -> bytes:
    """As many results that the caller reads."""
    nodes = [node("Neg", "x", f"b{i}") for i in range(n)]
    return model_bytes(nodes, {"x": (2,)}, [f"b{i}" for i in range(n)])


def many_inputs(n: int) -> bytes:
    """As many tensors that the caller writes."""
    nodes = [node("Neg", f"x{i}", f"b{i}") for i in range(n)]
    return model_bytes([*nodes, _concat(n)], {f"x{i}": (2,) for i in range(n)}, ["y"])


def views(n: int) -> bytes:
    """One view of a view after the other."""
    nodes = _links("Unsqueeze Squeeze", n, "zero")
    return model_bytes(
        [*nodes, node("Neg", f"t{n}", "y")], {"t0": (8,)}, ["y"], {"zero": np.array([0])}
    )


def old_opset(n: int) -> bytes:
    """Every operator is rewritten to several, whose names are made up."""
    return model_bytes(
        _links("Softmax", n // 4, axis=1), {"t0": (2, 3, 4)}, [f"t{n // 4}"], opset=11
    )


def computed(n: int) -> bytes:
    """One operator on constants after the other."""
    constants = {"t0": np.zeros(1, np.float32), "one": np.ones(1, np.float32)}
    return model_bytes(
        [*_links("Add", n, "one"), node("Add", f"x t{n}", "y")], {"x": (1,)}, ["y"], constants
    )


def skips(n: int) -> bytes:
    """Every operator reads some earlier result as well."""
    nodes = [node("Add", f"t{i} t{max(0, i - i * 7919 % 50)}", f"t{i + 1}") for i in range(n)]
    return model_bytes(nodes, {"t0": (8,)}, [f"t{n}"])


def tree(n: int) -> bytes:
    """Every result is read twice, down to the leaves, whose sums go up again."""
    depth = (n // 3).bit_length()
    down = [node("Neg", f"d{i // 2}", f"d{i}") for i in range(2, 2**depth)]
    leaves = {i: f"d{i}" for i in range(2 ** (depth - 1), 2**depth)}
    up = []
    for i in reversed(range(1, 2 ** (depth - 1))):
        one, other = (leaves.get(k, f"u{k}") for k in (2 * i, 2 * i + 1))
        up.append(node("Add", f"{one} {other}", f"u{i}"))
    return model_bytes([*down, *up], {"d1": (4,)}, ["u1"])


def one_function(n: int) -> bytes:
    """Calls of one function, without names."""
    opsets = [helper.make_opsetid("", 13)]
    body = [node("Abs", "a", "t"), node("Neg", "t", "b")]
    function = helper.make_function("local", "F", ["a"], ["b"], body, opsets)
    calls = [helper.make_node("F", [f"t{i}"], [f"t{i + 1}"], domain="local") for i in range(n // 2)]
    outputs, domains = [f"t{n // 2}"], ["local"]
    return model_bytes(calls, {"t0": (8,)}, outputs, functions=[function], domains=domains)


GROWING: dict[str, Callable[[int], bytes]] = {
    build.__name__: build
    for build in (
        *(chain, backwards, wide, fused, identities, dead, many_outputs, many_inputs, views),
        *(old_opset, computed, skips, tree, one_function),
    )
}
