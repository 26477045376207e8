"""LSTM, GRU and RNN: states that are handed from time step to time step.

Source: https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html, onnx__RNN.html.

What their text leaves open is read as onnxruntime has it: `clip` bounds what the activations f and
g take, not what h takes; with `input_forget` the forget gate is 1 minus the input gate; a sequence
of no steps leaves states of 0. Lengths beyond the number of steps count as that, and negative ones
as 0. Half is accumulated, and states are kept, in float (`reduce.accumulated`): no kernel rounds a
state to storage before it is an output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from engine.errors import ShapeError
from engine.ir.types import FLOATS, INT32, TensorType
from engine.ops.numerics import Error, Units, quadrature, rounded
from engine.ops.operands import check_dtype, input_at
from engine.ops.recurrent_draw import EDGES, LAWS, REJECTS, example
from engine.ops.recurrent_form import Activation, Form, form_of
from engine.ops.reduce import accumulated
from engine.ops.running import Arithmetic, Doubles, Function, Running, RunningErrors
from engine.ops.spec import Arrays, Attributes, Operand, OpSpec

Array = np.ndarray
NAMES = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
PEEPHOLES = 3


@dataclass(frozen=True)
class Extents:
    """Of one call: time steps, batch, features of X, hidden units, directions."""

    steps: int
    batch: int
    features: int
    hidden: int
    directions: int

    def shapes(self, form: Form) -> tuple[tuple[int, ...], ...]:
        """Of X, W, R, B, sequence_lens, the states and P, as ONNX has them."""
        t, b, i, h, d = self.steps, self.batch, self.features, self.hidden, self.directions
        g, first = form.gates, form.is_batch_first
        state = (b, d, h) if first else (d, b, h)
        x = (b, t, i) if first else (t, b, i)
        weights = (d, g * h, i), (d, g * h, h), (d, 2 * g * h)
        return x, *weights, (b,), state, state, (d, PEEPHOLES * h)


def extents_of(op: str, inputs: Sequence[TensorType | None], form: Form) -> Extents:
    """From the shapes of X, W and R."""
    x, w, r = (_required(op, inputs, k) for k in range(3))
    for name, given in zip(NAMES, (x, w, r), strict=False):
        if len(given.dims) != 3:
            raise ShapeError(f"{op}: {name} is {given}, expected rank 3")
    steps, batch = x.dims[1::-1] if form.is_batch_first else x.dims[:2]
    return Extents(steps, batch, x.dims[2], r.dims[2], len(form.backwards))


def _required(op: str, inputs: Sequence[TensorType | None], index: int) -> TensorType:
    given = inputs[index] if index < len(inputs) else None
    if given is None:
        raise ShapeError(f"{op}: input {index} ({NAMES[index]}) is missing")
    return given


def _infer(op: str, inputs: Sequence[Operand | None], a: Attributes) -> tuple[TensorType, ...]:
    form = form_of(op, a)
    types = [None if given is None else given.type for given in inputs]
    e = extents_of(op, types, form)
    dtype = _required(op, types, 0).dtype
    check_dtype(op, dtype, FLOATS, "X")
    for name, given, shape in zip(NAMES, types, e.shapes(form), strict=False):
        if given is None:
            continue
        if given.dims != shape:
            raise ShapeError(f"{op}: {name} is {given}, expected shape {shape}")
        expected = INT32 if name == "sequence_lens" else dtype
        if given.dtype != expected:
            raise ShapeError(f"{op}: {name} is {given}, expected {expected.name}")
    hidden = int(a.get("hidden_size", e.hidden))
    if hidden != e.hidden:
        raise ShapeError(f"{op}: hidden_size={hidden}, but R has {e.hidden} hidden units")
    state = TensorType(dtype, e.shapes(form)[5])
    every = (e.steps, e.directions, e.batch, e.hidden)
    if form.is_batch_first:
        every = (e.batch, e.steps, e.directions, e.hidden)
    return TensorType(dtype, every), *(state,) * form.states


# ------------------------------------------------------------------------- reference
@dataclass(frozen=True)
class _Cell:
    """One direction of one call: weights (gates, hidden, ...), biases and, if any, peepholes."""

    form: Form
    activations: tuple[Activation, ...]
    w: Array
    r: Array
    bias_w: Array
    bias_r: Array
    peepholes: Array | None
    m: Arithmetic

    def gate(self, k: int, x: Any, h: Any, activation: Activation, *peephole: Any) -> Any:
        """activation(x W_k^T + h R_k^T + both biases + peephole)."""
        products = [(x, self.w[k]), (h, self.r[k]), *peephole]
        return self.activated(activation, self.m.sum(products, [self.bias_w[k], self.bias_r[k]]))

    def peephole(self, k: int, c: Any) -> list[Any]:
        """What a gate adds of the cell: the k-th product, or none (0 times infinity is NaN)."""
        return [] if self.peepholes is None else [(c, self.peepholes[k])]

    def activated(self, activation: Activation, x: Any) -> Any:
        """activation(clip(x))."""
        if np.isfinite(self.form.clip):
            clip = partial(np.clip, a_min=-self.form.clip, a_max=self.form.clip)
            x = self.m.apply(Function(clip, None, 1.0), x)
        return self.m.apply(activation.function, x)


def _lstm(cell: _Cell, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """Gates i, o, f, c of ONNX; peepholes i, o, f."""
    f, g, out = cell.activations
    i = cell.gate(0, x, h, f, *cell.peephole(0, c))
    forget = 1.0 - i if cell.form.input_forget else cell.gate(2, x, h, f, *cell.peephole(2, c))
    c = forget * c + i * cell.gate(3, x, h, g)
    o = cell.gate(1, x, h, f, *cell.peephole(1, c))
    return o * cell.m.apply(out.function, c), c


def _gru(cell: _Cell, x: Any, h: Any) -> tuple[Any]:
    """Gates z, r, h of ONNX."""
    f, g = cell.activations
    z, r = cell.gate(0, x, h, f), cell.gate(1, x, h, f)
    if cell.form.linear_before_reset:
        linear = cell.m.sum([(h, cell.r[2])], [cell.bias_r[2]])
        new = cell.activated(g, cell.m.sum([(x, cell.w[2])], [cell.bias_w[2]]) + r * linear)
    else:
        new = cell.gate(2, x, r * h, g)
    return ((1.0 - z) * new + z * h,)


def _rnn(cell: _Cell, x: Any, h: Any) -> tuple[Any]:
    return (cell.gate(0, x, h, cell.activations[0]),)


STEPS: dict[str, Callable[..., tuple[Any, ...]]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
"""Operator -> the states after one step, from those before it."""


def evaluate(op: str, inputs: Arrays, a: Attributes, m: Arithmetic) -> list[list[Any]]:
    """For each direction: H at every time, then the last states; numbers as `m` has them."""
    form = form_of(op, a)
    x = np.asarray(inputs[0])
    x = x.swapaxes(0, 1) if form.is_batch_first else x
    steps, batch = x.shape[:2]
    lens = input_at(inputs, 4)
    ends = np.full(batch, steps) if lens is None else np.clip(lens, 0, steps)
    zeros = np.zeros((batch, np.asarray(inputs[2]).shape[-1]))
    results = []
    with np.errstate(all="ignore"):
        for d, backwards in enumerate(form.backwards):
            cell, states = _cell(form, inputs, d, m), _initial(form, inputs, d, zeros, m)
            every: list[Any] = [None] * steps
            for t in reversed(range(steps)) if backwards else range(steps):
                runs = (t < ends)[:, None]
                new = STEPS[op](cell, m.start(x[t]), *states)
                states = [m.choose(runs, n, s) for n, s in zip(new, states, strict=True)]
                every[t] = m.choose(runs, states[0], m.start(zeros))
            last = [m.choose((ends > 0)[:, None], s, m.start(zeros)) for s in states]
            results.append([every, *last])
    return results


def _cell(form: Form, inputs: Arrays, d: int, m: Arithmetic) -> _Cell:
    w, r = np.asarray(inputs[1])[d], np.asarray(inputs[2])[d]
    g, h = form.gates, r.shape[-1]
    b, p = input_at(inputs, 3), input_at(inputs, 7)
    ours, theirs = np.zeros((2, g, h)) if b is None else b[d].reshape(2, g, h)
    peepholes = None if p is None else p[d].reshape(PEEPHOLES, h)
    w, r = w.reshape(g, h, w.shape[-1]), r.reshape(g, h, h)
    return _Cell(form, form.activations[d], w, r, ours, theirs, peepholes, m)


def _initial(form: Form, inputs: Arrays, d: int, zeros: Array, m: Arithmetic) -> list[Any]:
    given = [input_at(inputs, 5 + k) for k in range(form.states)]
    along = 1 if form.is_batch_first else 0
    return [m.start(zeros if s is None else np.take(s, d, along)) for s in given]


def _outputs(form: Form, results: list[list[Any]], shape: tuple[int, ...]) -> tuple[Array, ...]:
    """Y (T, D, B, H) of an array per time and direction, and the states (D, B, H)."""
    hs = [np.stack(every) if every else np.zeros(shape) for every, *_ in results]
    y, states = np.stack(hs, 1), [np.stack(s) for s in list(zip(*results, strict=True))[1:]]
    if form.is_batch_first:
        return y.transpose(2, 0, 1, 3), *(s.swapaxes(0, 1) for s in states)
    return y, *states


def _shape(op: str, inputs: Arrays, form: Form) -> tuple[int, ...]:
    """Of what a direction gives: time, batch, hidden."""
    x, hidden = np.asarray(inputs[0]), np.asarray(inputs[2]).shape[-1]
    return (*(x.shape[1::-1] if form.is_batch_first else x.shape[:2]), hidden)


def _reference(op: str, inputs: Arrays, a: Attributes) -> tuple[Array, ...]:
    form = form_of(op, a)
    return _outputs(form, evaluate(op, inputs, a, Doubles()), _shape(op, inputs, form))


def _error(op: str, inputs: Arrays, a: Attributes, units: Units) -> tuple[Error, ...]:
    """Running error analysis of the formulas (engine/ops/running.py), and one rounding to storage.

    A gate is one sum of products, whatever its order, of features + hidden units + 3 terms.
    """
    form, units = form_of(op, a), accumulated(units)
    results = evaluate(op, inputs, a, RunningErrors(units))
    shape = _shape(op, inputs, form)

    def part(name: str) -> tuple[Array, ...]:
        def of(x: Running | list[Running]) -> Any:
            return [of(e) for e in x] if isinstance(x, list) else getattr(x, name)

        return _outputs(form, [of(r) for r in results], shape)

    stored, grown = (rounded(y, units, roundings=0) for y in part("value")), 1 + units.u_storage
    return tuple(
        Error(quadrature(own.sigma, grown * sigma), own.bound + grown * bound)
        for own, sigma, bound in zip(stored, part("sigma"), part("bound"), strict=True)
    )


def _flops(
    op: str, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType], a: Attributes
) -> int:
    """Two per weight and row."""
    e = extents_of(op, inputs, form := form_of(op, a))
    return 2 * outputs[0].size * form.gates * (e.features + e.hidden)


_READ = ("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size")
_MORE = {"LSTM": ("input_forget",), "GRU": ("linear_before_reset",), "RNN": ()}

SPECS: tuple[OpSpec, ...] = tuple(
    OpSpec(
        op,
        (3, 8 if op == "LSTM" else 6),
        partial(_infer, op),
        partial(_reference, op),
        partial(_error, op),
        partial(example, op),
        all_outputs=True,
        edges=EDGES[op],
        rejects=REJECTS[op],
        laws=LAWS,
        flops=partial(_flops, op),
        reads=(*_READ, *_MORE[op], "layout"),
    )
    for op in STEPS
)
