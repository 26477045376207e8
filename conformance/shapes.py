"""Shapes for free dimensions that the user left open: the usual ones, else a search for others.

The usual choice knows nothing of the model, so a kernel may be longer than the signal, or a table
of positions shorter than the sequence. Then other values are tried, nearest first, and from the
ones that come furthest through the model; a try is one inference of types, milliseconds.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine.arguments import AnyShape
from engine.errors import InputError
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import ListType
from engine.passes import bind_shapes, infer_where_known

logger = logging.getLogger("parallax.shapes")

Shapes = dict[str, AnyShape]

BATCH, IMAGE_SIDE, EXTENT = 1, 64, 16
"""What a free dimension becomes: the first axis, the sides of an image, any other."""

# fmt: off
VALUES = (
    1, 2, 3, 4, 8, 10, 12, 16, 24, 28, 32, 48, 64, 80, 96, 100, 112, 128, 160, 192, 200, 224, 240,
    256, 299, 320, 336, 384, 400, 416, 448, 480, 512, 518, 640, 768, 800, 1024, 2048, 3000, 4096,
    8192, 16000, 16384, 32768, 48000, 65536,
)
# fmt: on
"""What dimensions of published models are, beside the extents that the refusing node shows."""
TRIES_MAX = 400
TIME_MAX_S = 3.0
PATIENCE = 24
"""After so many tries, a refusal in always the same words has nothing to do with shapes."""


@dataclass(frozen=True)
class Choice:
    """Shapes of all inputs.

    Attributes:
        chosen: names of the inputs with dimensions that were chosen here.
        why: what was chosen instead of the usual values, and why; "" for those.
        problem: the first refusal of the usual values, where no others were found.
    """

    shapes: Shapes
    chosen: tuple[str, ...]
    why: str = ""
    problem: str = ""

    def accepted(self) -> Shapes:
        """The shapes; raises InputError where the model refuses them."""
        if self.problem:
            raise InputError(
                f"no values were found for the free dimensions of {', '.join(self.chosen)}; "
                f"{self.problem}; give the shapes, on the command line with --shape"
            )
        return self.shapes


def choose_shapes(graph: Graph, given: Mapping[str, AnyShape] | None = None) -> Choice:
    """A shape for every input, in graph order, by which the model's types can be inferred.

    A free dimension becomes 1 on the first axis, 64 for height and width of a rank-4 tensor, else
    16. A name that occurs twice gets one value: the given one, else that of its first occurrence.
    Where a node refuses these values, the nearest ones that all nodes accept are taken. None are
    chosen for a sequence, and without it nothing is known of what nodes accept.

    Args:
        given: shapes by input name; their dimensions are never changed.
    """
    search = _Search(graph, {**(given or {})})
    usual = search.usual
    shapes = search.shapes(usual)
    if not usual or open_lists(graph, shapes):
        return Choice(shapes, search.chosen)
    first = search.attempt(usual)
    if not first.problem:
        return Choice(shapes, search.chosen)
    found = search.run(first)
    if found is None:
        return Choice(shapes, search.chosen, problem=f"{_told(usual)}: {first.problem}")
    other = {s: v for s, v in found.values.items() if v != usual[s]}
    instead = ", ".join(str(usual[s]) for s in other)
    why = f"{_told(other)} instead of {instead}, because of {first.problem}"
    return Choice(search.shapes(found.values), search.chosen, why)


def open_lists(graph: Graph, shapes: Mapping[str, AnyShape]) -> dict[str, ListType]:
    """Inputs that are sequences or optionals and are not among the given shapes."""
    return {v.name: v.list_type for v in graph.inputs if v.list_type and v.name not in shapes}


def default_shapes(graph: Graph, given: Mapping[str, AnyShape] | None = None) -> Shapes:
    """The shapes of `tensor_shapes`; raises InputError too for a sequence or optional not given."""
    check_no_lists(open_lists(graph, given or {}))
    return tensor_shapes(graph, given)


def check_no_lists(lists: Mapping[str, ListType]) -> None:
    """Raise InputError where inputs are sequences or optionals: none are made up."""
    for name, type_ in lists.items():
        raise InputError(
            f"input {name!r} is {type_}, for which nothing is chosen: give all inputs, on the "
            "command line with --inputs"
        )


def tensor_shapes(graph: Graph, given: Mapping[str, AnyShape] | None = None) -> Shapes:
    """The shapes of `choose_shapes`; unusual ones are logged; raises InputError for none found."""
    choice = choose_shapes(graph, given)
    if choice.why:
        logger.warning("chosen for free dimensions: %s", choice.why)
    return choice.accepted()


Values = dict[str, int]


def _told(values: Values) -> str:
    return ", ".join(f"{symbol}={value}" for symbol, value in values.items())


@dataclass(frozen=True)
class _Trial:
    """What became of some values.

    Attributes:
        reached: how many nodes come before the first that refuses.
        problem: the words of the one that refuses; "" where all accept.
        has: extents of what it reads.
        asked: integers that say what it would accept: constants it reads, its attributes.
    """

    values: Values
    reached: int
    problem: str = ""
    has: frozenset[int] = frozenset()
    asked: frozenset[int] = frozenset()


class _Search:
    """Over the free dimensions of a graph, by name.

    Attributes:
        usual: name -> value, for those that nothing given decides.
        chosen: names of inputs that have one of them.
    """

    def __init__(self, graph: Graph, given: Shapes) -> None:
        self._graph, self._given = graph, given
        self._tensors = [v for v in graph.inputs if v.list_type is None]
        decided: Values = {}
        for value in self._tensors:
            for dim, extent in zip(value.known_type.shape, given.get(value.name) or ()):
                if isinstance(dim, str) and isinstance(extent, int):
                    decided.setdefault(dim, extent)
        self._decided = decided
        self.usual: Values = {}
        free: list[str] = []
        for value in self._tensors:
            if value.name not in given:
                self._add_usual(value)
                if not value.known_type.is_static:
                    free.append(value.name)
        self.chosen = tuple(free)

    def _add_usual(self, value: Value) -> None:
        shape = value.known_type.shape
        for axis, dim in enumerate(shape):
            if isinstance(dim, str) and dim not in self._decided:
                side = IMAGE_SIDE if len(shape) == 4 and axis >= 2 else EXTENT
                self.usual.setdefault(dim, BATCH if axis == 0 else side)

    def shapes(self, values: Values) -> Shapes:
        """Of all inputs, those given included."""
        known = self._decided | values
        free = {
            v.name: tuple(known[d] if isinstance(d, str) else d for d in v.known_type.shape)
            for v in self._tensors
            if v.name not in self._given
        }
        every = {**self._given, **free}
        ordered = {v.name: every[v.name] for v in self._graph.inputs if v.name in every}
        return ordered | {k: s for k, s in every.items() if k not in ordered}

    def attempt(self, values: Values) -> _Trial:
        """How far the model's types can be inferred."""
        every = self.shapes(values)
        bound = bind_shapes(self._graph, {v.name: every[v.name] for v in self._graph.inputs})
        refusals = infer_where_known(bound)
        trial = _Trial(values, len(bound.nodes))
        for node, error in refusals.items():
            trial = _Trial(values, bound.nodes.index(node), str(error), *_shown(node))
            break
        bound.dissolve()
        return trial

    def run(self, first: _Trial) -> _Trial | None:
        """Values that every node accepts: the nearest ones that come further, again and again."""
        end, tries = time.monotonic() + TIME_MAX_S, 0
        best = first
        while True:
            problems, before = {best.problem}, best
            for count, values in enumerate(_neighbours(best), start=1):
                if tries >= TRIES_MAX or time.monotonic() > end:
                    return None
                tries += 1
                trial = self.attempt(values)
                if not trial.problem:
                    return trial
                problems.add(trial.problem)
                if trial.reached > best.reached:
                    best = trial
                    break
                if count >= PATIENCE and len(problems) == 1:
                    return None
            if best is before:
                return None


