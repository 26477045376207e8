"""Drawing calls of recurrent operators, and those that must work or be refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from engine.ir.types import DOUBLE, FLOAT, FLOAT16, INT32
from engine.ops.recurrent_form import DEFAULTS, DIRECTIONS, GATES, TAKES
from engine.ops.spec import Call, Choose, Law, Reject

Array = np.ndarray
HIDDEN = (1, 2, 3, 15, 16, 17, 33)
BATCHES = (1, 2, 3, 4, 5, 8, 9)
STEPS = (1, 2, 3, 5)
WIDE = {"LSTM": (4, 272), "GRU": (4, 304), "RNN": (8, 368)}
"""Batch and hidden units that are worth several work-items for one step: 2^20 products."""


def _draw_activations(choose: Choose, op: str, directions: int) -> dict[str, Any]:
    """The defaults, or any others, with as many alphas and betas as they take, or fewer."""
    if choose.integer(0, 1) == 0:
        return {}
    names = [choose.one_of(tuple(TAKES)) for _ in range(len(DEFAULTS[op]) * directions)]
    given: dict[str, Any] = {"activations": tuple(names)}
    for parameter, values in (("alpha", (0.3, 0.75)), ("beta", (0.125, 0.5))):
        count = sum(parameter in TAKES[name] for name in names)
        if count and (choose.integer(0, 1) or {"Affine", "ScaledTanh"} & {*names}):
            given[f"activation_{parameter}"] = tuple(choose.one_of(values) for _ in range(count))
    return given


def _draw_attributes(choose: Choose, op: str, direction: str) -> dict[str, Any]:
    given = _draw_activations(choose, op, len(DIRECTIONS[direction]))
    if direction != "forward" or choose.integer(0, 1):
        given["direction"] = direction
    if choose.integer(0, 2) == 2:
        given["clip"] = choose.one_of((3.0, 0.3))
    if choose.integer(0, 2) == 2:
        given["layout"] = 1
    switch = {"LSTM": "input_forget", "GRU": "linear_before_reset"}.get(op)
    if switch and choose.integer(0, 1):
        given[switch] = 1
    return given


def example(op: str, choose: Choose) -> Call:
    """Any sizes on both sides of vectors, any attributes, any of the optional inputs."""
    dtype = choose.one_of((FLOAT, FLOAT, FLOAT16, DOUBLE))
    direction = choose.one_of(tuple(DIRECTIONS))
    t, b, i, h = map(choose.one_of, (STEPS, BATCHES, (1, 2, 5, 17, 33), HIDDEN))
    attributes = _draw_attributes(choose, op, direction)
    if choose.integer(0, 2):
        attributes["hidden_size"] = h
    g, d = GATES[op], len(DIRECTIONS[direction])
    first = attributes.get("layout", 0)
    limit = choose.one_of((1.0, 0.25, 3.0))
    state = (b, d, h) if first else (d, b, h)

    def maybe(*shape: int, low: float = -1.0, high: float = 1.0) -> Array | None:
        return choose.tensor(shape, dtype, low, high) if choose.integer(0, 1) else None

    inputs: list[Array | None] = [
        choose.tensor((b, t, i) if first else (t, b, i), dtype),
        choose.tensor((d, g * h, i), dtype, -limit, limit),
        choose.tensor((d, g * h, h), dtype, -limit, limit),
        maybe(d, 2 * g * h, low=-2.0, high=2.0),
        choose.tensor((b,), INT32, 0, t) if choose.integer(0, 1) else None,
        maybe(*state),
    ]
    if op == "LSTM":
        inputs += [maybe(*state, low=-2.0, high=2.0), maybe(d, 3 * h)]
    return Call(tuple(inputs), attributes)


# ------------------------------------------------------------------------- named calls
def call(
    op: str,
    steps: int = 3,
    batch: int = 2,
    features: int = 3,
    hidden: int = 4,
    *,
    dtype: Any = "f4",
    lens: tuple[int, ...] | None = None,
    scale: float = 1.0,
    **attributes: Any,
) -> Call:
    """Every optional input given, `sequence_lens` where asked for; no two elements alike."""
    rng = np.random.default_rng(steps + 7 * batch + 31 * features + 101 * hidden)
    d, g = len(DIRECTIONS[attributes.get("direction", "forward")]), GATES[op]
    first = attributes.get("layout", 0)

    def draw(*shape: int, by: float = 1.0) -> Array:
        return (rng.standard_normal(shape) * by).astype(dtype)

    state = (batch, d, hidden) if first else (d, batch, hidden)
    inputs: list[Array | None] = [
        draw(*((batch, steps, features) if first else (steps, batch, features)), by=scale),
        draw(d, g * hidden, features, by=features**-0.5 if features else 1.0),
        draw(d, g * hidden, hidden, by=hidden**-0.5 if hidden else 1.0),
        draw(d, 2 * g * hidden, by=0.5),
        None if lens is None else np.array(lens, np.int32),
        draw(*state),
    ]
    if op == "LSTM":
        inputs += [draw(*state), draw(d, 3 * hidden, by=0.5)]
    return Call(tuple(inputs), attributes)


def _hard(op: str) -> Call:
    """NaN and infinities in some rows of a batch; the others stay as they are."""
    made = call(op, batch=9, hidden=17, direction="bidirectional")
    x = np.asarray(made.inputs[0])
    x[1, 1, 0], x[0, 3, 1], x[2, 5, 2], x[1, 7, 0] = np.nan, np.inf, -np.inf, 3e38
    return Call((x, *made.inputs[1:]), made.attributes, "hard numbers")


def _bare(op: str) -> Call:
    made = call(op, 2, 5, 7, 33)
    return Call(made.inputs[:3], {"hidden_size": 33})


def _infinite_cell() -> Call:
    """An LSTM without peepholes, whose gates know nothing of its cell."""
    made = _bare("LSTM")
    cell = np.full((1, 5, 33), np.inf, np.float32)
    return Call((*made.inputs, None, None, None, cell), made.attributes)


def _wide(op: str) -> Call:
    batch, hidden = WIDE[op]
    return call(op, 2, batch, 1, hidden, lens=(2, 1, 0, *(2,) * (batch - 3)))


def _by(op: str, name: str) -> Call:
    """Every activation by one function."""
    given: dict[str, Any] = {
        f"activation_{p}": (v,) * len(DEFAULTS[op]) for p, v in (("alpha", 0.3), ("beta", 0.5))
    }
    return call(op, hidden=17, activations=(name,) * len(DEFAULTS[op]), **given)


def _edges(op: str) -> tuple[Callable[[], Call], ...]:
    switch: dict[str, Any] = {"LSTM": {"input_forget": 1}, "GRU": {"linear_before_reset": 1}}.get(
        op, {}
    )
    both: dict[str, Any] = {"direction": "bidirectional"}
    mixed = DEFAULTS[op] + ("ScaledTanh", "LeakyRelu", "Affine")[: len(DEFAULTS[op])]
    numbers: dict[str, Any] = {"activation_alpha": (0.7, 0.2, 1.5), "activation_beta": (1.25, 0.25)}
    return (
        partial(call, op),
        partial(_bare, op),
        partial(_hard, op),
        partial(call, op, 1, 1, 128, 128),
        partial(call, op, 3, 9, 5, 50, lens=(0, 1, 2, 3, 1, 2, 0, 7, -1), **both),
        partial(call, op, 4, 3, 17, 16, lens=(4, 1, 3), layout=1, direction="reverse"),
        partial(call, op, 2, 5, 3, 7, layout=1, clip=0.75, **both, **switch),
        partial(call, op, scale=1000.0, **switch),
        partial(call, op, **both, activations=mixed, **numbers),
        partial(call, op, dtype="f8", **switch),
        partial(call, op, dtype="f2", lens=(2, 3)),
        partial(call, op, 0),
        partial(call, op, batch=0),
        partial(call, op, features=0),
        partial(call, op, hidden=0),
        partial(_wide, op),
        *([_infinite_cell] if op == "LSTM" else []),
        *(partial(_by, op, name) for name in TAKES),
    )


def _with(op: str, index: int, array: Array, **attributes: Any) -> Call:
    inputs = list(call(op).inputs)
    inputs[index] = array
    return Call(tuple(inputs), attributes)


def _rejects(op: str) -> tuple[Reject, ...]:
    g = GATES[op]
    zeros: Callable[..., Array] = partial(np.zeros, dtype="f4")
    given: dict[str, tuple[Callable[[], Call], str]] = {
        "rank": (partial(_with, op, 0, zeros((3, 2))), "expected rank 3"),
        "features": (partial(_with, op, 1, zeros((1, 4 * g, 2))), "W is"),
        "gates": (partial(_with, op, 2, zeros((1, 4 * g + 1, 4))), "R is"),
        "bias": (partial(_with, op, 3, zeros((1, 4 * g))), "B is"),
        "batch": (partial(_with, op, 4, np.zeros(3, "i4")), "sequence_lens is"),
        "lengths": (partial(_with, op, 4, np.zeros(2, "i8")), "expected int32"),
        "state": (partial(_with, op, 5, zeros((2, 2, 4))), "initial_h is"),
        "integers": (partial(_with, op, 0, np.zeros((3, 2, 3), "i4")), "X of dtype int32"),
        "dtypes": (partial(_with, op, 2, np.zeros((1, 4 * g, 4))), "expected float32"),
        "hidden_size": (partial(call, op, hidden_size=5), "hidden_size=5"),
        "direction": (partial(_as, call(op), direction="backward"), "direction='backward'"),
        "layout": (partial(_as, call(op), layout=2), "layout=2"),
        "clip": (partial(call, op, clip=0.0), "clip=0"),
        "count": (partial(call, op, activations=("Tanh",) * 5), "activations="),
        "Cos": (partial(call, op, activations=("Cos",) * len(DEFAULTS[op])), "'Cos' is not"),
        "Affine": (
            partial(call, op, activations=("Affine",) * len(DEFAULTS[op])),
            "Affine has no default, expected activation_alpha",
        ),
    }
    return tuple(Reject(name, made, match) for name, (made, match) in given.items())


def _as(made: Call, **attributes: Any) -> Call:
    return Call(made.inputs, attributes)


def _turned(made: Call) -> Call | None:
    """One direction without lengths, from the other end of time."""
    direction = made.attributes.get("direction", "forward")
    if direction == "bidirectional" or (len(made.inputs) > 4 and made.inputs[4] is not None):
        return None
    x = np.flip(np.asarray(made.inputs[0]), made.attributes.get("layout", 0)).copy()
    turned = {"forward": "reverse", "reverse": "forward"}[direction]
    return Call((x, *made.inputs[1:]), {**made.attributes, "direction": turned})


def _turned_back(made: Call, y: Array) -> Array:
    """Y has four axes, states have three."""
    return np.flip(y, made.attributes.get("layout", 0)) if y.ndim == 4 else y


EDGES = {op: _edges(op) for op in GATES}
REJECTS = {op: _rejects(op) for op in GATES}
LAWS = (Law("time turned, and the direction", _turned, _turned_back),)
