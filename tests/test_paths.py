"""Paths: a part of a model computes what the whole computes there, and says what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pytest

from engine.config import GraphPath, PathMode
from engine.errors import ConfigError, GraphError, InputError
from engine.ir.graph import Graph, Node, Value
from engine.ir.types import STRING
from engine.ir.verify import verify
from engine.onnx_import import load_model
from engine.passes import (
    Segment,
    assign_segments,
    bind_passes,
    bind_shapes,
    cut,
    load_passes,
    resolve_path,
    run_passes,
)
from engine.passes.segment import constant_nodes, shape_nodes
from fixtures.models.corpus import by_name
from properties.graphs import decode, seeded_program
from tests.graph_reference import SMALL_MODELS, model_path, run_reference
from tests.model_writing import model, node

pytestmark = pytest.mark.one_driver

FOLDED_TOLERANCE = 1e-5
"""Folded weights are rounded once to float32, relative to the largest output."""

EVERY = {"tiny_decoder": 7}
"""Of the values of long models that repeat themselves, every so-manieth is kept on its own."""

Feeds = Mapping[str, np.ndarray]
SUBJECTS = (*SMALL_MODELS, *range(12))
"""Models by name, random graphs by seed."""


def subject(which: str | int) -> tuple[Graph, dict[str, np.ndarray]]:
    if isinstance(which, str):
        return load_model(model_path(which)), by_name(which).feeds(5, 0)
    random = decode(seeded_program(which))
    return random.graph, random.feeds()


def shapes_of(feeds: Feeds) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in feeds.items()}


def everything(graph: Graph, feeds: Feeds) -> dict[str, np.ndarray]:
    """Every value of the graph by name."""
    wide = graph.copy()
    wide.outputs = wide.values()
    return run_reference(wide, feeds)


def split(graph: Graph, *bounds: int) -> list[Segment]:
    """The nodes in runs that begin at `bounds`; what depends on constants alone is in none."""
    constants = constant_nodes(graph)
    ends = [*bounds[1:], len(graph.nodes)]
    return [
        _run_of(graph, [n for n in graph.nodes[a:b] if n not in constants], constants)
        for a, b in zip(bounds, ends, strict=True)
    ]


def _run_of(graph: Graph, nodes: list[Node], constants: set[Node]) -> Segment:
    made = {out for n in nodes for out in n.outputs}
    read = (v for n in nodes for v in n.inputs if v is not None and v.constant is None)
    inputs = dict.fromkeys(v for v in read if v not in made and v.producer not in constants)
    outputs = [
        v
        for n in nodes
        for v in n.outputs
        if v in graph.outputs or not set(v.uses) <= set(nodes) or not v.uses
    ]
    return Segment(_names(inputs), _names(outputs))


def _names(values: Iterable[Value]) -> tuple[str, ...]:
    return tuple(v.name for v in values)


def random_bounds(graph: Graph, parts: int, seed: int) -> list[int]:
    """Where runs of nodes begin, each with something that depends on an input."""
    rng = np.random.default_rng(seed)
    constants = constant_nodes(graph)
    starts = [i for i, n in enumerate(graph.nodes) if n not in constants]
    chosen = rng.choice(starts[1:], min(parts - 1, len(starts) - 1), replace=False)
    return [0, *sorted(int(i) for i in chosen)]


def optimised(graph: Graph, shapes: Mapping[str, tuple[int, ...]], keep: Iterable[str]) -> Graph:
    names = tuple(keep)
    loaded = graph.copy()
    run_passes(loaded, load_passes(names))
    bound = bind_shapes(loaded, shapes)
    run_passes(bound, bind_passes(names))
    return bound


def assert_close(got: np.ndarray, want: np.ndarray) -> None:
    if want.dtype == STRING:
        np.testing.assert_array_equal(got, want)
        return
    largest = float(np.max(np.abs(want), initial=0.0, where=np.isfinite(want))) or 1.0
    np.testing.assert_allclose(got, want, rtol=0, atol=FOLDED_TOLERANCE * largest)


# ----------------------------------------------------------------- laws
@pytest.mark.parametrize("which", SUBJECTS)
def test_head_then_tail_is_the_whole(which: str | int) -> None:
    graph, feeds = subject(which)
    whole = everything(graph, feeds)
    for seed in range(5):
        known: dict[str, np.ndarray] = {}
        for segment in split(graph, *random_bounds(graph, 2, seed)):
            listed = GraphPath(segment.inputs, segment.outputs, PathMode.TENSOR)
            assert resolve_path(graph, listed) == segment
            part = cut(graph, [segment], shapes_of(feeds))
            verify(part.graph)
            fed = {v.name: known.get(v.name, whole[v.name]) for v in part.graph.inputs}
            assert {n: tuple(s) for n, s in part.default_shapes.items()} == shapes_of(fed)
            assert all(fed[v.name].dtype == _wide(v) for v in part.graph.inputs if v.name in known)
            known |= run_reference(part.graph, fed)
        for name, result in known.items():
            np.testing.assert_array_equal(result, whole[name])
        computed = {*graph.nodes} - {*constant_nodes(graph)}
        assert known.keys() >= {v.name for v in graph.outputs if v.producer in computed}


def _wide(value: Value) -> np.dtype:
    dtype = value.known_type.dtype
    return np.dtype(np.float64) if dtype.kind == "f" else dtype


@pytest.mark.parametrize("which", SUBJECTS)
def test_pipelines_compute_what_the_whole_computes_and_every_node_has_one_owner(
    which: str | int,
) -> None:
    graph, feeds = subject(which)
    before = everything(graph, feeds)
    for seed in range(4):
        segments = split(graph, *random_bounds(graph, 2 + seed % 3, seed))
        part = cut(graph, segments, shapes_of(feeds))
        assert {v.name for v in part.graph.inputs} <= set(feeds)
        borders = {n for s in segments for n in (*s.inputs, *s.outputs)}
        after = optimised(part.graph, part.default_shapes, borders)
        owner = assign_segments(after, segments)
        assert list(owner) == after.nodes
        for reader, index in owner.items():
            producers = [v.producer for v in reader.inputs if v is not None and v.producer]
            assert all(owner[p] <= index for p in producers)
        for name, result in run_reference(after, feeds).items():
            assert_close(result, before[name])


@pytest.mark.parametrize("which", SUBJECTS)
def test_a_path_from_operators_is_what_lies_before_the_sinks(which: str | int) -> None:
    graph, feeds = subject(which)
    whole = everything(graph, feeds)
    spare = {n.name for n in shape_nodes(graph)}
    rng = np.random.default_rng(7)
    resolved = 0
    for _ in range(40):
        source, sink = (graph.nodes[int(i)] for i in sorted(rng.integers(0, len(graph.nodes), 2)))
        if parts_of(graph, source) < parts_of(graph, sink):
            continue
        for include in (False, True):
            expected = way(graph, source, sink, include)
            path = operators(source.name, to=[sink.name], include=include)
            if expected is None:
                with pytest.raises(ConfigError):
                    resolve_path(graph, path)
                continue
            part = cut(graph, [resolve_path(graph, path)], shapes_of(feeds))
            got = {n.name for n in part.graph.nodes}
            assert got - spare == {n.name for n in expected} - spare
            results = run_reference(part.graph, {v.name: whole[v.name] for v in part.graph.inputs})
            for name, result in results.items():
                np.testing.assert_array_equal(result, whole[name])
            resolved += 1
    assert resolved > 0


def way(graph: Graph, source: Node, sink: Node, include: bool) -> set[Node] | None:
    """From source to sink by definition; None where there is none, or it comes back to itself."""
    first, last = parts_of(graph, source), parts_of(graph, sink)
    path = first - last
    met = bool(first & last)
    for each in graph.nodes:
        if any(v is not None and v.producer in path for v in each.inputs):
            met |= each in last
            if each not in last:
                path.add(each)
    path |= last if include else set()
    behind = set[Node]()
    for each in graph.nodes:
        if any(v is not None and v.producer in path | behind for v in each.inputs):
            behind |= {each} - path
    returns = any(v is not None and v.producer in behind for n in path for v in n.inputs)
    return path if path and met and not returns else None


def parts_of(graph: Graph, named: Node) -> set[Node]:
    return {n for n in graph.nodes if n is named or n.name.startswith(f"{named.name}/")}


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_any_kept_value_survives_with_its_meaning(name: str) -> None:
    graph, feeds = subject(name)
    before = everything(graph, feeds)
    names = [v.name for v in graph.values()]
    for keep in ([n] for n in names[:: EVERY.get(name, 1)]):
        after = optimised(graph, shapes_of(feeds), keep)
        assert_close(everything(after, feeds)[keep[0]], before[keep[0]])
        assert [v.name for v in after.outputs] == [v.name for v in graph.outputs]
    after = everything(optimised(graph, shapes_of(feeds), names), feeds)
    for each in names:
        assert_close(after[each], before[each])


# ----------------------------------------------------------------- a small model by hand
def diamond() -> Graph:
    """x -> a -> (b, c) -> d -> y, and z = Relu(w)."""
    nodes = [
        node("Relu", "x", "a"),
        node("Sigmoid", "a", "b"),
        node("Tanh", "a", "c"),
        node("Add", "b c", "d"),
        node("Mul", "d k", "y"),
        node("Relu", "w", "z"),
    ]
    inputs = {"x": ("n", 3), "w": ("m", 2)}
    return imported(model(nodes, inputs, ["y", "z"], {"k": np.float32([2.0])}))


def imported(proto: object) -> Graph:
    return load_model(proto.SerializeToString())  # type: ignore[attr-defined]


def operators(*sources: str, to: Iterable[str] = (), include: bool = False) -> GraphPath:
    return GraphPath(sources, tuple(to), PathMode.OP, include)


def tensors(inputs: str, outputs: str) -> GraphPath:
    return GraphPath(inputs.split(), outputs.split(), PathMode.TENSOR)


@pytest.mark.parametrize(
    ("path", "inputs", "outputs"),
    [
        (operators("the_b", to=["the_d"]), "a", "b"),
        (operators("the_b", to=["the_d"], include=True), "a c", "d"),
        (operators("the_b"), "a c", "y"),
        (operators("the_a", to=["the_b", "the_c"]), "x", "a"),
        (operators("the_a", "the_z", to=["the_y"]), "x w", "z d"),
        (operators("the_d", to=["the_d"], include=True), "b c", "d"),
        (tensors("a", "d"), "a", "d"),
        (tensors("b c", "y"), "b c", "y"),
    ],
)
def test_a_path_has_these_borders(path: GraphPath, inputs: str, outputs: str) -> None:
    segment = resolve_path(diamond(), path)
    assert segment == Segment(tuple(inputs.split()), tuple(outputs.split()))


def test_the_sink_is_computed_on_request_only() -> None:
    graph = diamond()
    for include, expected in ((False, ["the_b", "the_c"]), (True, ["the_b", "the_c", "the_d"])):
        path = operators("the_b", "the_c", to=["the_d"], include=include)
        part = cut(graph, [resolve_path(graph, path)], {"x": (4, 3), "w": (1, 2)})
        assert [n.name for n in part.graph.nodes] == expected


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (operators("the_bb"), InputError, "no operator named 'the_bb'; did you mean 'the_b'"),
        (operators("d"), InputError, "'d' is a tensor; operator 'the_d' computes it"),
        (operators("x"), InputError, "'x' is an input of the model, not an operator"),
        (operators("k"), InputError, "'k' is a constant of the model, not an operator"),
        (operators("the_a", "the_a"), ConfigError, "path.inputs lists 'the_a' twice"),
        (operators("the_a", to=["the_z"]), ConfigError, "sink 'the_z' is not met .* from 'the_a'"),
        (operators("the_a", to=["the_d", "the_y"]), ConfigError, "it lies behind sink 'the_d'"),
        (operators("the_d", to=["the_a"]), ConfigError, "source 'the_d' lies behind sink 'the_a'"),
        (operators("the_a", to=["the_a"]), ConfigError, "unless include_sink"),
        (operators("the_a", to=["the_b"]), ConfigError, "reads 'b', which Sigmoid 'the_b' comp"),
        (tensors("aa", "y"), InputError, "no tensor named 'aa'; did you mean 'a'"),
        (tensors("x", "the_d"), InputError, "'the_d' is an operator; it computes 'd'"),
        (tensors("x", "q"), InputError, "no tensor named 'q'; there are"),
        (tensors("x k", "y"), ConfigError, "'k' is a constant of the model"),
        (tensors("x", "y z"), ConfigError, "needs tensor 'w', which Relu 'the_z' reads"),
        (tensors("x w", "y"), ConfigError, "no output depends on input 'w'"),
        (tensors("x a", "y"), ConfigError, "no output depends on input 'x'"),
        (tensors("x a", "a y"), ConfigError, "'a' is listed as input and as output"),
        (tensors("w", "x"), ConfigError, "output 'x' is an input of the model"),
    ],
)
def test_a_wrong_path_is_refused_with_the_reason(
    path: GraphPath, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        resolve_path(diamond(), path)


SHAPES = {"x": (4, 3), "w": (1, 2)}
HEAD, TAIL = Segment(("x",), ("b", "c")), Segment(("b", "c"), ("y",))


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        (
            [HEAD, Segment(("a",), ("d",))],
            "Tanh 'the_c' is in path 0 .* and in path 1 .*compute 'b', 'c' and the",
        ),
        ([TAIL, HEAD], "path 0 needs 'b', which path 1 computes: put path 1"),
        ([Segment(("x",), ("a",)), TAIL], "path 1 needs 'b', which no earlier path computes"),
        ([], "at least one path"),
    ],
)
def test_paths_that_do_not_connect_are_refused(segments: list[Segment], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cut(diamond(), segments, SHAPES)


def test_a_border_is_an_output_only_where_the_model_or_nobody_later_reads_it() -> None:
    part = cut(diamond(), [HEAD, TAIL, Segment(("w",), ("z",))], {})
    assert [v.name for v in part.graph.inputs] == ["x", "w"]
    assert [v.name for v in part.graph.outputs] == ["y", "z"]
    assert [v.name for v in cut(diamond(), [HEAD], {}).graph.outputs] == ["b", "c"]
    graph = diamond()
    graph.outputs.append(graph.value("b"))
    assert [v.name for v in cut(graph, [HEAD, TAIL], {}).graph.outputs] == ["y", "b"]


def test_an_input_that_several_paths_read_is_one_input() -> None:
    graph = diamond()
    paths = [Segment(("a",), ("b",)), Segment(("a",), ("c",))]
    part = cut(graph, paths, SHAPES)
    assert [v.name for v in part.graph.inputs] == ["a"]
    assert [v.name for v in part.graph.outputs] == ["b", "c"]


def test_axes_of_a_tensor_in_the_middle_are_free_and_have_a_default() -> None:
    part = cut(diamond(), [TAIL], SHAPES)
    assert [str(v.type) for v in part.graph.inputs] == [
        "float32[b.axis0,b.axis1]",
        "float32[c.axis0,c.axis1]",
    ]
    assert part.default_shapes == {"b": (4, 3), "c": (4, 3)}
    assert cut(diamond(), [TAIL], {**SHAPES, "b": (1, 3)}).default_shapes["b"] == (1, 3)


def test_shapes_of_the_model_are_asked_for_where_a_tensor_needs_them() -> None:
    with pytest.raises(ConfigError, match=r"shapes of the model's inputs .* tensor 'b'.* 'x'"):
        cut(diamond(), [TAIL], {})
    assert cut(diamond(), [HEAD], {}).default_shapes == {}
    with pytest.raises(InputError, match="'q' is no input of the model nor of its path"):
        cut(diamond(), [HEAD], {"q": (1,)})
    with pytest.raises(InputError, match="no value named 'q'"):
        cut(diamond(), [Segment(("q",), ("y",))], {})


def test_a_shape_is_not_fed_but_taken_from_what_has_it() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Relu", "x", "a"),
        node("Flatten", "a", "f"),
        node("Sigmoid", "f", "g"),
        node("Reshape", "g s", "y"),
    ]
    graph = imported(model(nodes, {"x": ("n", 2, 3)}, ["y"]))
    segment = resolve_path(graph, operators("the_g"))
    assert segment.inputs == ("s", "f")
    part = cut(graph, [segment], {"x": (2, 2, 3)})
    assert [v.name for v in part.graph.inputs] == ["x", "f"]
    resized = optimised(part.graph, {"x": (5, 2, 3), "f": (5, 6)}, ())
    assert resized.outputs[0].known_type.dims == (5, 2, 3)
    head = Segment(("x",), ("s", "f"))
    both = optimised(cut(graph, [head, segment], {}).graph, {"x": (2, 2, 3)}, ("s", "f"))
    assert assign_segments(both, [head, segment]) == dict(
        zip(both.nodes, [0, 0, 1, 1], strict=True)
    )


def test_an_input_that_a_needed_operator_computes_as_well_is_refused() -> None:
    nodes = [node("Split", "x", "l r", axis=0), node("Add", "l r", "y")]
    graph = imported(model(nodes, {"x": (4,)}, ["y"]))
    assert resolve_path(graph, tensors("l r", "y")) == Segment(("l", "r"), ("y",))
    with pytest.raises(ConfigError, match="input 'l' is computed by Split 'the_l'"):
        resolve_path(graph, tensors("x l", "y"))


def test_an_operator_imported_as_several_nodes_is_known_by_its_own_name() -> None:
    nodes = [node("Relu", "x", "a"), node("Softmax", "a", "s", axis=1), node("Neg", "s", "y")]
    graph = imported(model(nodes, {"x": ("n", 2, 3)}, ["y"], opset=11))
    assert len(graph.nodes) > 3
    assert resolve_path(graph, operators("the_s")) == Segment(("a",), ("y",))
    assert resolve_path(graph, operators("the_a", to=["the_s"])) == Segment(("x",), ("a",))
    whole = operators("the_s", to=["the_s"], include=True)
    assert resolve_path(graph, whole) == Segment(("a",), ("s",))
    functions = load_model(model_path("tiny_functions"))
    call = operators("n_gateddense_3", to=["n_gateddense_6"])
    assert resolve_path(functions, call) == Segment(("x",), ("gateddense_3",))


def test_an_operator_without_a_name_is_called_after_its_first_output() -> None:
    proto = model([node("Relu", "x", "a"), node("Dropout", "a", "y")], {"x": (2,)}, ["y"])
    for each in proto.graph.node:
        each.name = ""
    graph = imported(proto)
    assert resolve_path(graph, operators("Dropout_y")) == Segment(("a",), ("y",))


def test_a_dead_operator_gives_its_results() -> None:
    graph = imported(model([node("Relu", "x", "y"), node("Neg", "x", "d")], {"x": (2,)}, ["y"]))
    assert resolve_path(graph, operators("the_d")).outputs == ("d",)


def test_fused_nodes_can_be_cut() -> None:
    nodes = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Neg", "r", "y")]
    weights = {"w": np.ones((1, 1, 1, 1), np.float32)}
    graph = optimised(imported(model(nodes, {"x": (1, 1, 2, 2)}, ["y"], weights)), {}, ())
    part = cut(graph, [Segment(("x",), ("r",))], {})
    (fused,) = part.graph.nodes
    assert fused.body == graph.nodes[0].body
    assert fused.inputs[1].constant is graph.nodes[0].inputs[1].constant  # type: ignore[union-attr]


def test_a_border_that_was_lost_or_crossed_is_noticed() -> None:
    graph = diamond()
    with pytest.raises(GraphError, match="'q' was optimised away"):
        assign_segments(graph, [Segment(("x",), ("q",))])
    with pytest.raises(GraphError, match=r"Relu 'the_a' is in path 0 and in path 1"):
        assign_segments(graph, [Segment(("x",), ("b",)), Segment(("x",), ("c",))])


def test_what_only_a_saved_value_needs_runs_where_its_source_is() -> None:
    graph = diamond()
    owner = assign_segments(graph, [Segment(("x",), ("b", "c")), Segment(("b", "c"), ("d",))])
    assert [owner[n] for n in graph.nodes] == [0, 0, 0, 1, 1, 0]
