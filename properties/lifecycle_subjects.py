"""Models, configurations and right answers for life cycles of sessions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from engine.config import (
    BackendConfig,
    ForwardType,
    GraphPath,
    MemoryMode,
    PathMode,
    Precision,
    ScheduleConfig,
)
from engine.execution.execution import Execution
from engine.interpreter import Interpreter
from engine.ir import Graph, Node, Value
from engine.ops.compose import spec_of
from engine.passes.segment import closure, constant_nodes
from engine.planner.lifetimes import root_of
from engine.runtime import Runtime
from engine.session import Session
from properties.graphs import Program, Record, decode
from properties.lifecycle_models import perceptron, pyramid, residual, twin

Shape = tuple[int, ...]
Shapes = dict[str, Shape]
Feeds = Mapping[str, np.ndarray]
PASSING = ("Identity", "Flatten", "Reshape", "Shape")
EXPECTED_MOST = 2000
"""How many right answers are remembered."""
SMALL_GRAPHS = (4, 9, 23)
"""Seeds of random graphs of cheap operators, with tensors of at most a few kilobytes."""
BATCHES = (1, 2, 3, 4, 5, 7)
IMAGES = ((1, 3, 16, 24), (2, 3, 16, 16), (1, 3, 20, 12), (1, 3, 24, 24), (3, 3, 8, 8))


@dataclass(frozen=True, eq=False)
class Subject:
    """A model of float inputs; `shapes` are sets of input shapes that it accepts."""

    name: str
    open: Callable[[], Interpreter]
    shapes: tuple[Shapes, ...]

    def __repr__(self) -> str:
        return self.name


def _random(seed: int) -> Subject:
    rng = np.random.default_rng(seed)
    records = tuple(
        Record(
            int(rng.integers(1, 8)),
            int(rng.integers(0, 4)),
            int(rng.integers(0, 4)),
            (*(int(n) for n in rng.integers(0, 32, 15)), 0),
        )
        for _ in range(6)
    )
    sides = tuple(int(n) for n in rng.integers(0, 10, 4))
    graph = decode(Program(2 + seed % 3, sides, 0, seed, records)).graph
    shapes = {v.name: v.known_type.dims for v in graph.inputs}
    return Subject(f"random_{seed}", lambda: Interpreter(graph.copy()), (shapes,))


@cache
def subjects() -> tuple[Subject, ...]:
    """The simplest first."""
    return (
        Subject("twin", twin, tuple({"x": (n, 4), "y": (n, 4)} for n in BATCHES)),
        Subject("perceptron", perceptron, tuple({"features": (n, 16)} for n in BATCHES)),
        *(_random(seed) for seed in SMALL_GRAPHS),
        Subject("residual", residual, tuple({"image": (n, 3, 32, 32)} for n in (1, 2))),
        Subject("pyramid", pyramid, tuple({"image": dims} for dims in IMAGES)),
    )


# ------------------------------------------------------------------------- parts of a model
@dataclass(frozen=True)
class Parts:
    """What may be named in a configuration: values to save, and values to cut at.

    Attributes:
        passing: values that passes would remove, were they not saved.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: tuple[str, ...]
    cuts: tuple[str, ...]
    passing: tuple[str, ...]


@cache
def parts_of(subject: Subject) -> Parts:
    """A cut is a float tensor that everything after it depends on the inputs through."""
    graph = subject.open().imported
    made = [out for node in graph.nodes for out in node.outputs]
    cuts = [v.name for v in made if v not in graph.outputs and _separates(graph, v)]
    inputs, outputs = (tuple(v.name for v in some) for some in (graph.inputs, graph.outputs))
    passing = [v.name for node in graph.nodes if node.op_type in PASSING for v in node.outputs]
    return Parts(inputs, outputs, (*inputs, *(v.name for v in made)), tuple(cuts), tuple(passing))


def _separates(graph: Graph, value: object) -> bool:
    fixed = constant_nodes(graph)
    before = closure([value]) - fixed  # type: ignore[list-item]
    after: set[Node] = closure(graph.outputs, [value]) - fixed  # type: ignore[list-item]
    reads = {v for node in after for v in node.inputs}
    shape_free = not any(n.op_type in ("Shape", "Size") for n in (*before, *after))
    return (
        bool(before and after)
        and not before & after
        and value in reads
        and shape_free
        and not (reads & set(graph.inputs))
    )


