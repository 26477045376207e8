"""What the importer tells of values before shapes are known is true."""

from __future__ import annotations

import numpy as np
import pytest

from engine.ir.graph import Value
from engine.onnx_import import load_model
from engine.onnx_import.facts import output_ranks
from engine.ops import OPERATORS
from properties.choose import SeededChoose
from properties.single import Case, graph_of
from tests.model_writing import model_bytes, node

pytestmark = pytest.mark.device_free

DRAWS = 8
UNTOLD = frozenset(("Copy", "Dropout", "GatherND", "Reorder", "Unique"))
"""Operators of which no call tells: their ranks are data, or they stand in no file."""


def rank(value: Value | None) -> int | None:
    return None if value is None else len(value.known_type.shape)


def length(value: Value | None) -> int | None:
    return value.known_type.dims[0] if value is not None and rank(value) == 1 else None


@pytest.mark.parametrize("op_type", OPERATORS)
def test_the_rank_that_is_told_is_that_of_the_result(op_type: str) -> None:
    spec, told = OPERATORS[op_type], []
    for seed in range(DRAWS):
        call = spec.example(SeededChoose(seed))
        present = {i for i, x in enumerate(call.inputs) if x is not None}
        graph, *_ = graph_of(Case(op_type, call, spec.constant_inputs & present))
        (node_,) = graph.nodes
        ranks = output_ranks(node_, rank, length)
        with np.errstate(all="ignore"):
            results = spec.reference(call.inputs, call.attributes)
        told += [r for r in ranks if r is not None]
        assert all(r in (None, y.ndim) for r, y in zip(ranks, results, strict=False))
    assert bool(told) == (op_type not in UNTOLD)


def test_the_length_of_a_shape_that_is_computed_is_a_rank() -> None:
    """FusedMatMul with transB has a body where the rank of its second input is known."""
    nodes = [
        node("Shape", "x", "s"),
        node("Slice", "s zero two", "front"),
        node("Gather", "s at", "last"),
        node("Unsqueeze", "last zero", "behind"),
        node("Mul", "behind one", "scaled"),
        node("Cast", "scaled", "cast", to=7),
        node("Concat", "front one cast", "t", axis=0),
        node("Reshape", "x t", "r"),
        node("FusedMatMul", "r r", "y", transB=1, domain="com.microsoft"),
    ]
    constants = {"zero": [0], "one": [1], "two": [2], "at": 2}
    arrays = {name: np.array(value) for name, value in constants.items()}
    data = model_bytes(nodes, {"x": ("a", "b", 5)}, ["y"], arrays, domains=["com.microsoft"])
    (transpose,) = (n for n in load_model(data).nodes if n.op_type == "Transpose")
    assert list(transpose.attributes["perm"]) == [0, 1, 3, 2]
