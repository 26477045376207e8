"""OpSpec, Call, Choose: what an operator is, with no word about devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from engine.ir.constant import Constant
from engine.ir.types import FLOAT, INTEGERS, TensorType, type_of
from engine.ops.numerics import Error, Units

T = TypeVar("T")
Attributes = Mapping[str, Any]
Arrays = Sequence[Any]
"""Inputs of one call: NumPy arrays, floating-point ones as float64; None where omitted."""

SIDES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33)
"""Extents worth drawing: one, and both sides of every vector and tile width; simplest first."""


@dataclass(frozen=True)
class Operand:
    """An input as type inference sees it: its type and, when known before a run, its value."""

    type: TensorType
    given: np.ndarray | Constant | None = None

    @property
    def value(self) -> np.ndarray | None:
        """The array, where it is known."""
        return self.given.array if isinstance(self.given, Constant) else self.given


@dataclass(frozen=True)
class Call:
    """One concrete application: input arrays at their logical dtypes (None: omitted)."""

    inputs: tuple[np.ndarray | None, ...]
    attributes: Attributes = field(default_factory=dict)
    note: str = ""

    def operands(self, constants: frozenset[int]) -> list[Operand | None]:
        """Types of all inputs, and the values of those that must be known before a run."""
        return [
            None if x is None else Operand(type_of(x), x if i in constants else None)
            for i, x in enumerate(self.inputs)
        ]


HERE = "here"
"""In a Growth: the tensor the new node is grown from."""
PEER = "peer"
"""In a Growth: another existing tensor of the same type (the grower may repeat HERE)."""


@dataclass(frozen=True)
class Growth:
    """How to hang one more node on an existing tensor: HERE, PEER, constant arrays or None."""

    inputs: tuple[np.ndarray | str | None, ...]
    attributes: Attributes = field(default_factory=dict)


class Choose(Protocol):
    """Where examples draw from; hypothesis and a seeded generator both implement it."""

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high], simplest (smallest) first."""
        ...

    def one_of(self, options: Sequence[T]) -> T:
        """One of the options, simplest first."""
        ...

    def shape(self, rank: tuple[int, int], largest: int = 33) -> tuple[int, ...]:
        """Extents out of SIDES up to `largest`, rank within the given bounds.

        Where `largest` is 17 or more, an axis may be of thousands of elements and the others small.
        """
        ...

    def tensor(
        self,
        shape: Sequence[int],
        dtype: np.dtype = FLOAT,
        low: float = -4.0,
        high: float = 4.0,
    ) -> np.ndarray:
        """Values in [low, high]: smooth, integer-valued, constant or sparse, as drawn."""
        ...

    def mixed(self, x: np.ndarray, hard: Sequence[float]) -> np.ndarray:
        """x as it is, or with one of `hard` in every sixteenth place (where whole, as it is)."""
        ...


@dataclass(frozen=True)
class Law:
    """A metamorphic relation: op(transform(call)) = relate(op(call)).

    `transform` returns None where the law does not apply. `relate` moves or repeats elements (it
    is applied to results and to error bounds alike), so the difference must lie within
    bound(transform(call)) + relate(bound(call)); where the law is `bitwise` there may be none (any
    NaN equals any other).
    """

    name: str
    transform: Callable[[Call], Call | None]
    relate: Callable[[Call, np.ndarray], np.ndarray]
    bitwise: bool = False


@dataclass(frozen=True)
class Reject:
    """Inputs that type inference must refuse."""

    name: str
    call: Callable[[], Call]
    match: str


InferTypes = Callable[[Sequence[Operand | None], Attributes], tuple[TensorType, ...]]
Reference = Callable[[Arrays, Attributes], tuple[np.ndarray, ...]]
ErrorModel = Callable[[Arrays, Attributes, Units], tuple[Error, ...]]


def no_growth(choose: Choose, x: TensorType) -> Growth | None:
    """For operators that are grafted into random graphs as their examples draw them."""
    return None


class Known(NamedTuple):
    """What can be told of an input before shapes are known; None where it cannot be."""

    dtype: np.dtype | None = None
    dims: tuple[int | None, ...] | None = None