# ------------------------------------------------------------------------- configurations
@dataclass(frozen=True)
class Recipe:
    """How a session is made, but for its runtime and its shapes.

    Attributes:
        part: whole, head (up to the cut), tail (after it) or split (a pipeline for each).
        targets: cpu, high, normal, low or auto; one, or two for a split.
    """

    subject: Subject
    part: str
    cut: str
    targets: tuple[str, ...]
    save: tuple[str, ...]
    memory: MemoryMode

    def configs(self, selector: str, *, defer: bool = False) -> list[ScheduleConfig]:
        """As `create_multi_path_session` takes them."""
        parts, mode = parts_of(self.subject), PathMode.TENSOR
        head = GraphPath(parts.inputs, (self.cut,), mode) if self.cut else None
        tail = GraphPath((self.cut,), parts.outputs, mode) if self.cut else None
        paths: dict[str, list[GraphPath | None]]
        paths = {"whole": [None], "head": [head], "tail": [tail], "split": [head, tail]}
        return [
            _config(target, selector, path, self.memory, self.save if i == 0 else (), defer)
            for i, (path, target) in enumerate(zip(paths[self.part], self.targets, strict=True))
        ]

    @property
    def plans_kept(self) -> int:
        """How many sets of shapes such a session holds."""
        return 4 if self.memory is MemoryMode.HIGH else 1


def _config(
    target: str,
    selector: str,
    path: GraphPath | None,
    memory: MemoryMode,
    save: tuple[str, ...],
    defer: bool,
) -> ScheduleConfig:
    kinds = {"cpu": ForwardType.CPU, "auto": ForwardType.AUTO}
    precision = Precision.NORMAL if target in kinds else Precision(target)
    return ScheduleConfig(
        type=kinds.get(target, ForwardType.OPENCL),
        device=None if target == "cpu" else selector,
        path=path,
        save_tensors=save,
        defer_resize=defer,
        backend_config=BackendConfig(precision=precision, memory=memory),
    )


# ------------------------------------------------------------------------- right answers
@dataclass(frozen=True)
class Right:
    """What a run must give: outputs and saved tensors, and the bytes that they and inputs take."""

    tensors: Mapping[str, np.ndarray]
    kept_nbytes: Mapping[str, int]


class Reference:
    """Right answers, each of a fresh session that nothing else ran beside, and that keeps all.

    Its runtime is used for nothing else, and has one session at a time.
    """

    def __init__(self, selector: str) -> None:
        self.selector, self.runtime = selector, Runtime()
        self._models: dict[str, Interpreter] = {}
        self._known: OrderedDict[object, Right] = OrderedDict()
        self._inner: dict[object, Shape] = {}

    def right(self, recipe: Recipe, feeds: Feeds) -> Right:
        """The answer for feeds."""
        data = tuple((n, feeds[n].shape, feeds[n].tobytes()) for n in sorted(feeds))
        key = (recipe, data)
        if key not in self._known:
            self._known[key] = self._compute(recipe, feeds)
            if len(self._known) > EXPECTED_MOST:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def inner_shape(self, recipe: Recipe, shapes: Shapes) -> Shape:
        """The shape of the tensor at the cut."""
        key = (recipe.subject, recipe.cut, tuple(shapes.items()))
        if key not in self._inner:
            head = Recipe(recipe.subject, "head", recipe.cut, ("cpu",), (), MemoryMode.NORMAL)
            with self._session(head) as session:
                session.resize(shapes)
                self._inner[key] = session.output().shape
        return self._inner[key]

    def _session(self, recipe: Recipe) -> Session:
        name = recipe.subject.name
        model = self._models.setdefault(name, recipe.subject.open())
        configs = recipe.configs(self.selector, defer=True)
        session = model.create_multi_path_session(configs, self.runtime, recipe.subject.shapes[0])
        session._pipelines.keep = "*"  # beside what save_tensors protects from optimisation
        return session

    def _compute(self, recipe: Recipe, feeds: Feeds) -> Right:
        with self._session(recipe) as session:
            session.run(feeds)
            names = [*session.outputs, *session.saved]
            return Right(
                {name: session.read(name) for name in names},
                _kept_nbytes(session.execution, recipe.save),
            )

    def close(self) -> None:
        """Free everything."""
        self.runtime.close()


def _holder(value: Value, aliases: Mapping[Value, Value], lasting: Mapping[Value, None]) -> Value:
    """Whose bytes a lasting value shares: never those of an input, or of an unsaved view of one.

    In this execution every view of an input has bytes of its own, in others only lasting ones do.
    """
    root = root_of(value, aliases)
    if root in lasting or root.producer is None or root.producer.inputs[0] not in lasting:
        return root
    is_view = spec_of(root.producer.op_type).is_view
    while is_view and value in aliases and value.producer is not None:
        source = value.producer.inputs[0]
        if source is None or source not in lasting:
            break
        value = source
    return value if is_view else root


def _kept_nbytes(execution: Execution, save: Sequence[str]) -> dict[str, int]:
    """Inputs, outputs and what is saved: every distinct one, rounded up to the alignment."""
    graph = execution.graph
    saved = [v for v in execution.kept if "*" in save or v.name in save]
    lasting = dict.fromkeys([*graph.inputs, *graph.outputs, *saved])
    roots = {_holder(v, execution.aliases, lasting) for v in lasting}
    totals = dict.fromkeys(execution.backends, 0)
    for value in roots:
        if value.constant is None:
            alignment = execution.backend_of(value).info.alignment_nbytes
            rounded = -(-execution.slot(value).nbytes // alignment) * alignment
            totals[execution.home(value)] += rounded
    return totals
