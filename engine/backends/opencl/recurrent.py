"""LSTM, GRU and RNN: the inputs of all steps at once, then the steps, in one launch or in many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backends.opencl.commands import in_order
from engine.backends.opencl.reduce import accumulating_options, accumulator_dtype
from engine.backends.opencl.strides import ints, longs
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ir.types import TensorType
from engine.ops.recurrent import Extents, extents_of
from engine.ops.recurrent_form import GATES, Form, form_of

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

UNITS = 16
"""Hidden units per block, as in kernels/recurrent.cl."""
ROWS = {4: 4, 3: 4, 1: 8}
"""Gates -> rows of a batch per work-item, as there."""
LAUNCH_PRODUCTS = 1 << 20
"""Products of a step that are worth a launch: with fewer, one work-item takes all of its rows."""
PLANES = {4: 3, 3: 4, 1: 2}
"""Gates -> planes of states: H twice; C; z and r H."""
KINDS = (
    *("Relu", "Tanh", "Sigmoid", "Softsign", "Softplus", "LeakyRelu", "ThresholdedRelu"),
    *("Elu", "HardSigmoid", "Affine", "ScaledTanh"),
)
"""In the order of the numbers of kernels/recurrent.cl."""
FLAGS = {3: 1, 4: 2, 5: 4, 6: 8, 7: 16}
"""Optional input -> its bit."""
INPUT_FORGET, LINEAR_BEFORE_RESET, REVERSE = 32, 64, 128


def packed(weights: np.ndarray, gates: int) -> np.ndarray:
    """(directions, gates * hidden, K) as [direction][block][K][gate][UNITS], zero-filled."""
    d, rows, k = weights.shape
    n, blocks = rows // gates, -(-rows // gates // UNITS)
    whole = np.zeros((d, gates, blocks * UNITS, k), weights.dtype)
    whole[:, :, :n] = weights.reshape(d, gates, n, k)
    return whole.reshape(d, gates, blocks, UNITS, k).transpose(0, 2, 4, 1, 3)


@dataclass(frozen=True)
class _Job:
    """What all launches of one node share."""

    backend: OpenCLBackend
    program: Any
    form: Form
    extents: Extents
    inputs: Sequence[Slot | None]
    outputs: Sequence[Slot]
    compute: np.dtype

    @property
    def blocks(self) -> int:
        """Of UNITS hidden units."""
        return -(-self.extents.hidden // UNITS)

    def scratch(self, size: int, dtype: np.dtype) -> Slot:
        """Memory of its own."""
        arena = self.backend.allocate(size * dtype.itemsize)
        return Slot(arena, 0, TensorType(dtype, (size,)), dtype)

    def given(self, index: int) -> Slot:
        """An optional input, or anything where it is omitted."""
        return self.inputs[index] or self.outputs[0]

    @property
    def sizes(self) -> tuple[Any, Any]:
        """The vectors `size` and `strides` of kernels/recurrent.cl."""
        e, form = self.extents, self.form
        flags = sum(bit for i, bit in FLAGS.items() if self.inputs[i] is not None)
        flags += INPUT_FORGET * form.input_forget + LINEAR_BEFORE_RESET * form.linear_before_reset
        flags += REVERSE * form.backwards[0]
        t, b, h, d = e.steps, e.batch, e.hidden, e.directions
        y, state, x = (d * b * h, b * h, h), (b * h, h), (b, 1)
        if form.is_batch_first:
            y, state, x = (d * h, h, t * d * h), (h, d * h), (1, t)
        size = ints(t, b, e.features, h, self.blocks, d, flags, PLANES[form.gates])
        return size, longs(*y, *state, *x, t * b)

    def weights(self, slot: Slot, depth: int) -> tuple[Slot, list[Command]]:
        """Weights that the model computes, packed at each run."""
        e = self.extents
        size = e.directions * self.blocks * depth * self.form.gates * UNITS
        arena = self.backend.allocate(size * slot.storage.itemsize)
        into = Slot(arena, 0, TensorType(slot.type.dtype, (size,)), slot.storage)
        grid, sizes = (self.blocks, e.directions), map(np.int32, (e.hidden, depth))
        return into, [self.backend.command(self.program, "pack", grid, (1, 1), slot, into, *sizes)]

    def project(self, w: Slot, sums: Slot, planes: Slot) -> Command:
        """The inputs of all steps."""
        e = self.extents
        grid = (-(-e.steps * e.batch // ROWS[self.form.gates]), self.blocks, e.directions)
        given = (self.inputs[0], w, *map(self.given, (3, 5, 6)))
        return self.backend.command(
            self.program, "project", grid, (1, 1, 1), *given, sums, planes, *self.sizes
        )

    def recur(self, r: Slot, sums: Slot, planes: Slot) -> list[Command]:
        """All steps in one launch, or one each, or two where a GRU resets before its product."""
        e, form = self.extents, self.form
        items = -(-e.batch // ROWS[form.gates]) * e.directions
        products = min(e.batch, ROWS[form.gates]) * form.gates * e.hidden**2
        units = self.backend.info.compute_units
        parts = min(self.blocks, max(1, units // max(items, 1)))
        launch = partial(self._launch, r, sums, planes)
        if products < LAUNCH_PRODUCTS or parts == 1 or not e.steps:
            return [launch(0, e.steps, self.blocks, 3)]
        per = -(-self.blocks // parts)
        return [launch(s, s + 1, per, phase) for s in range(e.steps) for phase in _phases(form)]

    def _launch(
        self, r: Slot, sums: Slot, planes: Slot, first: int, last: int, per: int, phases: int
    ) -> Command:
        e = self.extents
        grid = (
            -(-e.batch // ROWS[self.form.gates]),
            -(-self.blocks // max(per, 1)),
            e.directions,
        )
        y, y_h, y_c = (*self.outputs, self.outputs[-1])[:3]
        memory = (r, *map(self.given, (3, 7, 4)), sums, planes, y, y_h, y_c)
        span = ints(first, last, max(per, 1), phases)
        functions = _functions(self.form)
        return self.backend.command(
            self.program, "recur", grid, (1, 1, 1), *memory, *self.sizes, span, *functions
        )


def _phases(form: Form) -> tuple[int, ...]:
    """Of a step that several work-items share: a GRU may need all of r H before its last gate."""
    return (1, 2) if form.gates == GATES["GRU"] and not form.linear_before_reset else (3,)


def _functions(form: Form) -> tuple[Any, ...]:
    """kinds, alphas, betas: four places for each direction; clip."""
    kinds, alphas, betas = [0] * 8, [0.0] * 8, [0.0] * 8
    for d, activations in enumerate(form.activations):
        for n, a in enumerate(activations):
            at = 4 * d + n
            kinds[at], alphas[at], betas[at] = KINDS.index(a.name), a.alpha, a.beta
    vectors = ints(*kinds), np.array(alphas, np.float32), np.array(betas, np.float32)
    return *vectors, np.float32(form.clip)


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    op, form = node.op_type, form_of(node.op_type, node.attributes)
    dtype = node.outputs[0].known_type.dtype
    gates = GATES[op]
    options = accumulating_options(backend, dtype, f"-DGATES={gates}")
    program = backend.program("recurrent", options)
    extents = extents_of(op, [None if v is None else v.known_type for v in node.inputs], form)
    held: dict[int, Slot] = {}
    for index in (1, 2):
        value = node.inputs[index]
        if value is not None and value.is_constant:
            how = f"units of {gates} gates"
            held[index] = backend.pack(value, how, lambda a: packed(a, gates))

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        given = [*inputs, *(None,) * (8 - len(inputs))]
        compute = accumulator_dtype(backend, dtype)
        job = _Job(backend, program, form, extents, given, outputs, compute)
        commands: list[Command] = []
        weights = []
        scratch = []
        for index, depth in ((1, extents.features), (2, extents.hidden)):
            slot = held.get(index)
            if slot is None:
                source = given[index]
                assert source is not None
                slot, packing = job.weights(source, depth)
                commands += packing
                scratch.append(slot.arena)
            weights.append(slot)
        rows, wide = extents.steps * extents.batch, job.blocks * UNITS
        sums = job.scratch(extents.directions * rows * wide * gates, compute)
        planes = job.scratch(PLANES[gates] * extents.directions * extents.batch * wide, compute)
        commands.append(job.project(weights[0], sums, planes))
        commands += job.recur(weights[1], sums, planes)
        return in_order(commands, [*scratch, sums.arena, planes.arena])

    return BoundKernel(bind, frozenset(held))


KERNELS = dict.fromkeys(GATES, _prepare)
