"""A random graph in the making: how one more operator is hung on what there is.

Three ways, all total. An operator *grows* on a tensor that it takes as it is; where none fits, it
is *grafted*: a call that its own example draws, fed by new inputs, by constants, and by a tensor of
the graph that is brought to the type of the first input; or the last call that fits is *repeated*,
so that two nodes share its constants.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle

import numpy as np

from engine.errors import ParallaxError
from engine.ir import Graph, Node, TensorType, Value, type_of
from engine.ir.types import ALL_DTYPES, BOOL, FLOATS, NARROW, STRING
from engine.ops import OPERATORS
from engine.ops.cast import NUMBERS
from engine.ops.spec import HERE, Attributes, Call, Operand, OpSpec
from properties.choose import ReplayedChoose, build_exact, build_tensor
from properties.dtypes import retyped, variable_dtype, variables
from properties.memory import Violation
from properties.single import UNSETTLED

LARGEST_SIZE = 20_000
"""Elements of any tensor; a node that would make a larger one is skipped."""
LARGEST_GRAFT = 6_000
"""Elements of all inputs of a grafted call."""
LARGEST_FLOPS = 4_000_000
EXACT_LIMIT = 1024.0
"""Whole numbers up to here, and their differences, are exact in half."""
OTHERS = 5
"""So many tensors before the one that is referred to are offered to an operator, too."""
BROUGHT, CONSTANTS = 1, 3
"""What `peer` says of a graft: its first input is a tensor of the graph; the others are constants.
"""

Array = np.ndarray
Operands = Sequence[Value | Array | None]


def fed(seed: int, index: int, type_: TensorType, tag: int, *, exact: bool, run: int) -> Array:
    """What the `index`-th input is fed in the `run`-th inference; exact only in the first."""
    mixed = (seed + 7919 * index + 104729 * run) % 2**32
    if exact:
        return build_exact(mixed, type_.dims, type_.dtype, -2, 2)
    return build_tensor(mixed, tag, type_.dims, type_.dtype, -4, 4)


def moved_on(array: Array, run: int) -> Array:
    """A drawn array for the `run`-th inference: floats change places, all else is as it was."""
    if array.dtype not in FLOATS:
        return array
    return np.roll(array.reshape(-1), run).reshape(array.shape)


@dataclass
class Grower:
    """A graph, and what is known of it.

    Attributes:
        seed: of the program. exact: only nodes that are exact on whole numbers.
        tags: distribution of what an input is fed, by name. drawn: arrays of those inputs that
            came with a call. known: exact values, of exact programs.
    """

    seed: int
    exact: bool
    graph: Graph = field(default_factory=lambda: Graph("random"))
    tags: dict[str, int] = field(default_factory=dict)
    drawn: dict[str, Array] = field(default_factory=dict)
    known: dict[Value, Array] = field(default_factory=dict)
    all: list[Value] = field(default_factory=list)

    def input(self, type_: TensorType, tag: int) -> Value:
        """A new input whose values are drawn by seed and tag."""
        index = len(self.graph.inputs)
        value = self.graph.add_input(f"x{index}", type_)
        self.tags[value.name] = tag
        if self.exact:
            array = fed(self.seed, index, type_, tag, exact=True, run=0)
            self.known[value] = _wide(array)
        self.all.append(value)
        return value

    def drawn_input(self, array: Array) -> Value:
        """A new input that is fed what a call came with."""
        value = self.graph.add_input(f"x{len(self.graph.inputs)}", type_of(array))
        self.drawn[value.name] = array
        if self.exact:
            self.known[value] = _wide(array)
        return value

    # ------------------------------------------------------------------ three ways
    def grow(
        self, name: str, spec: OpSpec, here: Value, decisions: Sequence[int], seed: int, peer: int
    ) -> Node | None:
        """The operator on a tensor, or on one before it; None where it takes none of them."""
        for value in self._offered(here):
            choose = ReplayedChoose(decisions, seed, exact=self.exact)
            growth = spec.grow(choose, value.known_type)
            if growth is not None:
                inputs: list[Value | Array | None] = []
                for item in growth.inputs:
                    if isinstance(item, str):
                        inputs.append(value if item == HERE else self.peer(value, peer))
                    else:
                        inputs.append(None if item is None else np.asarray(item))
                return self.hang(name, spec, inputs, growth.attributes)
        return None

    def _offered(self, here: Value) -> Iterable[Value]:
        yield here
        yield from [v for v in self.all[: -OTHERS - 1 : -1] if v is not here]

    def graft(
        self, name: str, spec: OpSpec, here: Value, decisions: Sequence[int], seed: int, peer: int
    ) -> Node | None:
        """A call that the operator's example draws; `peer` may hang it on a tensor."""
        turning = cycle(decisions) if any(decisions) else ()
        choose = ReplayedChoose(turning, seed, exact=self.exact)
        choose.long = False
        call = spec.example(choose)
        if sum(x.size for x in call.inputs if x is not None) > LARGEST_GRAFT:
            return None
        call = _at_another_dtype(spec, call, choose)
        inputs = [None if x is None else np.asarray(x) for x in call.inputs]
        return self.hang(name, spec, self._fed(name, spec, inputs, here, peer), call.attributes)

    def _fed(
        self, name: str, spec: OpSpec, arrays: Sequence[Array | None], here: Value, peer: int
    ) -> Operands:
        """What a call reads: constants where it must, else a tensor, inputs or constants."""
        free = [i for i, x in enumerate(arrays) if x is not None and i not in spec.constant_inputs]
        inputs: list[Value | Array | None] = []
        for i, x in enumerate(arrays):
            if x is None or i not in free or (i != free[0] and peer == CONSTANTS):
                inputs.append(x)
                continue
            given = None
            if i == free[0] and peer == BROUGHT and spec.op_type not in UNSETTLED:
                given = self._brought(name, here, type_of(x))
            inputs.append(given or self.drawn_input(x))
        return inputs

    def repeat(self, name: str, here: Value) -> Node | None:
        """The last node with constants whose first input is of this type, on this tensor."""
        for node in reversed([n for n in self.graph.nodes if n.inputs]):
            first, *others = node.inputs
            constants = [v for v in others if v is not None and v.constant is not None]
            spec = OPERATORS[node.op_type]
            fits = first is not None and first.type == here.type and first is not here
            if constants and fits and 0 not in spec.constant_inputs:
                return self.hang(name, spec, (here, *others), node.attributes)
        return None

    # ------------------------------------------------------------------ parts
    def peer(self, here: Value, peer: int) -> Value:
        """0: the tensor itself; then others of its type, latest first; at last a new input."""
        others = [v for v in reversed(self.all) if v.type == here.type and v is not here]
        is_drawn = here.known_type.dtype in ALL_DTYPES
        which = peer % (len(others) + 1 + is_drawn)
        if which == 0:
            return here
        return others[which - 1] if which <= len(others) else self.input(here.known_type, which)

    def _brought(self, name: str, here: Value, type_: TensorType) -> Value | None:
        """A tensor as one of a type: one of the type itself, or cast, repeated, cut, reshaped."""
        same = next((v for v in reversed(self.all) if v.type == type_), None)
        if same is not None:
            return same
        size, wanted = here.known_type.size, type_.size
        if not _can_become(here.known_type.dtype, type_.dtype) or not size or not wanted:
            return None
        steps: list[tuple[str, tuple[Array, ...], Attributes]] = []
        if here.known_type.dtype != type_.dtype:
            steps.append(("Cast", (), {"to": NUMBERS[type_.dtype]}))
        steps.append(("Reshape", (np.array([-1]),), {}))
        if size < wanted:
            steps.append(("Tile", (np.array([-(-wanted // size)]),), {}))
        if wanted % size or size > wanted:
            steps.append(("Slice", (np.array([0]), np.array([wanted])), {}))
        steps.append(("Reshape", (np.array(type_.dims, np.int64),), {}))
        for k, (op, constants, attributes) in enumerate(steps):
            node = self.hang(f"{name}_{k}_", OPERATORS[op], (here, *constants), attributes)
            if node is None:
                return None
            here = node.outputs[0]
        return here

    def hang(
        self, name: str, spec: OpSpec, inputs: Operands, attributes: Attributes
    ) -> Node | None:
        """The node, or None where it would be too large (or not exact)."""
        operands = [_operand(x) for x in inputs]
        try:
            types = spec.infer_types(operands, attributes)
        except ParallaxError as error:
            raise Violation(f"{spec.op_type} grew a call that it refuses: {error}") from error
        flops = spec.flops([o.type if o else None for o in operands], types, attributes)
        if max(t.size for t in types) > LARGEST_SIZE or flops > LARGEST_FLOPS:
            return None
        results = self._exact_results(spec, inputs, types, attributes)
        if results is None:
            return None
        values = [
            self.graph.add_constant(f"c{name}", x) if isinstance(x, np.ndarray) else x
            for x in inputs
        ]
        names = [f"v{name}" + (f"_{k}" if k else "") for k in range(len(types))]
        outputs = list(zip(names, types, strict=True))
        node = self.graph.add_node(spec.op_type, values, outputs, attributes)
        self.known.update(zip(node.outputs, results, strict=False))
        self.all += node.outputs
        return node

    def _exact_results(
        self,
        spec: OpSpec,
        inputs: Operands,
        types: Sequence[TensorType],
        attributes: Attributes,
    ) -> Sequence[Array] | None:
        """Exact values of an exact program's new node; None where they could leave the range."""
        if not self.exact:
            return ()
        arrays = [None if x is None else _wide(self._value(x)) for x in inputs]
        sizes = [np.abs(a) if a is not None and a.dtype.kind == "f" else a for a in arrays]
        results = spec.reference(arrays, attributes)
        for result in (*results, *spec.reference(sizes, attributes)):
            if np.asarray(result).dtype == STRING:
                continue
            number = np.asarray(result, np.float64)
            if not (np.abs(number) <= EXACT_LIMIT).all() or (number != np.rint(number)).any():
                return None
        return [
            y if type_.dtype in FLOATS else np.asarray(y).astype(type_.dtype)
            for y, type_ in zip(results, types, strict=False)
        ]

    def _value(self, x: Value | Array) -> Array:
        if isinstance(x, np.ndarray):
            return x
        return x.constant if x.constant is not None else self.known[x]


def _at_another_dtype(spec: OpSpec, call: Call, choose: ReplayedChoose) -> Call:
    """The call, or the same of another dtype that its operator takes and its values fit into."""
    if choose.exact or (found := _first_parameter(spec.op_type)) is None:
        return call
    variable, allowed = found
    here = variable_dtype(spec.op_type, call, variable)
    if here is None or (dtype := choose.one_of((here, *allowed))) == here:
        return call
    changed = retyped(spec.op_type, call, variable, dtype)
    try:
        spec.infer_types(changed.operands(spec.constant_inputs), changed.attributes)
    except ParallaxError:
        return call
    fits = spec.moves or {here, dtype} <= FLOATS or all(map(_fits, call.inputs, changed.inputs))
    return changed if fits else call


def _fits(x: Array | None, changed: Array | None) -> bool:
    """Whether the elements are what they were."""
    if x is None or changed is None or x.dtype == changed.dtype:
        return True
    texts = STRING in (x.dtype, changed.dtype)
    return not texts and np.array_equal(np.asarray(changed, np.float64), np.asarray(x, np.float64))


@cache
def _first_parameter(op_type: str) -> tuple[str, list[np.dtype]] | None:
    """The first type parameter of an operator, and the dtypes that ONNX allows."""
    return next(iter(variables(op_type).items()), None)


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _can_become(dtype: np.dtype, other: np.dtype) -> bool:
    """Whether any value of one has a meaning as the other; floats beyond integers have none."""
    if {dtype, other} & (NARROW | {STRING}):
        return dtype == other
    return dtype == other or dtype not in FLOATS or other in FLOATS | {BOOL}


def _operand(x: Value | Array | None) -> Operand | None:
    if x is None:
        return None
    if isinstance(x, np.ndarray):
        return Operand(type_of(x), x)
    return Operand(x.known_type, x.constant)
