"""Computing a node before any run: at its logical dtypes, by its float64 reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from engine import heap
from engine.errors import ParallaxError, ShapeError, UnsupportedError
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import FLOATS, NARROW_FLOATS, TensorType, check_dims, type_of
from engine.ops.compose import spec_of
from engine.ops.sequence import LAID_OUT
from engine.ops.spec import Operand

FOLD_NBYTES_MAX = 64 * 2**20
"""What all results that are computed early may take, beside twice what the constants take."""
SMALL_NBYTES_MAX = 4096
"""Results so small are counted apart: shapes stay known whatever large weights came to."""
FOLD_FLOPS_MAX = 2**26
"""Nodes of more arithmetic are left to the run; it bounds what their references hold, too."""

TYPE_ONLY = frozenset(("Shape", "Size"))
"""Operators whose result depends on the type of their input alone."""

# fmt: off
_MOVES = frozenset((
    "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape",
    "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
))
# fmt: on
"""Exact at any dtype: weights go through without a float64 copy."""


def infer_node(node: Node) -> tuple[TensorType, ...]:
    """Output types that a tensor can have; errors are prefixed with the node's title."""
    operands = [None if v is None else Operand(v.known_type, v.contents) for v in node.inputs]
    with naming(node):
        spec = spec_of(node.op_type)
        least, most = spec.arity
        if not least <= len(operands) <= most:
            raise type_error(node, f"{len(operands)} inputs, expected {least} to {most}")
        types = spec.infer_types(operands, node.attributes)
        for type_ in types:
            check_dims(type_.dims, node.title)
    if len(types) < len(node.outputs):
        raise UnsupportedError(
            f"{node.place}: {len(node.outputs)} outputs, only {len(types)} are supported"
        )
    if spec.all_outputs and len(types) > len(node.outputs):
        raise type_error(node, f"{len(node.outputs)} outputs, expected {len(types)}")
    return types[: len(node.outputs)]


@contextmanager
def naming(node: Node) -> Iterator[None]:
    """Errors name the node; a number that leads its arithmetic astray is one of the model's."""
    try:
        with heap.enough_for(node):
            yield
    except ParallaxError as error:
        raise type(error)(node.placed(str(error))) from None
    except (ArithmeticError, LookupError, ValueError) as error:
        operands = ", ".join("none" if v is None else str(v.type) for v in node.inputs)
        raise type_error(
            node, f"({operands}) and its attributes do not go together: {error}"
        ) from error


def type_error(node: Node, text: str) -> ShapeError:
    """A ShapeError in the house form."""
    return ShapeError(f"{node.place}: {text}")


def is_computable(node: Node) -> bool:
    """True when every input is a constant (or, for Shape and Size, of static type)."""
    if node.body or node.subgraphs or node.op_type in LAID_OUT:
        return False
    if node.op_type in TYPE_ONLY:
        first = node.inputs[0] if node.inputs else None
        return first is not None and first.type is not None and first.type.is_static
    return all(v is None or v.is_constant for v in node.inputs)


class Folding:
    """What may be computed early of one graph: counted before it is, and as long as it is kept.

    Args:
        graph: its constants, as they lie in memory, are what results are measured by.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nbytes_made = {True: 0, False: 0}

    @cached_property
    def _nbytes_max(self) -> int:
        held = sum(constant.nbytes for constant in self._graph.constants())
        return FOLD_NBYTES_MAX + 2 * max(0, held - sum(self._nbytes_made.values()))

    def compute(self, node: Node, types: tuple[TensorType, ...]) -> tuple[np.ndarray, ...] | None:
        """The outputs of a computable node; None where they are not worth what they cost."""
        read = {v for v in node.inputs if v is not None and v.contents is not None}
        nbytes_in = sum(v.known_type.nbytes for v in read)
        nbytes_out = sum(t.nbytes for t in types)
        if not self._affords(nbytes_in, nbytes_out) or _flops(node, types) > FOLD_FLOPS_MAX:
            return None
        with naming(node), np.errstate(all="ignore"):
            arguments = [None if v is None else _argument(node, v) for v in node.inputs]
            results = spec_of(node.op_type).reference(arguments, node.attributes)
            arrays = tuple(_cast(np.asarray(r), t) for r, t in zip(results, types, strict=False))
        self._nbytes_made[nbytes_out <= SMALL_NBYTES_MAX] += nbytes_out
        return arrays

    def _affords(self, nbytes_in: int, nbytes_out: int) -> bool:
        """The constants of the graph are counted only where it depends on them."""
        is_small = nbytes_out <= SMALL_NBYTES_MAX
        made, held = self._nbytes_made[is_small] + nbytes_out, nbytes_in + nbytes_out
        if max(made, held) <= FOLD_NBYTES_MAX:
            return True
        most = FOLD_NBYTES_MAX if is_small else self._nbytes_max
        return made <= most and held <= 2 * self._nbytes_max


def compute_now(node: Node, arrays: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
    """The outputs of an operator that the host computes during a run, from all that it reads."""
    operands = [None if x is None else Operand(type_of(x), x) for x in arrays]
    with naming(node), np.errstate(all="ignore"):
        spec = spec_of(node.op_type)
        types = spec.infer_types(operands, node.attributes)
        wide = [x.astype(np.float64) if x is not None and x.dtype in FLOATS else x for x in arrays]
        results = spec.reference(wide, node.attributes)
        return tuple(_cast(np.asarray(r), t) for r, t in zip(results, types, strict=False))


def _flops(node: Node, types: tuple[TensorType, ...]) -> int:
    inputs = [None if v is None else v.known_type for v in node.inputs]
    return spec_of(node.op_type).flops(inputs, types, node.attributes)


def _argument(node: Node, value: Value) -> np.ndarray:
    if value.constant is None:
        type_ = value.known_type
        return np.broadcast_to(np.zeros((), np.float64), type_.dims)
    if value.constant.dtype in FLOATS | NARROW_FLOATS and node.op_type not in _MOVES:
        return value.constant.astype(np.float64)
    return value.constant


def _cast(result: np.ndarray, type_: TensorType) -> np.ndarray:
    if result.shape != type_.dims:
        raise AssertionError(f"reference gave shape {result.shape}, inference says {type_}")
    return result.astype(type_.dtype, copy=False)