def _neighbours(trial: _Trial) -> Iterator[Values]:
    """Other values of one dimension, of all but batches together, or of all; nearest first.

    1 comes last: what fits only because it is repeated says little about the model.
    """
    symbols = list(trial.values)
    groups = [[s] for s in symbols]
    groups += [g for g in ([s for s in symbols if trial.values[s] != BATCH], symbols) if len(g) > 1]
    moves = [
        (value == 1, max(abs(math.log(value / trial.values[s])) for s in group), -value, group)
        for group in groups
        for value in {*VALUES, *(n for s in group for n in _extents(trial, trial.values[s]))}
    ]
    for _, _, negative, group in sorted(moves):
        if any(trial.values[s] != -negative for s in group):
            yield trial.values | dict.fromkeys(group, -negative)


def _shown(node: Node) -> tuple[frozenset[int], frozenset[int]]:
    """`has` and `asked` of a _Trial.

    The sum of a few integers is what a Split needs, their product what a Reshape needs.
    """
    has: set[int] = set()
    asked: set[int] = set()
    for operand in filter(None, node.inputs):
        array = operand.constant
        (has if array is None else asked).update(operand.known_type.dims)
        if array is not None and array.dtype.kind == "i" and array.size <= 8:
            numbers = [int(i) for i in array.ravel()]
            asked.update((*numbers, sum(numbers), abs(math.prod(numbers))))
    for attribute in node.attributes.values():
        if isinstance(attribute, tuple):
            asked.update(i for i in attribute if isinstance(i, int))
    return frozenset(has), frozenset(asked)


def _extents(trial: _Trial, value: int) -> set[int]:
    """What the refusing node shows, and `value` scaled to it."""
    shown = trial.has | trial.asked
    scaled = {value * want // d for want in shown for d in trial.has if d and not value * want % d}
    return {n for n in shown | scaled if 0 < n <= max(VALUES)}
