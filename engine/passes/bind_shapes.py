"""bind_shapes: symbolic input dimensions become the extents of concrete input shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine import arguments
from engine.errors import InputError, ShapeError
from engine.ir.graph import Graph, Value
from engine.ir.types import TensorType, check_dims


def free_dimensions(graph: Graph) -> dict[str, str]:
    """Symbolic dimension -> where it occurs first, "axis 0 of 'image'"; empty when all known."""
    free: dict[str, str] = {}
    for value in graph.inputs:
        for axis, dim in enumerate(value.known_type.shape):
            if isinstance(dim, str):
                free.setdefault(dim, f"axis {axis} of '{value.name}'")
    return free


def bind_shapes(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> Graph:
    """A copy of the graph whose inputs have static types; constants are shared.

    Args:
        shapes: input name -> extents. Inputs may be left out when all their dimensions are fixed or
            bound by other inputs.

    Raises:
        InputError: unknown input; wrong rank; a fixed dimension contradicted; one symbolic
            dimension bound to two extents; a dimension left free.
    """
    bound = graph.copy()
    inputs = {v.name: v for v in bound.inputs}
    extents: dict[str, tuple[int, str]] = {}
    for name, shape in shapes.items():
        if name not in inputs:
            raise arguments.unknown("the model has no input", name, inputs)
        _bind_input(inputs[name], shape, extents)
    for value in bound.inputs:
        value.type = _static_type(value, extents)
    return bound


def _bind_input(value: Value, shape: Sequence[int], extents: dict[str, tuple[int, str]]) -> None:
    declared = value.known_type.shape
    given = arguments.shape(f"input {value.name!r}", shape)
    if len(given) != len(declared):
        raise InputError(
            f"input '{value.name}': shape {given} has rank {len(given)}, "
            f"expected {value.known_type}"
        )
    try:
        check_dims(given, f"input '{value.name}'")
    except ShapeError as error:
        raise InputError(str(error)) from None
    for axis, (dim, extent) in enumerate(zip(declared, given, strict=True)):
        where = f"axis {axis} of '{value.name}'"
        if isinstance(dim, str):
            known, there = extents.setdefault(dim, (extent, where))
            if known != extent:
                raise InputError(
                    f"input '{value.name}': shape {given}: dimension '{dim}' is {extent} at "
                    f"axis {axis}, but {known} at {there}"
                )
        elif dim != extent:
            raise InputError(
                f"input '{value.name}': shape {given}: axis {axis} is {extent}, the model fixes "
                f"it to {dim}"
            )


def _static_type(value: Value, extents: Mapping[str, tuple[int, str]]) -> TensorType:
    declared = value.known_type
    free = [d for d in declared.shape if isinstance(d, str) and d not in extents]
    if free:
        raise InputError(
            f"input '{value.name}' of type {declared} needs a shape: {', '.join(free)} still free"
        )
    dims = (extents[d][0] if isinstance(d, str) else d for d in declared.shape)
    return TensorType(declared.dtype, tuple(dims))
