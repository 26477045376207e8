"""Judge every node of an execution on its own inputs, as they lie on the device after a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from conformance.judge import (
    Judgement,
    Verdict,
    float64_inputs,
    is_independent,
    judge,
    number,
    units_for,
)
from conformance.report import Excerpt, Failure, NodeCheck
from engine.backends.protocol import Backend
from engine.execution.execution import Execution
from engine.ir.graph import Node, Value
from engine.ops.compose import error_of, reference_of, spec_of
from engine.ops.numerics import Error, Units, exact

Progress = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is."""

EXCERPT_RADIUS = 3
Index = tuple[int, ...]


class Tensors:
    """Values of a finished run; each is read from the device once, dropped after its last use."""

    def __init__(self, execution: Execution, nodes: Sequence[Node]) -> None:
        self._execution = execution
        self._readers = Counter(v for n in nodes for v in (*n.inputs, *n.outputs) if v is not None)
        self._arrays: dict[Value, np.ndarray] = {}

    def peek(self, value: Value, backend: Backend) -> np.ndarray:
        """The value as `backend` holds it."""
        if value.constant is not None:
            return backend.stored(value.constant)
        if value not in self._arrays:
            self._arrays[value] = self._execution.read(value)
        return self._arrays[value]

    def drop(self, node: Node) -> None:
        """Say that `node` is done."""
        for value in (*node.inputs, *node.outputs):
            if value is not None:
                self._readers[value] -= 1
                if self._readers[value] <= 0:
                    self._arrays.pop(value, None)


def check_nodes(
    execution: Execution,
    primary: Backend,
    *,
    progress: Progress | None = None,
) -> list[NodeCheck]:
    """Judge the nodes of a run that kept every tensor; one check per output.

    Args:
        execution: has run. primary: the backend under test.
        progress: called before each node.
    """
    nodes = execution.graph.nodes
    tensors = Tensors(execution, nodes)
    checks: list[NodeCheck] = []
    for index, node in enumerate(nodes):
        if progress is not None:
            progress(node.title, index, len(nodes))
        checks += _check(execution, tensors, index, primary)
        tensors.drop(node)
    return checks


def _check(
    execution: Execution, tensors: Tensors, index: int, primary: Backend
) -> Iterator[NodeCheck]:
    node = execution.graph.nodes[index]
    backend = execution.backend_of(node.outputs[0])
    kind = "copy" if node.op_type == "Copy" else "computed"
    if any(out in execution.aliases for out in node.outputs):
        kind = "view"
    references, errors = expected_of(tensors, node, backend)
    units = units_for(backend, node)
    # optional outputs that the model leaves out have references all the same
    for value, reference, error in zip(node.outputs, references, errors, strict=False):
        got = tensors.peek(value, backend)
        judgement = judge_value(
            got, np.asarray(reference), error, units, independent=is_independent(node, backend)
        )
        yield NodeCheck(
            title=node.title,
            index=index,
            output=value.name,
            type=str(value.known_type),
            kind=kind,
            backend=backend.name,
            on_device=backend is primary,
            judgement=judgement,
            verdict=judgement.verdict,
        )


def judge_value(
    got: np.ndarray,
    reference: np.ndarray,
    error: Error,
    units: Units,
    *,
    independent: bool = False,
) -> Judgement:
    """`judge`, with a result of the wrong shape as a failure of the node, not of the harness."""
    if got.shape == reference.shape:
        return judge(got, reference, error, units, independent=independent)
    return Judgement(
        verdict=Verdict.FAIL,
        sigmas=np.inf,
        bounds=np.inf,
        index=(),
        got=np.nan,
        expected=np.nan,
        sigma=0.0,
        bound=0.0,
        suspects=0,
        failures=got.size,
        overflows=0,
        undecided=0,
        nans=0,
        count=got.size,
        numbers=got.size,
        exact=False,
        rounded=False,
    )


def expected_of(
    tensors: Tensors, node: Node, backend: Backend
) -> tuple[Sequence[np.ndarray], Sequence[Error]]:
    """Reference and error; a copy between backends must equal the source, rounded to storage."""
    known = spec_of(node.op_type).constant_inputs  # read by the host, hence never rounded
    arrays = [
        None
        if v is None
        else v.constant
        if i in known and v.constant is not None
        else tensors.peek(v, backend)
        for i, v in enumerate(node.inputs)
    ]
    if node.op_type == "Copy":
        assert arrays[0] is not None
        stored = backend.stored(arrays[0])
        return (stored,), exact(stored)
    inputs = float64_inputs(arrays)
    with np.errstate(all="ignore"):
        return reference_of(node, inputs), error_of(node, inputs, units_for(backend, node))


# ---------------------------------------------------------------------- excerpts
def surroundings(execution: Execution, check: NodeCheck) -> Failure:
    """What stands around the worst element of a check; the run must be the one it judged."""
    node = execution.graph.nodes[check.index]
    backend, at = execution.backend_of(node.outputs[0]), check.judgement.index
    tensors = Tensors(execution, [node])
    which = next(k for k, v in enumerate(node.outputs) if v.name == check.output)
    out = node.outputs[which]
    got = tensors.peek(out, backend)
    reference = np.asarray(expected_of(tensors, node, backend)[0][which])
    inputs = [
        excerpt(v, tensors.peek(v, backend), mapped(at, got.shape, v.known_type.dims))
        for v in node.inputs
        if v is not None
    ]
    return Failure(
        check, tuple(inputs), excerpt(out, got, at), excerpt(out, reference, at, "reference")
    )


def mapped(index: Index, shape: Index, other: Index) -> Index:
    """Where an element of a tensor of `shape` lies, in proportion, in a tensor of another shape.

    Axes are matched from the last one, as in broadcasting.
    """
    if 0 in shape or 0 in other or len(index) != len(shape):
        return ()
    padded, extents = [0] * len(other) + list(index), [1] * len(other) + list(shape)
    last = len(other)
    pairs = zip(padded[-last:], extents[-last:], other, strict=True) if last else ()
    return tuple(i * d // n for i, n, d in pairs)


def excerpt(value: Value, array: np.ndarray, at: tuple[int, ...], name: str = "") -> Excerpt:
    """Up to seven values along the last axis around `at`."""
    type_ = str(value.known_type)
    if len(at) != array.ndim or array.size == 0:
        return Excerpt(name or value.name, type_, at, 0, ())
    row = array[at[:-1]].reshape(-1) if array.ndim else array.reshape(-1)
    here = at[-1] if at else 0
    start = max(0, min(here - EXCERPT_RADIUS, row.size - 2 * EXCERPT_RADIUS - 1))
    values = row[start : start + 2 * EXCERPT_RADIUS + 1]
    return Excerpt(
        name or value.name,
        type_,
        at,
        start,
        tuple(v if isinstance(v, str) else number(v) for v in values),
    )
