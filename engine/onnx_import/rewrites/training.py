"""Optimisers of the domain ai.onnx.preview.training, by the arithmetic that their texts define.

Source: https://onnx.ai/onnx/operators/index_preview_training.html. Inputs: the learning rate R, the
count of updates T, then all tensors X, all gradients G, and all states (V, H) in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.errors import ModelError, UnsupportedError
from engine.ir.graph import Value
from engine.onnx_import.form import Emitter, Form
from engine.onnx_import.rewrites.steps import Steps
from engine.ops.cast import NUMBERS


@dataclass
class Sums:
    """Arithmetic at the dtype of one tensor."""

    steps: Steps
    x: Value
    known: dict[float, Value] = field(default_factory=dict)

    def number(self, number: float) -> Value:
        """A constant."""
        if number not in self.known:
            self.known[number] = self.steps.like("number", number, self.x)
        return self.known[number]

    def of(self, op_type: str, a: Value | float, b: Value | float) -> Value:
        """A node of two inputs."""
        a, b = (v if isinstance(v, Value) else self.number(v) for v in (a, b))
        return self.steps.of(op_type, a, b)

    def as_x(self, value: Value) -> Value:
        """Another dtype cast to that of the tensor."""
        dtype = self.steps.emitter.dtype(self.x)
        if dtype is None:
            raise UnsupportedError(
                f"{self.steps.form.title}: the dtype of its tensors is not known at import"
            )
        is_same = self.steps.emitter.dtype(value) == dtype
        return value if is_same else self.steps.cast(value, NUMBERS[dtype])

    def regularised(self, gradient: Value, norm: float) -> Value:
        """norm X + G."""
        return self.of("Add", self.of("Mul", norm, self.x), gradient) if norm else gradient

    def averaged(self, share: float, old: Value, new: Value) -> Value:
        """share old + (1 - share) new."""
        return self.of("Add", self.of("Mul", share, old), self.of("Mul", 1 - share, new))

    def where_begun(self, count: Value, then: Value, otherwise: Value | float) -> Value:
        """T > 0 ? then : otherwise."""
        other = otherwise if isinstance(otherwise, Value) else self.number(otherwise)
        return self.steps.of("Where", self.of("Greater", count, 0.0), then, other)


Update = Callable[[Form, Sums, Value, Value, Sequence[Value]], Sequence[Value]]
"""`update(form, sums, R, T, (G, states...))`: the new X and the new states."""


def _adam(
    form: Form, s: Sums, rate: Value, count: Value, given: Sequence[Value]
) -> Sequence[Value]:
    gradient, v, h = given
    alpha, beta = form.value("alpha"), form.value("beta")
    g = s.regularised(gradient, form.value("norm_coefficient"))
    v = s.averaged(alpha, v, g)
    h = s.averaged(beta, h, s.of("Mul", g, g))
    root = s.of("Add", s.steps.of("Sqrt", h), form.value("epsilon"))
    grown = s.steps.of("Sqrt", s.of("Sub", 1.0, s.of("Pow", beta, count)))
    shrunk = s.of("Sub", 1.0, s.of("Pow", alpha, count))
    adjusted = s.of("Div", s.of("Mul", rate, grown), shrunk)
    adjusted = s.where_begun(count, adjusted, rate)
    x = s.of("Sub", s.x, s.of("Mul", adjusted, s.of("Div", v, root)))
    post = form.value("norm_coefficient_post")
    return (s.of("Mul", 1 - post, x) if post else x), v, h


def _adagrad(
    form: Form, s: Sums, rate: Value, count: Value, given: Sequence[Value]
) -> Sequence[Value]:
    gradient, h = given
    decayed = s.of("Add", s.of("Mul", count, form.value("decay_factor")), 1.0)
    g = s.regularised(gradient, form.value("norm_coefficient"))
    h = s.of("Add", h, s.of("Mul", g, g))
    root = s.of("Add", s.steps.of("Sqrt", h), form.value("epsilon"))
    step = s.of("Div", s.of("Mul", s.of("Div", rate, decayed), g), root)
    return s.of("Sub", s.x, step), h


def _momentum(
    form: Form, s: Sums, rate: Value, count: Value, given: Sequence[Value]
) -> Sequence[Value]:
    gradient, v = given
    mode, alpha = form.value("mode"), form.value("alpha")
    if mode not in ("standard", "nesterov"):
        raise ModelError(f"{form.title}: mode={mode!r}, expected standard or nesterov")
    g = s.regularised(gradient, form.value("norm_coefficient"))
    beta = s.where_begun(count, s.number(form.value("beta")), 1.0)
    v = s.of("Add", s.of("Mul", alpha, v), s.of("Mul", beta, g))
    direction = v if mode == "standard" else s.of("Add", g, s.of("Mul", alpha, v))
    return s.of("Sub", s.x, s.of("Mul", rate, direction)), v


def _optimiser(update: Update, kinds: int) -> Callable[[Form, Emitter], None]:
    """kinds: how many tensors belong together: X, G and the states."""

    def rewrite(form: Form, emitter: Emitter) -> None:
        rate, count, *tensors = form.inputs
        n, rest = divmod(len(tensors), kinds)
        if rest or not n or len(form.outputs) > n * (kinds - 1) or None in form.inputs:
            raise ModelError(
                f"{form.title}: {len(form.inputs)} inputs and {len(form.outputs)} outputs, "
                f"expected 2 and {kinds} for each tensor, and {kinds - 1} of these"
            )
        names = form.outputs + [""] * (n * (kinds - 1) - len(form.outputs))
        made: dict[str, Value] = {}
        for i in range(n):
            x, *given = (v for v in tensors[i::n] if v is not None)
            s = Sums(Steps(form, emitter), x)
            assert rate is not None
            assert count is not None
            new = update(form, s, s.as_x(rate), s.as_x(count), given)
            made |= dict(zip(names[i::n], new, strict=True))
        first, *others = (name for name in names if name)
        for name in others:
            emitter.emit("Identity", [made[name]], {}, name)
        form.op_type, form.inputs, form.outputs = "Identity", [made[first]], [first]
        form.attributes = {}

    return rewrite


adam = _optimiser(_adam, 4)
adagrad = _optimiser(_adagrad, 3)
momentum = _optimiser(_momentum, 3)
