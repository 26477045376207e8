"""Small models in the place of random graphs, for tests that need certain operators in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from conformance.bundles.failing import Case
from tests.model_writing import model_bytes, node


def chain(*beside: NodeProto) -> Case:
    """Six nodes with a Relu of numbers of either sign among them; others make further outputs."""
    nodes = [
        *beside,
        node("Neg", "x", "n"),
        node("Relu", "n", "r"),
        node("Transpose", "r", "t", perm=[1, 0]),
        node("Concat", "t t", "c", axis=0),
        node("Abs", "c", "a"),
        node("Flatten", "a", "y"),
    ]
    x = np.linspace(-2, 3, 12, dtype=np.float32).reshape(3, 4)
    outputs = ["y", *(name for other in beside for name in other.output)]
    return Case(model_bytes(nodes, {"x": (3, 4)}, outputs), {"x": x})


def recurrent() -> Case:
    """A GRU whose activation is a Relu."""
    random = np.random.default_rng(0)
    weights = {n: random.standard_normal((1, 9, 3)).astype(np.float32) for n in ("w", "r")}
    given = {"activations": ["Relu", "Tanh"], "hidden_size": 3}
    nodes = [node("GRU", "x w r", "y", **given)]
    x = random.standard_normal((4, 2, 3)).astype(np.float32)
    return Case(model_bytes(nodes, {"x": x.shape}, ["y"], weights), {"x": x})


def by_seed(cases: Sequence[Case], first: int) -> object:
    """What takes the place of `fuzz.case_of`."""
    return lambda seed: cases[seed - first]
