"""One node again, alone, on other operands: what tells a wrong kernel from unlucky rounding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conformance.judge import (
    SUMS_OF_PRODUCTS,
    Judgement,
    float64_inputs,
    is_independent,
    judge,
    units_for,
)
from engine.backends.protocol import Arena, Backend, Slot
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import FLOATS
from engine.ops.compose import error_of, reference_of

Array = np.ndarray
Arrays = Sequence[Array | None]


def jittered(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Floating-point elements times factors in [0.5, 1.5): signs, zeros and scale stay.

    Scalars (limits, scales) and everything that is not floating-point stay as they are.
    """
    if array.dtype not in FLOATS or array.size <= 1:
        return array
    factors = rng.random(array.shape, dtype=np.float32) + np.float32(0.5)
    return np.asarray(array * factors, array.dtype)


def other_operands(node: Node, arrays: Arrays, rng: np.random.Generator) -> list[Array | None]:
    """The operands jittered; the second factor of a sum of products with random signs besides."""
    operands = [None if a is None else jittered(a, rng) for a in arrays]
    second = operands[1] if node.op_type in SUMS_OF_PRODUCTS else None
    if second is not None and second.dtype in FLOATS:
        signs = rng.choice(np.array([-1, 1], second.dtype), second.shape)
        operands[1] = np.asarray(second * signs, second.dtype)
    return operands


def replay(node: Node, arrays: Arrays, backend: Backend) -> list[Judgement]:
    """Run `node` on `backend` on these inputs, constants included, and judge each output."""
    held = [None if a is None else backend.stored(a) for a in arrays]
    twin = _twin(node, held)
    got = _run(twin, held, backend)
    inputs, units = float64_inputs(held), units_for(backend, twin)
    with np.errstate(all="ignore"):
        references, errors = reference_of(twin, inputs), error_of(twin, inputs, units)
    independent = is_independent(node, backend)
    return [
        judge(g, np.asarray(r), e, units, independent=independent)
        for g, r, e in zip(got, references, errors, strict=False)
    ]


def _twin(node: Node, arrays: Arrays) -> Node:
    """The node in a graph of its own, in the same layouts, with these arrays as constants."""
    graph = Graph(f"replay of {node.name}")
    inputs: list[Value | None] = []
    for k, (value, array) in enumerate(zip(node.inputs, arrays, strict=True)):
        if value is None or array is None:
            inputs.append(None)
        elif value.constant is not None:
            inputs.append(graph.add_constant(f"{k}", array))
        else:
            inputs.append(graph.add_input(f"{k}", value.known_type))
            graph.inputs[-1].layout = value.layout
    outputs = [(f"out {k}", v.known_type) for k, v in enumerate(node.outputs)]
    twin = graph.add_node(
        node.op_type, inputs, outputs, node.attributes, name=node.name, body=node.body
    )
    for new, old in zip(twin.outputs, node.outputs, strict=True):
        new.layout = old.layout
    return twin


def _run(node: Node, arrays: Arrays, backend: Backend) -> list[np.ndarray]:
    kernel = backend.prepare(node)
    arenas: list[Arena] = []

    def slot(value: Value) -> Slot:
        storage = backend.storage(value.known_type.dtype)
        arenas.append(backend.allocate(value.known_type.size * storage.itemsize))
        return Slot(arenas[-1], 0, value.known_type, storage, value.layout)

    try:
        inputs: list[Slot | None] = []
        for k, (value, array) in enumerate(zip(node.inputs, arrays, strict=True)):
            if value is None or array is None or k in kernel.packed_inputs:
                inputs.append(None)
                continue
            inputs.append(slot(value))
            backend.write(inputs[-1], array)  # type: ignore[arg-type]
        outputs = [slot(value) for value in node.outputs]
        kernel.bind(inputs, outputs).enqueue()
        return [backend.read(s) for s in outputs]
    finally:
        backend.synchronize()
        for arena in arenas:
            arena.release()
