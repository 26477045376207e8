"""LSTM, GRU and RNN: one matrix product for the inputs of all steps, then one for each step.

Rows of the batch do not meet, so threads share them out and go through all steps on their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backends.cpu.matmul import PART_FLOPS, multiply
from engine.backends.cpu.scratch import scratch
from engine.backends.cpu.unary import Into, function_of
from engine.ir.graph import Node
from engine.ops.recurrent_form import Activation, Form, form_of

if TYPE_CHECKING:
    from engine.backends.cpu.backend import CpuBackend
    from engine.backends.cpu.packed import Function, Views

Array = np.ndarray
STEPS_WORTH_A_COPY = 8
"""With more, R^T is copied into the order that BLAS takes few rows by fastest."""


def _affine(alpha: float, beta: float) -> Into:
    def into(x: Array, out: Array) -> None:
        np.multiply(x, x.dtype.type(alpha), out=out)
        out += out.dtype.type(beta)

    return into


def _scaled_tanh(alpha: float, beta: float) -> Into:
    def into(x: Array, out: Array) -> None:
        np.multiply(x, x.dtype.type(beta), out=out)
        np.tanh(out, out=out)
        out *= out.dtype.type(alpha)

    return into


def _into(activation: Activation) -> Into:
    own = {"Affine": _affine, "ScaledTanh": _scaled_tanh}.get(activation.name)
    if own:
        return own(activation.alpha, activation.beta)
    return function_of(activation.name, {"alpha": activation.alpha, "beta": activation.beta})


@dataclass(frozen=True)
class _Direction:
    """What the steps of one direction need, at the dtype of the arithmetic.

    Attributes:
        sums: (T, B, gates * hidden), inputs times W and the biases, overwritten. turned: R^T.
        late: the bias of a GRU's last gate that is reset with it. peepholes: (3, hidden), or None.
        functions: f, g and h.
    """

    form: Form
    sums: Array
    turned: Array
    late: Array
    peepholes: Array | None
    functions: tuple[Into, ...]

    def act(self, function: Into, x: Array) -> Array:
        """Clip, then the function, in new memory.

        NumPy 2.4's `negative` is wrong in place on floats that lie four elements apart.
        """
        y = np.empty(x.shape, x.dtype)
        if np.isfinite(self.form.clip):
            np.clip(x, -self.form.clip, self.form.clip, out=y)
            x = y
        function(x, y)
        return y

    def add(self, h: Array, sums: Array, first: int, last: int) -> None:
        """sums of some gates += h R^T."""
        n = h.shape[1]
        sums[:, first * n : last * n] += h @ self.turned[:, first * n : last * n]


def _lstm(d: _Direction, sums: Array, h: Array, c: Array) -> tuple[Array, Array]:
    n, (f, g, out) = h.shape[1], d.functions
    d.add(h, sums, 0, 4)
    if d.peepholes is None:
        ifo = d.act(f, sums[:, : 3 * n])
        i, o, forget = ifo[:, :n], ifo[:, n : 2 * n], ifo[:, 2 * n :]
    else:
        i = d.act(f, sums[:, :n] + d.peepholes[0] * c)
        forget = d.act(f, sums[:, 2 * n : 3 * n] + d.peepholes[2] * c)
    if d.form.input_forget:
        forget = 1 - i
    c = forget * c
    c += i * d.act(g, sums[:, 3 * n :])
    if d.peepholes is not None:
        o = d.act(f, sums[:, n : 2 * n] + d.peepholes[1] * c)
    y = np.empty_like(c)
    out(c, y)
    y *= o
    return y, c


def _gru(d: _Direction, sums: Array, h: Array) -> tuple[Array]:
    n, (f, g) = h.shape[1], d.functions
    if d.form.linear_before_reset:
        linear = h @ d.turned
        sums[:, : 2 * n] += linear[:, : 2 * n]
    else:
        d.add(h, sums, 0, 2)
    zr = d.act(f, sums[:, : 2 * n])
    z, r, new = zr[:, :n], zr[:, n:], sums[:, 2 * n :]
    if d.form.linear_before_reset:
        linear[:, 2 * n :] += d.late
        new += r * linear[:, 2 * n :]
    else:
        d.add(r * h, sums, 2, 3)
    y = 1 - z
    y *= d.act(g, new)
    y += z * h
    return (y,)


def _rnn(d: _Direction, sums: Array, h: Array) -> tuple[Array]:
    d.add(h, sums, 0, 1)
    return (d.act(d.functions[0], sums),)


STEPS: dict[str, Callable[..., tuple[Array, ...]]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def _biases(b: Array | None, form: Form, n: int, compute: np.dtype) -> tuple[Array, Array]:
    """What is added to the sums at once, and what a GRU's reset gate meets."""
    if b is None:
        return np.zeros(form.gates * n, compute), np.zeros(n, compute)
    ours, theirs = b.astype(compute, copy=False).reshape(2, form.gates * n)
    late = theirs[2 * n :] if form.linear_before_reset else theirs[:0]
    both = ours.copy()
    both[: both.size - late.size] += theirs[: both.size - late.size]
    return both, late


