"""Random models with If, Loop and Scan on whole numbers, against onnxruntime.

Every value lies within -64..64 after each part, so all of it is exact in every precision, and the
results must be equal. What decides the course is a constant, a shape, a number that is fed, or data
of the run, so that nodes are laid out in the plan or run in stages, nested in either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from engine.arrays import AnyArray, flattened
from engine.config import BackendConfig, Precision, ScheduleConfig
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.ops.spec import Choose
from engine.runtime import Runtime
from properties.memory import Violation

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
DEPTH_MAX = 2
COLUMNS = 4
LARGEST = 64.0


@dataclass(frozen=True)
class ControlModel:
    """A model and what it is run on, one after the other."""

    model: ModelProto
    feeds: tuple[Mapping[str, AnyArray], ...]

    def __str__(self) -> str:
        fed = [{k: v.tolist() for k, v in flattened(f).items()} for f in self.feeds]
        return f"{helper.printable_graph(self.model.graph)}\nfed {fed}"


class Writer:
    """Draws nodes; every name is used once.

    Args:
        by_data: whether data of the run may decide.
    """

    def __init__(self, choose: Choose, *, by_data: bool = True) -> None:
        self.choose, self._count = choose, 0
        self._data = ("data",) if by_data else ()

    def name(self, what: str) -> str:
        """A new one."""
        self._count += 1
        return f"{what}{self._count}"

    def op(self, nodes: list[NodeProto], kind: str, *inputs: str, **attributes: object) -> str:
        """Append a node; gives its output."""
        out = self.name(kind.lower())
        nodes.append(helper.make_node(kind, list(inputs), [out], name=f"n_{out}", **attributes))
        return out

    def constant(
        self, nodes: list[NodeProto], value: np.ndarray | np.generic | float | bool
    ) -> str:
        """Append a Constant."""
        array = np.asarray(value, np.float32 if isinstance(value, float) else None)
        return self.op(nodes, "Constant", value=numpy_helper.from_array(array))

    def expression(self, nodes: list[NodeProto], values: Sequence[str]) -> str:
        """A value of the shape of the first, made of some of the values."""
        here = values[0]
        for _ in range(self.choose.integer(1, 2)):
            kind = self.choose.one_of(("Add", "Sub", "Max", "Min", "Neg", "Sub"))
            others = [] if kind == "Neg" else [self.choose.one_of(values)]
            here = self.op(nodes, kind, here, *others)
        return self.clipped(nodes, here)

    def clipped(self, nodes: list[NodeProto], value: str) -> str:
        """Within the numbers that half holds."""
        ends = [self.constant(nodes, end) for end in (-LARGEST, LARGEST)]
        return self.op(nodes, "Clip", value, *ends)

    # ------------------------------------------------------------------ parts
    def part(self, nodes: list[NodeProto], values: Sequence[str], rank: int, depth: int) -> str:
        """An If, Loop or Scan, or something plain; `values` and the result have one shape."""
        plain = depth >= DEPTH_MAX or self.choose.integer(0, 3) == 0
        kinds = (self._plain,) if plain else (self._if, self._loop, self._scan)
        return self.choose.one_of(kinds)(nodes, values, rank, depth)

    def _plain(self, nodes: list[NodeProto], values: Sequence[str], rank: int, depth: int) -> str:
        return self.expression(nodes, values)

    def _if(self, nodes: list[NodeProto], values: Sequence[str], rank: int, depth: int) -> str:
        branches = []
        for _ in range(2):
            inner: list[NodeProto] = []
            result = self.part(inner, values, rank, depth + 1)
            last = self.expression(inner, [result, *values])
            branches.append(self._graph(inner, [], [(last, FLOAT, rank)]))
        condition = self._number(nodes, values[0], 0, 3)
        limit = self.constant(nodes, np.int64(self.choose.integer(0, 3)))
        chosen = self.op(nodes, "Greater", condition, limit)
        then, other = branches
        return self.op(nodes, "If", chosen, then_branch=then, else_branch=other)

    def _number(self, nodes: list[NodeProto], value: str, least: int, most: int) -> str:
        """An int64 scalar in the range: a constant, of a shape, fed, or of data."""
        kind = self.choose.one_of(("constant", "fed", "shape", *self._data))
        if kind == "constant":
            return self.constant(nodes, np.int64(self.choose.integer(least, most)))
        number = "k"
        if kind == "shape":
            number = self.op(nodes, "Size", value)
        elif kind == "data":
            number = self.op(nodes, "ReduceMax", value, keepdims=0)
            number = self.op(nodes, "Cast", number, to=INT)
        low, high = (self.constant(nodes, np.int64(end)) for end in (least, most))
        return self.op(nodes, "Max", self.op(nodes, "Min", number, high), low)

    def _loop(self, nodes: list[NodeProto], values: Sequence[str], rank: int, depth: int) -> str:
        count, stacked = self.choose.integer(1, 3), self.choose.integer(0, 2)
        trips = self._number(nodes, values[0], 1 if stacked else 0, 3)
        states = [self.name("state") for _ in range(count)]
        number, goes_on = self.name("i"), self.name("go")
        inner: list[NodeProto] = []
        inside = [self.part(inner, [*states, *values], rank, depth + 1)]
        inside += [self.expression(inner, [s, *inside, *states]) for s in states[1:]]
        first = [self.choose.one_of([*states, *inside]) for _ in states]
        nexts = [self.expression(inner, [value, *states]) for value in first]
        rows = [self.expression(inner, [*states, *inside, *nexts]) for _ in range(stacked)]
        on = self._condition(inner, number, goes_on, inside[0])
        formals = [(number, INT, 0), (goes_on, BOOL, 0), *((s, FLOAT, rank) for s in states)]
        results = [(on, BOOL, 0), *((n, FLOAT, rank) for n in (*nexts, *rows))]
        body = self._graph(inner, formals, results)
        outs = [self.name("loop") for _ in range(count + stacked)]
        start = [self.choose.one_of(values) for _ in states]
        begins = self._beginning(nodes, values[0], may_be_false=not stacked)
        node = helper.make_node(
            "Loop", [trips, begins, *start], outs, name=f"n_{outs[0]}", body=body
        )
        nodes.append(node)
        axis = self.constant(nodes, np.array([0]))
        sums = [self.op(nodes, "ReduceSum", y, axis, keepdims=0) for y in outs[count:]]
        return self.expression(nodes, [*outs[:count], *sums])

    def _beginning(self, nodes: list[NodeProto], value: str, *, may_be_false: bool) -> str:
        """Whether a loop begins at all."""
        kind = self.choose.one_of(("always", "constant", "number"))
        if kind == "always":
            return ""
        if kind == "constant" or not may_be_false:
            return self.constant(nodes, not may_be_false or self.choose.one_of((True, False)))
        limit = self.constant(nodes, np.int64(self.choose.integer(0, 2)))
        return self.op(nodes, "Greater", self._number(nodes, value, 0, 3), limit)

    def _condition(self, nodes: list[NodeProto], number: str, goes_on: str, value: str) -> str:
        """Whether a loop goes on."""
        kind = self.choose.one_of(("always", "count", *self._data))
        if kind == "always":
            return self.op(nodes, "Identity", goes_on)
        if kind == "count":
            return self.op(nodes, "Less", number, self.constant(nodes, np.int64(1)))
        largest = self.op(nodes, "ReduceMax", value, keepdims=0)
        return self.op(nodes, "Less", largest, self.constant(nodes, 20.0))

    def _scan(self, nodes: list[NodeProto], values: Sequence[str], rank: int, depth: int) -> str:
        axis = self.choose.integer(0, rank - 1)
        count = self.choose.integer(1, min(2, len(values)))
        scanned = [self.choose.one_of(values) for _ in range(count)]
        state, slices = self.name("state"), [self.name("slice") for _ in scanned]
        inner: list[NodeProto] = []
        part = self.part(inner, [*slices, state], rank - 1, depth + 1 if rank > 1 else DEPTH_MAX)
        after, row = (self.expression(inner, [part, state, *slices]) for _ in range(2))
        formals = [(n, FLOAT, rank - 1) for n in (state, *slices)]
        along = self.constant(nodes, np.array([axis]))
        start = self.op(nodes, "ReduceMin", values[0], along, keepdims=0)
        out_axis = self.choose.integer(0, rank - 1)
        outs = [self.name("scan") for _ in range(2)]
        node = helper.make_node(
            "Scan",
            [start, *scanned],
            outs,
            name=f"n_{outs[0]}",
            body=self._graph(inner, formals, [(n, FLOAT, rank - 1) for n in (after, row)]),
            num_scan_inputs=count,
            scan_input_axes=[self.choose.one_of((axis, axis - rank)) for _ in scanned],
            scan_input_directions=[self.choose.integer(0, 1) for _ in scanned],
            scan_output_axes=[self.choose.one_of((out_axis, out_axis - rank))],
            scan_output_directions=[self.choose.integer(0, 1)],
        )
        nodes.append(node)
        last = self.op(nodes, "Unsqueeze", outs[0], along)
        whole = outs[1]
        if out_axis != axis:
            order = list(range(rank))
            order.insert(axis, order.pop(out_axis))
            whole = self.op(nodes, "Transpose", whole, perm=order)
        return self.clipped(nodes, self.op(nodes, "Sub", whole, last))

    @staticmethod
    def _graph(
        nodes: Sequence[NodeProto],
        formals: Sequence[tuple[str, int, int]],
        outputs: Sequence[tuple[str, int, int]],
    ) -> GraphProto:
        """Formals and outputs: name, element type, rank."""
        infos = [
            [helper.make_tensor_value_info(n, t, [None] * rank) for n, t, rank in values]
            for values in (formals, outputs)
        ]
        return helper.make_graph(list(nodes), "body", *infos)


def draw(choose: Choose) -> ControlModel:
    """A model of one to three parts, and feeds of two or three shapes and numbers."""
    writer, nodes, values = Writer(choose), list[NodeProto](), ["x"]
    for _ in range(choose.integer(1, 3)):
        values.insert(0, writer.part(nodes, values, 2, 0))
    inputs = [
        helper.make_tensor_value_info("x", FLOAT, ["n", COLUMNS]),
        helper.make_tensor_value_info("k", INT, []),
    ]
    outputs = [helper.make_tensor_value_info(values[0], FLOAT, [None, None])]
    nodes.append(helper.make_node("Identity", ["k"], ["k_out"], name="n_k"))
    outputs.append(helper.make_tensor_value_info("k_out", INT, []))
    graph = helper.make_graph(nodes, "control", inputs, outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    rng = np.random.default_rng(choose.integer(0, 2**32 - 1))
    feeds = tuple(
        {
            "x": rng.integers(-8, 9, (rows, COLUMNS)).astype(np.float32),
            "k": np.array(choose.integer(0, 3)),
        }
        for rows in (choose.integer(1, 3), choose.integer(1, 3))
    )
    return ControlModel(made, (*feeds, feeds[0]))


def config_on(selector: str) -> ScheduleConfig:
    """A device at high precision."""
    high = BackendConfig(precision=Precision.HIGH)
    if selector == "cpu":
        return ScheduleConfig(backend_config=high)
    return ScheduleConfig("opencl", device=selector, backend_config=high)


def check_control_flow(case: ControlModel, runtime: Runtime, config: ScheduleConfig) -> None:
    """Every output is what onnxruntime says, bit for bit; raises Violation."""
    import onnxruntime

    data = case.model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    theirs = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    with Interpreter.from_buffer(data).create_session(config, runtime) as session:
        for feeds in case.feeds:
            expected = theirs.run(None, feeds)
            try:
                outputs = session(feeds)
            except ParallaxError as error:
                raise Violation(f"{error}, and onnxruntime runs it\n{case}") from error
            got = flattened(outputs)
            wanted = flattened(dict(zip(outputs, expected, strict=True)))
            if not (got.keys() == wanted.keys() and all(map(_same, got.values(), wanted.values()))):
                ours, theirs = ({n: y.tolist() for n, y in ys.items()} for ys in (got, wanted))
                raise Violation(f"{ours}, onnxruntime says {theirs}\n{case}")


def _same(got: np.ndarray, wanted: np.ndarray) -> bool:
    return got.shape == wanted.shape and np.array_equal(got, wanted)
