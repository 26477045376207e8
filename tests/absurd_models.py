"""Small files with numbers that no tensor can bear: as attributes, as constants, as dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx

from tests.control_flow_models import COUNTING, FLOAT, INT, graph
from tests.model_writing import model, model_bytes, node

FAR, LOW, HUGE = 2**63 - 1, -(2**63), 2**62
IMAGE, MATRIX = {"x": (1, 1, 4, 4)}, {"x": (2, 3)}
Case = tuple[str, bytes]
RUN = frozenset(("Trilu", "LRN", "one position", "one tap", "wide pool", "slice", "doubled 12"))
"""How the names of those begin that can be run all the same; all others are refused."""


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def one(
    op_type: str,
    *constants: np.ndarray | None,
    inputs: dict[str, Sequence[int]] | None = None,
    outputs: str = "y",
    opset: int = 21,
    **attributes: object,
) -> bytes:
    """A model of one node, whose first input is x and all others constants."""
    names = ["-" if c is None else f"c{i}" for i, c in enumerate(constants)]
    nodes = [node(op_type, " ".join(["x", *names]), outputs, **attributes)]
    known = {n: c for n, c in zip(names, constants, strict=True) if c is not None}
    return model_bytes(nodes, inputs or MATRIX, outputs.split(), known, opset=opset)


def initialised(dims: Sequence[int]) -> bytes:
    data = model([node("Identity", "w", "y")], {"x": (1,)}, ["y"], {"w": floats(1)})
    (tensor,) = data.graph.initializer
    del tensor.dims[:]
    tensor.dims.extend(dims)
    tensor.raw_data = b""
    return bytes(data.SerializeToString())


def constants_only(op_type: str, *constants: np.ndarray, **attributes: object) -> bytes:
    """A node that reads no input of the model."""
    names = [f"c{i}" for i in range(len(constants))]
    known = dict(zip(names, constants, strict=True))
    nodes = [node(op_type, " ".join(names), "y", **attributes)]
    return model_bytes(nodes, {"x": (1,)}, ["y"], known, opset=13)


def doubled(times: int) -> bytes:
    """Each result is the last one twice."""
    nodes = [node("Concat", f"t{i} t{i}", f"t{i + 1}", axis=0) for i in range(times)]
    return model_bytes(nodes, {"x": (1,)}, [f"t{times}"], {"t0": floats(*range(6))})


def shapes() -> Iterator[Case]:
    yield (
        "ranks",
        model_bytes([node("Concat", "x v", "y", axis=1)], MATRIX, ["y"], {"v": floats(1, 2)}),
    )
    for dims in ((0, HUGE), (2**40, 2**40, 0), [1] * 65, [HUGE] * 100_000):
        yield f"initialiser {len(dims)}", initialised(dims)
    for dims in ((0, HUGE), (2**39,), (2**40, 2**40), (1,) * 40):
        yield f"fill {dims[:2]}", constants_only("ConstantOfShape", ints(*dims))
    yield "33 axes", model_bytes([node("Add", "x x", "y")], {"x": [1] * 33}, ["y"])
    yield "100 axes", one("Unsqueeze", ints(*range(100)))
    yield "many axes", one("Unsqueeze", ints(*range(10**5)))
    yield "reshape", one("Reshape", ints(*[HUGE] * 10**5))
    yield "reshape 0", one("Reshape", ints(0, HUGE), inputs={"x": (0, 3)}, allowzero=1)
    for count in (HUGE, 2**39, -1):
        yield f"tile {count}", one("Tile", ints(count, 1))
        yield f"expand {count}", one("Expand", ints(count, 2, 3))
        hot = ints(1, 2), ints(count), floats(0, 1)
        yield f"one hot {count}", constants_only("OneHot", *hot)
    for width in (HUGE, 2**39, LOW):
        yield f"pad {width}", one("Pad", ints(width, 0, 0, 0))
        yield f"pad edge {width}", one("Pad", ints(0, 0, 0, width), mode="edge")
    for start, limit, delta in ((0, HUGE, 1), (0, -HUGE, -1), (LOW, FAR, 1)):
        values = (np.array(v) for v in (start, limit, delta))
        yield f"range {limit}", constants_only("Range", *values)
    for limit, step in ((3e38, 1e-38), (np.inf, 1), (np.nan, 1), (3e38, 1)):
        values = (np.array(v, np.float32) for v in (0, limit, step))
        yield f"range {limit} {step}", constants_only("Range", *values)
    for times in (12, 45):
        yield f"doubled {times}", doubled(times)


def windows() -> Iterator[Case]:
    w = np.ones((1, 1, 3, 3), np.float32)
    yield "one position Conv", one("Conv", w, inputs=IMAGE, strides=[HUGE, FAR])
    yield "one tap Conv", one("Conv", w[..., :1, :1], inputs=IMAGE, dilations=[HUGE, FAR])
    for name, value in (("dilations", [HUGE, 1]), ("pads", [HUGE, 0, 0, 0]), ("group", HUGE)):
        yield f"Conv {name}", one("Conv", w, inputs=IMAGE, **{name: value})
    far = {"strides": [2**30, 1], "pads": [2**30, 0, 2**30, 2**20]}
    yield "Conv far apart", one("Conv", w, inputs={"x": (1, 1, 4, 2**10)}, **far)
    for name, value in (
        *(("strides", [HUGE, 1]), ("dilations", [HUGE, 1]), ("pads", [HUGE, 0, 0, 0])),
        *(("output_padding", [HUGE, 0]), ("output_shape", [HUGE, 2]), ("group", HUGE)),
    ):
        yield f"ConvTranspose {name}", one("ConvTranspose", w, inputs=IMAGE, **{name: value})
    for op_type in ("MaxPool", "AveragePool"):
        small = {"inputs": {"x": (1, 1, 1, 1)}}
        for k in (10**5, 10**9):
            sizes = {"kernel_shape": [k, 1], "strides": [k, 1], "pads": [k - 1, 0, k - 1, 0]}
            yield f"wide pool {op_type} {k}", one(op_type, **small, **sizes)
        sizes = {"kernel_shape": [HUGE, 1], "pads": [HUGE - 1, 0, HUGE - 1, 0]}
        yield f"{op_type} kernel", one(op_type, **small, **sizes)
        one_each = {"kernel_shape": [2, 2], "strides": [HUGE, FAR]}
        yield f"one position {op_type}", one(op_type, inputs=IMAGE, **one_each)
        one_each = {"kernel_shape": [1, 1], "dilations": [HUGE, FAR]}
        yield f"one tap {op_type}", one(op_type, inputs=IMAGE, **one_each)
    for size in (HUGE, FAR, 10**7):
        yield f"LRN {size}", one("LRN", inputs=IMAGE, size=size)


def resizes() -> Iterator[Case]:
    for scale in (np.nan, np.inf, 1e30, 1e11, -1.0):
        for how in ({}, {"mode": "linear", "antialias": 1}):
            scales = floats(1, 1, scale, 1)
            yield f"scale {scale} {len(how)}", one("Resize", None, scales, inputs=IMAGE, **how)
    for size in (HUGE, 2**39, 2**36, -1):
        sizes = ints(1, 1, size, 4)
        yield f"size {size}", one("Resize", None, None, sizes, inputs=IMAGE, mode="linear")
    crop = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}
    for end in (np.nan, np.inf, -np.inf):
        roi = floats(0, 0, 0, end, 1, 1, 1, 1)
        yield f"roi {end}", one("Resize", roi, floats(1, 1, 2, 2), inputs=IMAGE, **crop)


def numbers() -> Iterator[Case]:
    for v in (HUGE, -HUGE, FAR, LOW):
        yield f"Trilu {v}", one("Trilu", np.array(v))
        yield f"Trilu lower {v}", one("Trilu", np.array(v), upper=0)
        for op_type in ("Flatten", "Softmax", "LogSoftmax", "Concat", "ArgMax"):
            yield f"{op_type} {v}", one(op_type, axis=v)
        for op_type in ("ReduceSum", "ReduceMax", "Squeeze", "Unsqueeze", "CumSum"):
            yield f"{op_type} {v}", one(op_type, ints(v))
        for op_type, constants in (
            *(("Gather", (ints(0),)), ("GatherElements", (ints(0).reshape(1, 1),))),
            *(("OneHot", (ints(3), floats(0, 1))), ("LayerNormalization", (floats(1, 1, 1),))),
        ):
            yield f"{op_type} {v}", one(op_type, *constants, axis=v)
        yield f"batch_dims {v}", one("GatherND", ints(0).reshape(1, 1), batch_dims=v)
        yield f"perm {v}", one("Transpose", perm=[v, 0])
        yield f"to {v}", one("Cast", to=v)
        norm = {"inputs": {"x": (1, 0, 4)}, "num_groups": v}
        yield f"groups {v}", one("GroupNormalization", floats(), floats(), **norm)
        for op_type, dims in (("DepthToSpace", (1, 0, 4, 4)), ("SpaceToDepth", (1, 4, 0, 0))):
            yield f"{op_type} {v}", one(op_type, inputs={"x": dims}, blocksize=v)
    for step in (FAR, LOW, HUGE):
        ends = (LOW, FAR) if step > 0 else (FAR, LOW)
        yield f"slice {step}", one("Slice", *(ints(v) for v in (*ends, 0, step)))
    yield "k twice", one("Trilu", ints(1, 2))
    for count in (10**7, 10**5, 3):
        yield f"parts {count}", one("Split", outputs="y z", num_outputs=count)
    yield "parts listed", one("Split", ints(*[0] * 10**5, 2), outputs="y z")
    yield "parts unread", one("Split", ints(1, 1, 1), outputs="y z", axis=1)


def loops() -> Iterator[Case]:
    """Of 10^12 iterations, known before the run or computed from data, and without end."""
    parts = [node("Not", "go", "n"), node("Not", "n", "on"), node("Neg", "s", "t")]
    state: list[tuple[str, int, Sequence[int] | None]] = [("s", FLOAT, None)]
    body = graph([*parts, node("Neg", "t", "e")], [*COUNTING, *state], "on t e")
    counted = [node("Mul", "x far", "f"), node("ReduceMax", "f", "c"), node("Floor", "c", "d")]
    counted.append(node("Cast", "d", "computed", to=INT))
    known = {"known": np.array(10**12), "yes": np.array(True), "far": floats(1e12)}
    for trips in ("known", "computed", "-"):
        nodes = [*counted, node("Loop", f"{trips} yes x", "y z", body=body)]
        yield f"loop {trips}", model_bytes(nodes, MATRIX, ["y", "z"], known, opset=18)


def absurd() -> dict[str, bytes]:
    """All of them."""
    cases = [*shapes(), *windows(), *resizes(), *numbers(), *loops()]
    assert len({name for name, _ in cases}) == len(cases)
    return dict(cases)


def external(location: str) -> bytes:
    """A model whose weight lies elsewhere."""
    data = model([node("Identity", "w", "y")], {"x": (1,)}, ["y"], {"w": floats(1)})
    (tensor,) = data.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return bytes(data.SerializeToString())