def _direction(
    backend: CpuBackend, form: Form, inputs: Views, d: int, compute: np.dtype
) -> _Direction:
    """One product for all steps, in the order in which X lies."""
    x, w, r, b, *_, p = inputs
    x, w, r = (a.astype(compute, copy=False) for a in (x, w[d], r[d]))
    n = r.shape[1]
    both, late = _biases(None if b is None else b[d], form, n, compute)
    sums = scratch("recurrent sums", (*x.shape[:2], form.gates * n), compute)
    if x.shape[2]:
        rows = x.shape[0] * x.shape[1]
        multiply(backend.team, x.reshape(rows, x.shape[2]), w.T, sums.reshape(rows, len(w)))
        sums += both
    else:
        sums[...] = both
    sums = sums.swapaxes(0, 1) if form.is_batch_first else sums
    peepholes = None if p is None else p[d].astype(compute, copy=False).reshape(3, n)
    functions = tuple(map(_into, form.activations[d]))
    turned = np.ascontiguousarray(r.T) if len(sums) > STEPS_WORTH_A_COPY else r.T
    return _Direction(form, sums, turned, late, peepholes, functions)


def _run(
    op: str, direction: _Direction, backwards: bool, ends: Array | None, y: Array,
    states: list[Array], start: int, stop: int,
) -> None:  # fmt: skip
    """Every step of some rows of the batch into y (T, B, H); `states` (B, H) become the last."""
    steps, rows = len(y), slice(start, stop)
    now = [s[rows] for s in states]
    runs_of = None if ends is None else (lambda t: (t < ends[rows])[:, None])
    for t in reversed(range(steps)) if backwards else range(steps):
        new = STEPS[op](direction, direction.sums[t, rows], *now)
        if runs_of is None:
            now, y[t, rows] = list(new), new[0]
            continue
        runs = runs_of(t)
        now = [np.where(runs, n, s) for n, s in zip(new, now, strict=True)]
        y[t, rows] = np.where(runs, now[0], 0)
    if not steps:
        now = [np.zeros_like(s) for s in now]
    for state, last in zip(states, now, strict=True):
        state[rows] = last if runs_of is None else np.where(runs_of(0), last, 0)


def _make(backend: CpuBackend, node: Node) -> Function:
    op, form = node.op_type, form_of(node.op_type, node.attributes)
    compute = backend.compute(node.outputs[0].known_type.dtype)

    def run(inputs: Views, outputs: Sequence[Array]) -> None:
        given: list[Any] = [*inputs, *(None,) * (8 - len(inputs))]
        y, *last = outputs
        if form.is_batch_first:
            y, last = y.transpose(1, 2, 0, 3), [s.swapaxes(0, 1) for s in last]
            given[5:7] = [None if s is None else s.swapaxes(0, 1) for s in given[5:7]]
        states = [
            np.zeros(s.shape, compute) if x is None else x.astype(compute)
            for s, x in zip(last, given[5:7], strict=False)
        ]
        for d, backwards in enumerate(form.backwards):
            direction = _direction(backend, form, given, d, compute)
            part = partial(
                _run, op, direction, backwards, given[4], y[:, d], [s[d] for s in states]
            )
            flops = 2 * direction.turned.size
            backend.team.split(y.shape[2], part, PART_FLOPS // max(flops, 1) + 1)
        for target, state in zip(last, states, strict=True):
            target[...] = state

    return run


KERNELS = dict.fromkeys(STEPS, _make)
