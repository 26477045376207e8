"""bind_shapes: symbolic input dimensions become the extents of concrete input shapes.

An input that is a sequence becomes as many inputs as it has tensors, and a node that makes it of
them; something optional becomes what it holds, or a node that makes it of nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine import arguments
from engine.arguments import AnyShape
from engine.errors import InputError, ShapeError
from engine.ir.graph import Graph, Value
from engine.ir.types import ListType, TensorType, check_dims, element_name
from engine.ops.cast import NUMBERS


def free_dimensions(graph: Graph) -> dict[str, str]:
    """Symbolic dimension -> where it occurs first, "axis 0 of 'image'"; empty when all known.

    What a sequence or optional is made of counts as one.
    """
    free: dict[str, str] = {}
    for value in graph.inputs:
        if value.list_type is not None:
            free.setdefault(f"the tensors of '{value.name}'", f"'{value.name}'")
            continue
        for axis, dim in enumerate(value.known_type.shape):
            if isinstance(dim, str):
                free.setdefault(dim, f"axis {axis} of '{value.name}'")
    return free


def bind_shapes(graph: Graph, shapes: Mapping[str, AnyShape]) -> Graph:
    """A copy of the graph whose inputs have static types; constants are shared.

    Args:
        shapes: input name -> extents; of a sequence those of each tensor, of something optional
            that is not there None. Inputs may be left out when all their dimensions are fixed or
            bound by other inputs.

    Raises:
        InputError: unknown input; wrong rank; a fixed dimension contradicted; one symbolic
            dimension bound to two extents; a dimension left free.
    """
    bound = graph.copy()
    inputs = {v.name: v for v in bound.inputs}
    extents: dict[str, tuple[int, str]] = {}
    for name in shapes:
        if name not in inputs:
            raise arguments.unknown("the model has no input", name, inputs)
    for value in inputs.values():
        if value.list_type is not None:
            if value.name not in shapes:
                raise InputError(
                    f"input '{value.name}' of type {value.list_type} needs the shapes of its "
                    "tensors"
                )
            _bind_list(bound, value, value.list_type, shapes[value.name])
    for value in bound.inputs:
        if value.name in shapes:
            _bind_input(value, shapes[value.name], extents)
    for value in bound.inputs:
        value.type = _static_type(value, extents)
    return bound


def _bind_list(graph: Graph, value: Value, type_: ListType, given: AnyShape) -> None:
    owner = f"input '{value.name}'"
    if given is None and not type_.is_optional:
        raise InputError(f"{owner} of type {type_} cannot be None")
    if given is None or type_.is_sequence:
        dims = enumerate(given or ())
        types = [_tensor_type(f"{owner}, tensor {i},", type_, d) for i, d in dims]
        open_list(graph, value, None if given is None else types)
    else:
        value.type, value.list_type = _tensor_type(owner, type_, given), None


def open_list(graph: Graph, value: Value, types: Sequence[TensorType] | None) -> None:
    """An input that is a sequence becomes inputs, in its place, and a node that reads them.

    Args:
        types: of its tensors; None: it is optional, and not there.
    """
    dtype = None if value.list_type is None else value.list_type.dtype
    value.list_type = None
    if types is None:
        graph.lists_in[value.name] = None
        graph.compute_input(value, "Optional", [], {})
        return
    names = tuple(graph.unique(element_name(value.name, i)) for i in range(len(types)))
    graph.lists_in[value.name] = names
    before = list(graph.inputs)
    tensors = [graph.add_input(n, t) for n, t in zip(names, types, strict=True)]
    if tensors:
        graph.compute_input(value, "SequenceConstruct", tensors, {})
    else:
        attributes = {} if dtype is None else {"dtype": NUMBERS[dtype]}
        graph.compute_input(value, "SequenceEmpty", [], attributes)
    place = before.index(value)
    graph.inputs = [*before[:place], *tensors, *before[place + 1 :]]


def _tensor_type(owner: str, type_: ListType, given: object) -> TensorType:
    """Of a tensor in a list; of its declared dimensions only numbers bind."""
    dims = _dims(owner, given)
    declared = dims if type_.shape is None else type_.shape
    fits = len(dims) == len(declared) and all(
        isinstance(d, str) or d == extent for d, extent in zip(declared, dims, strict=True)
    )
    if not fits:
        raise InputError(f"{owner} has the shape {dims}, expected {type_}")
    return TensorType(type_.dtype, dims)


def _dims(owner: str, given: object) -> tuple[int, ...]:
    dims = arguments.shape(owner, given)
    try:
        check_dims(dims, owner)
    except ShapeError as error:
        raise InputError(str(error)) from None
    return dims


def _bind_input(value: Value, shape: AnyShape, extents: dict[str, tuple[int, str]]) -> None:
    declared = value.known_type.shape
    given = _dims(f"input '{value.name}'", shape)
    if len(given) != len(declared):
        raise InputError(
            f"input '{value.name}': shape {given} has rank {len(given)}, "
            f"expected {value.known_type}"
        )
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
