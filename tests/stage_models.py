"""Models of which data of the run decide shapes or the course, each with feeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from tests.control_flow_models import COUNTING, FLOAT, INT, Feeds, floats, graph, serialised
from tests.model_writing import node

RNG = np.random.default_rng(5)
ROWS = RNG.standard_normal((5, 4)).astype(np.float32)
BOOL, INT32 = TensorProto.BOOL, TensorProto.INT32


def places() -> bytes:
    """How many rows there are is known after a comparison; work goes on with them."""
    nodes = [
        node("Relu", "x", "r"),
        node("ReduceSum", "r one", "sums", keepdims=0),
        node("Greater", "sums limit", "large"),
        node("NonZero", "large", "at"),
        node("Squeeze", "at zero", "rows"),
        node("Gather", "r rows", "taken", axis=0),
        node("MatMul", "taken w", "m"),
        node("Shape", "taken", "shape"),
        node("Add", "m w0", "y"),
        node("Exp", "x", "z"),
    ]
    constants = {"one": [1], "zero": [0], "limit": floats(1.2)[0]}
    weights = {"w": np.eye(4, dtype=np.float32) * 3, "w0": floats(1, 2, 3, 4)}
    return serialised(
        graph(nodes, [("x", FLOAT, ["n", 4])], "y shape z at", **constants, **weights)
    )


def computed_shape() -> bytes:
    """A Reshape and a Slice by numbers that are computed from data, one after the other."""
    nodes = [
        node("ReduceMax", "x", "most", keepdims=0),
        node("Cast", "most", "n", to=INT),
        node("Unsqueeze", "n zero", "count"),
        node("Concat", "count rest", "shape", axis=0),
        node("Reshape", "x shape", "h"),
        node("ReduceSum", "h", "total", keepdims=1),
        node("Cast", "total", "whole", to=INT),
        node("Flatten", "whole", "flat"),
        node("Squeeze", "flat zero", "end"),
        node("Slice", "h start end zero", "y"),
    ]
    constants = {"zero": [0], "rest": [-1], "start": [0]}
    return serialised(graph(nodes, [("x", FLOAT, [2, 6])], "y h", **constants))


def branches() -> bytes:
    """Data decide the branch; one has a loop that data end, and a place that data choose."""
    body = graph(
        [
            node("Mul", "s half", "s_next"),
            node("ReduceMax", "s_next", "most", keepdims=0),
            node("Greater", "most limit", "on"),
            node("Identity", "s_next", "seen"),
        ],
        [*COUNTING, ("s", FLOAT, None)],
        "on s_next seen",
        half=floats(0.5)[0],
    )
    then = graph(
        [node("Loop", "- - h", "last all", body=body), node("ReduceMean", "all", "a", keepdims=0)],
        [],
        "a last",
    )
    other = graph(
        [node("Neg", "x", "b"), node("Add", "b h", "e"), node("ReduceMin", "e", "d", keepdims=0)],
        [],
        "d e",
    )
    nodes = [
        node("Abs", "x", "h"),
        node("ReduceSum", "x", "sum", keepdims=0),
        node("Greater", "sum limit", "c"),
        node("If", "c", "p q", then_branch=then, else_branch=other),
        node("Mul", "p q", "y"),
    ]
    return serialised(graph(nodes, [("x", FLOAT, ["n", 4])], "y q", limit=floats(0.75)[0]))


def states_are_exchanged() -> bytes:
    """A loop of two stages that exchanges its states, and reads what is outside."""
    body = graph(
        [
            node("Add", "a x", "b_next"),
            node("Relu", "a", "positive"),
            node("NonZero", "positive", "at"),
            node("Shape", "at", "count"),
            node("Cast", "count", "f", to=FLOAT),
            node("ReduceMax", "f", "n", keepdims=0),
            node("Sub", "b n", "shifted"),
            node("Mul", "shifted w", "a_next"),
            node("Less", "n twenty", "on"),
            node("Identity", "b", "kept"),
        ],
        [*COUNTING, ("a", FLOAT, None), ("b", FLOAT, None)],
        "on a_next b_next kept",
        w=floats(1, -1, 2, 0.5),
        twenty=floats(20)[0],
    )
    nodes = [node("Sin", "x", "h"), node("Loop", "trips - x h", "p q s", body=body)]
    return serialised(graph(nodes, [("x", FLOAT, ["n", 4])], "p q s", trips=np.int64(3)))


def chosen_in_a_scan() -> bytes:
    """How many elements there are is known for each slice; backwards, along the last axes."""
    body = graph(
        [
            node("Relu", "u", "r"),
            node("NonZero", "r", "at"),
            node("Shape", "at", "shape"),
            node("Cast", "shape", "f", to=FLOAT),
            node("ReduceMax", "f", "count", keepdims=0),
            node("Add", "s count", "s_next"),
            node("Mul", "u s_next", "v"),
        ],
        [("s", FLOAT, None), ("u", FLOAT, None)],
        "s_next v",
    )
    scan = node(
        "Scan",
        "zero x",
        "n y",
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[-1],
        scan_input_directions=[1],
        scan_output_axes=[1],
        scan_output_directions=[1],
    )
    return serialised(graph([scan], [("x", FLOAT, [3, "t"])], "n y", zero=floats(0)[0]))


def boxes() -> bytes:
    """The end of a detector: scores are computed, boxes are chosen and gathered."""
    nodes = [
        node("Sigmoid", "logits", "scores"),
        node("NonMaxSuppression", "boxes scores most overlap least", "found"),
        node("Gather", "found two", "at", axis=1),
        node("Squeeze", "boxes zero", "one"),
        node("Gather", "one at", "taken", axis=0),
        node("Mul", "taken hundred", "y"),
        node("Shape", "found", "count"),
    ]
    constants = {"two": np.int64(2), "zero": [0], "most": [4], "hundred": floats(100)[0]}
    limits = {"overlap": floats(0.4), "least": floats(0.55)}
    inputs = [("boxes", FLOAT, [1, "b", 4]), ("logits", FLOAT, [1, 3, "b"])]
    return serialised(graph(nodes, inputs, "y found count", **constants, **limits))


def box_feeds() -> list[Feeds]:
    corner = RNG.random((2, 1, 12, 2)).astype(np.float32)
    extent = RNG.random((2, 1, 12, 2)).astype(np.float32)
    logits = RNG.standard_normal((2, 1, 3, 12)).astype(np.float32)
    every = np.concatenate([corner, corner + extent], -1)
    none = {"boxes": every[0, :, :3], "logits": np.full((1, 3, 3), -3, np.float32)}
    return [{"boxes": b, "logits": s} for b, s in zip(every, logits, strict=True)] + [none]


def distinct() -> bytes:
    """Which numbers there are, how often, and where; the compressed rows of another tensor."""
    nodes = [
        node("Abs", "x", "a"),
        node("Round", "a", "whole"),
        node("Unique", "whole", "u first inverse counts", sorted=0),
        node("Add", "u half", "y"),
        node("Greater", "x zero", "positive"),
        node("ReduceMax", "whole one", "peaks", keepdims=0),
        node("Greater", "peaks half", "large"),
        node("Compress", "x large", "rows", axis=0),
        node("Mul", "rows half", "z"),
    ]
    constants = {"half": floats(0.5)[0], "zero": floats(0)[0], "one": np.int64([1])}
    return serialised(
        graph(
            nodes[:5] + nodes[5:], [("x", FLOAT, ["n", 4])], "y first inverse counts z", **constants
        )
    )


A_FEW: list[Feeds] = [{"x": ROWS}, {"x": -ROWS}, {"x": ROWS[:2]}, {"x": np.zeros((3, 4), "f")}]
MODELS: dict[str, tuple[Callable[[], bytes], list[Feeds]]] = {
    "places": (places, A_FEW),
    "computed shape": (
        computed_shape,
        [{"x": np.full((2, 6), v, np.float32)} for v in (0.25, 3, 4)][1:],
    ),
    "branches": (branches, [{"x": ROWS + 1}, {"x": ROWS - 1}, {"x": ROWS[:1] + 4}]),
    "exchange": (states_are_exchanged, [{"x": ROWS}, {"x": ROWS[:2]}, {"x": ROWS * 9}]),
    "scan": (chosen_in_a_scan, [{"x": ROWS[:3]}, {"x": ROWS[:3, :1]}]),
    "boxes": (boxes, box_feeds()),
    "distinct": (distinct, A_FEW[:3]),
}
"""By name: what makes it, and feeds to run it on, one after another."""