def any_call(inputs: Sequence[Known], outputs: int) -> bool:
    """For operators without a definition by others, or with kernels for whatever ONNX allows."""
    return True


def no_flops(inputs: Sequence[TensorType | None], outputs: Sequence[TensorType], _: Any) -> int:
    """Data movement: no arithmetic."""
    return 0


@dataclass(frozen=True)
class OpSpec:
    """Everything about an operator that is true on every device.

    Attributes:
        op_type: the ONNX name (attributes and inputs as in the newest opset; the importer
            rewrites older forms).
        domain: of the operator in models.
        arity: least and greatest number of inputs.
        infer_types: output types; raises ShapeError naming the offending values.
        reference: float64, obvious rather than fast; the oracle of every backend.
        error_model: per output element, what an honest kernel may be off.
        example: draws any valid call, including the hard places.
        grow: draws how to hang this operator on a tensor of a random graph, or None.
        constant_inputs: inputs whose values must be known before a run (Reshape's shape).
        all_outputs: a node has as many outputs as there are types, not fewer.
        is_view: the output is the input's bytes under another shape (Reshape, Identity).
        moves: elements are moved and not computed with, whatever their dtype.
        is_exact: with small-integer inputs the result is exact in every precision.
        slope: for elementwise operators, |dy/dx_i| for every input, bounded globally; lets
            the operator stand in the epilogue of a fused node.
        edges: named calls that must work; rejects: calls that must be refused.
        flops: arithmetic operations from the types of inputs and outputs.
        reads: attributes that types, reference and kernels heed; any other is refused.
        ignores: attributes that change no result of inference.
        only: attribute -> the one value that kernels know.
        defined: attribute -> other values, for which ONNX's definition by others is taken.
        takes: whether kernels know calls of such inputs, and of so many outputs; for others, too,
            the definition is taken.
    """

    op_type: str
    arity: tuple[int, int]
    infer_types: InferTypes
    reference: Reference
    error_model: ErrorModel
    example: Callable[[Choose], Call]
    grow: Callable[[Choose, TensorType], Growth | None] = no_growth
    constant_inputs: frozenset[int] = frozenset()
    all_outputs: bool = False
    is_view: bool = False
    moves: bool = False
    is_exact: bool = False
    slope: Callable[[Arrays, Attributes], tuple[np.ndarray | float, ...]] | None = None
    edges: tuple[Callable[[], Call], ...] = ()
    rejects: tuple[Reject, ...] = ()
    laws: tuple[Law, ...] = ()
    flops: Callable[[Sequence[TensorType | None], Sequence[TensorType], Attributes], int] = no_flops
    reads: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()
    only: Attributes = field(default_factory=dict)
    defined: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    takes: Callable[[Sequence[Known], int], bool] = any_call
    domain: str = ""

    def nbytes(
        self, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType], _: Attributes
    ) -> int:
        """Bytes read and written once, at the logical dtypes."""
        return sum(t.nbytes for t in (*inputs, *outputs) if t is not None)


def domain_of(choose: Choose, dtype: np.dtype, low: float, high: float) -> tuple[float, float]:
    """[low, high]; of integers also all that they hold, so that results wrap."""
    if dtype in INTEGERS:
        limits = np.iinfo(dtype)
        return choose.one_of(((max(low, float(limits.min)), high), (limits.min, limits.max)))
    return low, high


def example_by_growing(
    grow: Callable[[Choose, TensorType], Growth | None],
    draw: Callable[[Choose], np.ndarray],
) -> Callable[[Choose], Call]:
    """An `example` that draws the first tensor and grows the rest; PEER becomes another draw."""

    def example(choose: Choose) -> Call:
        x = draw(choose)
        growth = grow(choose, type_of(x))
        if growth is None:
            raise AssertionError(f"grow refused {type_of(x)}, which its own example drew")
        inputs: list[np.ndarray | None] = []
        for item in growth.inputs:
            if isinstance(item, str):
                inputs.append(x if item == HERE else choose.tensor(x.shape, x.dtype))
            else:
                inputs.append(item)
        return Call(tuple(inputs), growth.attributes)

    return example
