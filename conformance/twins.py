"""Twins of ONNX's cases: the same operators and attributes at sizes that leave tails of vectors.

The suite's own tensors are small: half of its outputs have fewer than 25 elements, and no kernel
comes past its first vector. A twin has other extents, equal ones changed alike, as many as the
model's types allow; values are those of the case, repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto

from conformance.onnx_suite import Case
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.passes import (
    bind_passes,
    bind_shapes,
    bind_values,
    deciding_inputs,
    run_passes,
)

TAILS = (17, 33, 65, 19, 35, 67, 21, 37, 69, 129)
"""New extents, of the largest old one first: a few more than vectors."""
ELEMENTS_MAX = 2**17
"""Of an input; a twin that would have more gets smaller extents."""


@dataclass(frozen=True)
class Twin:
    """A model and its inputs; which extents of the case became which."""

    model: bytes
    inputs: dict[str, np.ndarray]
    extents: dict[int, int]


def twin_of(case: Case) -> Twin | None:
    """None where no other extents fit, or the case has no floating-point tensor to judge."""
    arrays = {n: x for n, x in case.inputs.items() if isinstance(x, np.ndarray)}
    if len(arrays) < len(case.inputs) or not any(x.dtype.kind == "f" for x in arrays.values()):
        return None
    fixed = set(deciding_inputs(Interpreter.from_buffer(case.model).graph))
    model = _free(case.model)
    indices = {n for n, x in arrays.items() if x.dtype.kind in "iu"}
    for kept in dict.fromkeys((frozenset(fixed), frozenset(fixed | indices))):
        for extents in _attempts(model, {n: x for n, x in arrays.items() if n not in kept}):
            shapes = {n: _grown(x.shape, {} if n in kept else extents) for n, x in arrays.items()}
            if any(prod(shape) > ELEMENTS_MAX for shape in shapes.values()):
                continue
            inputs = {n: np.resize(x, shapes[n]) for n, x in arrays.items()}
            if _fits(model, inputs):
                return Twin(model.SerializeToString(), inputs, extents)
    return None


def _free(data: bytes) -> ModelProto:
    """The model with free dimensions; those of initialisers stay."""
    model = ModelProto.FromString(data)
    for info in (*model.graph.input, *model.graph.output):
        for dim in info.type.tensor_type.shape.dim:
            dim.Clear()
    del model.graph.value_info[:]
    return model


def _attempts(model: ModelProto, arrays: Mapping[str, np.ndarray]) -> Iterator[dict[int, int]]:
    """Maps of extents, those that change most first."""
    found = sorted({d for x in arrays.values() for d in x.shape if d > 1}, reverse=True)
    named = set(_numbers(model))
    data = [d for d in found if d not in named]
    first = next(iter(arrays.values()), np.zeros(()))
    last = [first.shape[-1]] if first.ndim and first.shape[-1] > 1 else []
    for some in (found, data, found[:1], last, [d for d in found if d not in last]):
        if some:
            yield _larger(some)
            yield _larger(some[:1])


def _larger(extents: Sequence[int]) -> dict[int, int]:
    """Different ones for different ones; none becomes smaller, so that indices stay inside."""
    found: dict[int, int] = {}
    for extent in extents:
        free = [tail for tail in TAILS if tail > extent and tail not in found.values()]
        found[extent] = next(iter(free), extent + (extent % 16 == 0))
    return found


def _numbers(model: ModelProto) -> Iterator[int]:
    """Integers among the attributes: kernels, groups, heads."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.INT:
                yield attribute.i
            elif attribute.type == AttributeProto.INTS:
                yield from attribute.ints


def _grown(shape: tuple[int, ...], extents: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(extents.get(d, d) for d in shape)


def _fits(model: ModelProto, inputs: Mapping[str, Any]) -> bool:
    """Whether types can be inferred, of tensors that are not too large."""
    try:
        interpreter = Interpreter.from_buffer(model.SerializeToString())
        graph = bind_shapes(interpreter.graph, {n: x.shape for n, x in inputs.items()})
        bind_values(graph, {n: inputs[n] for n in deciding_inputs(graph)})
        run_passes(graph, bind_passes())
    except ParallaxError:
        return False
    return all(v.known_type.size <= 8 * ELEMENTS_MAX for v in graph.values())
