"""Models with If, Loop and Scan whose course is known before the run, each with feeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import GraphProto, TensorProto, helper, numpy_helper

from tests.model_writing import node

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
Feeds = dict[str, np.ndarray]
X = np.arange(12, dtype=np.float32).reshape(3, 4) - 5
COUNTING: list[tuple[str, int, list[int | str] | None]] = [("i", INT, []), ("go", BOOL, [])]


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Sequence[int | str] | None]],
    outputs: str,
    **constants: object,
) -> GraphProto:
    """A subgraph, or the main graph; outputs are of no declared type."""
    return helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_empty_tensor_value_info(name) for name in outputs.split()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )


def serialised(main: GraphProto, functions: Sequence[onnx.FunctionProto] = ()) -> bytes:
    """At opset 18; functions are of domain `f`."""
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    made = helper.make_model(main, opset_imports=imports, functions=functions, ir_version=10)
    return made.SerializeToString()


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def a_branch_by_a_deciding_input() -> bytes:
    """The branches read from outside, and name values alike."""
    same = node("Identity", "r", "same")
    then = graph([node("Relu", "r", "o"), same], [], "o same")
    other = graph([node("Mul", "r w", "o"), same], [], "o same", w=floats(1, 2, 3, 4))
    nodes = [
        node("Neg", "x", "r"),
        node("Equal", "rate sixteen", "c"),
        node("If", "c", "y z", then_branch=then, else_branch=other),
    ]
    inputs = [("x", FLOAT, ["n", 4]), ("rate", INT, [])]
    return serialised(graph(nodes, inputs, "y z", sixteen=np.int64(16)))


def rows_of_nothing(data_decide: bool = False) -> bytes:
    """Each row of x, or each that is not negative; none can be taken where there is none."""
    body = graph([node("Identity", "go", "on"), node("Gather", "kept i", "row")], COUNTING, "on")
    body.output.append(helper.make_tensor_value_info("row", FLOAT, [4]))
    kept = (
        [
            node("ReduceMin", "x axis", "least", keepdims=0),
            node("GreaterOrEqual", "least zero", "chosen"),
            node("Compress", "x chosen", "kept", axis=0),
        ]
        if data_decide
        else [node("Abs", "x", "kept")]
    )
    nodes = [
        *kept,
        node("Shape", "kept", "count", start=0, end=1),
        node("Loop", "count -", "y", body=body),
    ]
    constants = {"axis": np.array([1]), "zero": np.float32(0)} if data_decide else {}
    return serialised(graph(nodes, [("x", FLOAT, ["n", 4])], "y", **constants))


def branches_in_branches() -> bytes:
    """What the inner ones read is two graphs away; shapes decide."""
    inner = [graph([node(op, "x", "a")], [], "a") for op in ("Abs", "Neg")]
    choice = node("If", "many", "b", then_branch=inner[0], else_branch=inner[1])
    outer = node(
        "If",
        "some",
        "y",
        then_branch=graph([choice], [], "b"),
        else_branch=graph([node("Exp", "x", "e")], [], "e"),
    )
    nodes = [
        node("Size", "x", "size"),
        node("Greater", "size four", "some"),
        node("Greater", "size eight", "many"),
        outer,
    ]
    return serialised(
        graph(nodes, [("x", FLOAT, ["n", 4])], "y", four=np.int64(4), eight=np.int64(8))
    )


def a_counted_loop(scanned: bool = True) -> bytes:
    """States that are exchanged, one that is passed on unchanged, and two stacked results."""
    body = graph(
        [
            node("Identity", "go", "on"),
            node("Cast", "i", "f", to=FLOAT),
            node("Add", "b f", "b_next"),
            node("Mul", "a x", "scan_a"),
            node("Sub", "a k", "scan_b"),
        ],
        [*COUNTING, ("a", FLOAT, None), ("b", FLOAT, None), ("same", FLOAT, None)],
        "on b_next a same" + (" scan_a scan_b" if scanned else ""),
        k=floats(3),
    )
    nodes = [
        node("Neg", "x", "n"),
        node("Loop", "trips - x n x", "p q r" + (" s t" if scanned else ""), body=body),
    ]
    inputs = [("x", FLOAT, ["n", 4]), ("trips", INT, [])]
    return serialised(graph(nodes, inputs, "p q r" + (" s t" if scanned else "")))


def a_loop_until() -> bytes:
    """It ends when a number, which it makes itself, is large enough; a state grows."""
    body = graph(
        [
            node("Mul", "n two", "n_next"),
            node("Less", "n_next limit", "on"),
            node("Concat", "s x", "s_next", axis=0),
        ],
        [*COUNTING, ("n", INT, []), ("s", FLOAT, ["k", 4])],
        "on n_next s_next",
        two=np.int64(2),
    )
    nodes = [node("Loop", "- yes one x", "m y", body=body)]
    inputs = [("x", FLOAT, ["n", 4]), ("limit", INT, [])]
    return serialised(graph(nodes, inputs, "m y", one=np.int64(1), yes=np.array(True)))


def a_scan() -> bytes:
    """Axes that are not the first, from both ends; two states, of which one is read outside."""
    body = graph(
        [
            node("Add", "total u", "total_next"),
            node("Max", "peak v", "peak_next"),
            node("Sub", "u v", "d"),
            node("Mul", "total_next w", "e"),
        ],
        [(n, FLOAT, [3]) for n in ("total", "peak", "u", "v")],
        "total_next peak_next d e",
        w=floats(1, 10, 100),
    )
    scan = node(
        "Scan",
        "zero low x n",
        "t p d e",
        body=body,
        num_scan_inputs=2,
        scan_input_axes=[1, -1],
        scan_input_directions=[0, 1],
        scan_output_axes=[1, -1],
        scan_output_directions=[1, 0],
    )
    nodes = [node("Sin", "x", "n"), scan]
    zero, low = floats(0, 0, 0), floats(-9, -9, 1)
    return serialised(graph(nodes, [("x", FLOAT, [3, "t"])], "t p d e", zero=zero, low=low))


def a_batched_scan(has_lengths: bool = False, directions: Sequence[int] = (0, 1)) -> bytes:
    """Of opset 8: a state and two inputs, the second scanned backward, in a batch of any size."""
    body = graph(
        [
            node("Add", "total u", "total_next"),
            node("Sub", "total v", "d"),
            node("Mul", "total_next w", "e"),
        ],
        [(n, FLOAT, [2]) for n in ("total", "u", "v")],
        "total_next d e",
        w=floats(1, 10),
    )
    lengths = "lengths" if has_lengths else "-"
    given = {"num_scan_inputs": 2, "directions": directions}
    scan = node("Scan", f"{lengths} first x n", "t d e", body=body, **given)
    inputs: list[tuple[str, int, Sequence[int | str]]] = [
        ("first", FLOAT, ["b", 2]),
        ("x", FLOAT, ["b", "t", 2]),
    ]
    if has_lengths:
        inputs.append(("lengths", TensorProto.INT64, ["b"]))
    made = onnx.load_from_string(serialised(graph([node("Sin", "x", "n"), scan], inputs, "t d e")))
    made.opset_import[0].version = 8
    return made.SerializeToString()


def subgraphs_in_a_function() -> bytes:
    """Called twice; a loop in it holds an If, reads inputs and an attribute of the function."""
    leaky = node("LeakyRelu", "s", "s")
    leaky.output[0] = "n"  # as outside is called what the second call is given
    reference = leaky.attribute.add()
    reference.name, reference.ref_attr_name, reference.type = "alpha", "slope", 1
    branch = [graph([leaky], [], "n"), graph([node("Add", "s a", "t")], [], "t")]
    nodes = [
        node("Identity", "go", "on"),
        node("Less", "i one", "first"),
        node("If", "first", "s_next", then_branch=branch[0], else_branch=branch[1]),
    ]
    body = graph(nodes, [*COUNTING, ("s", FLOAT, None)], "on s_next", one=np.int64(1))
    call = helper.make_function(
        "f",
        "Walk",
        ["x", "a", "trips"],
        ["y"],
        [node("Loop", "trips - x", "y", body=body)],
        [helper.make_opsetid("", 18)],
        ["slope"],
    )
    uses = [
        node("Walk", "x n trips", "h", domain="f", slope=0.5),
        node("Walk", "n h trips", "y", domain="f", slope=0.25),
    ]
    nodes = [node("Neg", "x", "n"), *uses]
    return serialised(graph(nodes, [("x", FLOAT, ["n", 4])], "y", trips=np.int64(3)), [call])


MODELS: dict[str, tuple[Callable[[], bytes], list[Feeds]]] = {
    "if": (a_branch_by_a_deciding_input, [{"x": X, "rate": np.array(r)} for r in (16, 8)]),
    "nested_if": (branches_in_branches, [{"x": X[:n]} for n in (1, 2, 3)]),
    "loop": (a_counted_loop, [{"x": X, "trips": np.array(n)} for n in (1, 4)]),
    "no_trips": (lambda: a_counted_loop(scanned=False), [{"x": X, "trips": np.array(0)}]),
    "until": (a_loop_until, [{"x": X, "limit": np.array(n)} for n in (1, 9)]),
    "scan": (a_scan, [{"x": X}, {"x": X[:, :1]}]),
    "function": (subgraphs_in_a_function, [{"x": X}]),
}
"""By name: what makes it, and feeds to run it on, one after another."""
