"""Attributes of recurrent operators: directions, layout, activations and what they take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from engine.errors import ShapeError, UnsupportedError
from engine.ops import unary
from engine.ops.numerics import Units
from engine.ops.running import Function
from engine.ops.spec import Attributes

Array = np.ndarray
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Operator -> gates: rows of W and R per hidden unit."""
STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}
"""Operator -> states that are handed from step to step: H, and the C of an LSTM."""
DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
"""Operator -> activations of one direction, in the order of ONNX's f, g and h."""
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""Attribute `direction` -> for each direction, whether it begins at the end."""
TAKES: dict[str, dict[str, float | None]] = {
    "Relu": {},
    "Tanh": {},
    "Sigmoid": {},
    "Softsign": {},
    "Softplus": {},
    "LeakyRelu": {"alpha": 0.01},
    "ThresholdedRelu": {"alpha": 1.0},
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "Affine": {"alpha": None, "beta": None},
    "ScaledTanh": {"alpha": None, "beta": None},
}
"""Activation -> what it takes of activation_alpha and activation_beta, and the defaults."""


@dataclass(frozen=True)
class Activation:
    """A name of TAKES and its parameters, 0 where it takes none."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def function(self) -> Function:
        """With its error and its slope."""
        return _function(self)


@dataclass(frozen=True)
class Form:
    """What the attributes of a node say.

    Attributes:
        gates: rows of W and R per hidden unit. states: H, and C.
        backwards: for each direction, whether it begins at the end.
        is_batch_first: axes of X and Y are batch, time (layout=1), and states begin with batch.
        clip: infinite where there is none.
        activations: of each direction.
    """

    gates: int
    states: int
    backwards: tuple[bool, ...]
    is_batch_first: bool
    clip: float
    input_forget: bool
    linear_before_reset: bool
    activations: tuple[tuple[Activation, ...], ...]


def form_of(op: str, attributes: Attributes, title: str = "") -> Form:
    """The attributes with their defaults; raises ShapeError and UnsupportedError.

    Args:
        title: of the node, for what is raised.
    """
    who = title or op
    direction = attributes.get("direction", "forward")
    if direction not in DIRECTIONS:
        raise ShapeError(f"{who}: direction={direction!r}, expected one of {', '.join(DIRECTIONS)}")
    layout = int(attributes.get("layout", 0))
    if layout not in (0, 1):
        raise ShapeError(f"{who}: layout={layout}, expected 0 or 1")
    clip = float(np.float32(attributes.get("clip", math.inf)))
    if not clip > 0:
        raise ShapeError(f"{who}: clip={clip}, expected a threshold above 0")
    return Form(
        GATES[op],
        STATES[op],
        DIRECTIONS[direction],
        bool(layout),
        clip,
        op == "LSTM" and bool(attributes.get("input_forget", 0)),
        op == "GRU" and bool(attributes.get("linear_before_reset", 0)),
        _activations(op, who, attributes, len(DIRECTIONS[direction])),
    )


def _activations(
    op: str, who: str, attributes: Attributes, directions: int
) -> tuple[tuple[Activation, ...], ...]:
    """Each takes the next numbers of activation_alpha and activation_beta that it needs."""
    each = len(DEFAULTS[op])
    names = tuple(attributes.get("activations") or DEFAULTS[op] * directions)
    if op == "RNN" and directions == 1 and len(names) == 2:
        names = names[:1]  # ONNX's default has two, whatever the direction
    if len(names) != each * directions:
        raise ShapeError(
            f"{who}: activations={list(names)}, expected {each} for each of {directions} directions"
        )
    left = {k: list(attributes.get(f"activation_{k}") or ()) for k in ("alpha", "beta")}
    found = [_activation(who, name, left) for name in names]
    return tuple(tuple(found[d * each : (d + 1) * each]) for d in range(directions))


def _activation(who: str, name: str, left: dict[str, list[float]]) -> Activation:
    if name not in TAKES:
        raise UnsupportedError(
            f"{who}: activation {name!r} is not supported, only {', '.join(TAKES)}"
        )
    taken: dict[str, float] = {}
    for parameter, default in TAKES[name].items():
        value = left[parameter].pop(0) if left[parameter] else default
        if value is None:
            raise ShapeError(f"{who}: {name} has no default, expected activation_{parameter}")
        if not math.isfinite(value):
            raise ShapeError(f"{who}: activation_{parameter}={value}, expected a finite number")
        taken[parameter] = float(np.float32(value))
    return Activation(name, **taken)


def _function(a: Activation) -> Function:
    alpha, beta = a.alpha, a.beta
    if a.name == "Affine":
        return Function(lambda x: alpha * x + beta, partial(_affine_magnitude, a), abs(alpha))
    if a.name == "ScaledTanh":
        scaled = partial(_scaled_tanh_magnitude, a)
        return Function(lambda x: alpha * np.tanh(beta * x), scaled, abs(alpha * beta))
    known = next(f for f in unary.FUNCTIONS if f.op_type == a.name)
    given = {k: getattr(a, k) for k in TAKES[a.name]}
    magnitude = known.magnitude and partial(known.magnitude, **given)
    slopes = {
        "Sigmoid": 0.25,
        "LeakyRelu": max(1, abs(alpha)),
        "Elu": max(1, abs(alpha)),
        "HardSigmoid": abs(alpha),
        "ThresholdedRelu": math.inf,
    }
    kinks = {"LeakyRelu": (0.0,), "Elu": (0.0,), "ThresholdedRelu": (alpha,)}
    of = partial(known.function, **given)
    return Function(of, magnitude, slopes.get(a.name, 1.0), kinks.get(a.name, ()))


def _affine_magnitude(a: Activation, x: Array, y: Array, units: Units) -> Array:
    """The product and the sum."""
    return np.asarray(abs(a.alpha * x) + abs(y))


def _scaled_tanh_magnitude(a: Activation, x: Array, y: Array, units: Units) -> Array:
    """The product beta x, whose error reaches |alpha| (1 - tanh^2); tanh's row, the product."""
    t = np.tanh(a.beta * x)
    reached = np.where(np.isfinite(x), abs(a.alpha * a.beta * x) * (1 - t * t), 0.0)
    return np.asarray(reached + (2 * units.ulps("tanh") + 1) * abs(y))
