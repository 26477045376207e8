"""Signals: DFT with its axis as an input, and STFT as the DFT of frames.

Source: https://onnx.ai/onnx/operators/, the texts of DFT and STFT.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from engine.errors import ModelError
from engine.ir.graph import Value
from engine.onnx_import.form import Emitter, Form
from engine.onnx_import.rewrites.steps import Steps


def dft(form: Form, emitter: Emitter) -> None:
    """Below opset 20 the axis is an attribute."""
    axis = np.array(form.take("axis"), np.int64)
    form.set_input(2, emitter.constant(f"{form.outputs[0]}_axis", axis))


def stft(form: Form, emitter: Emitter) -> None:
    """Frames of a length, a step apart, times the window, then along them the DFT."""
    steps, (x, step, *_) = Steps(form, emitter), form.inputs
    onesided = form.take("onesided")
    assert x is not None
    if steps.rank(x, "its signal") != 3:
        raise ModelError(f"{form.title}: its signal has not three dimensions")
    window = form.input(2)
    signal = steps.of("Shape", x, start=1, end=2)
    length = signal if window is None else steps.of("Shape", window)
    length = _integer(steps, form.input(3)) or length
    hop = _integer(steps, step)
    assert hop is not None
    if step is not None and step.constant is not None and step.constant.min(initial=1) < 1:
        raise ModelError(f"{form.title}: frame_step={step.constant.tolist()}, expected at least 1")
    one = steps.integers("one", 1)
    reach = steps.of("Max", signal, one)
    hop = steps.of("Min", hop, reach)  # further than the signal, sums would leave 64 bits
    hop = steps.of("Max", hop, steps.integers("none", 0))  # by which no Range goes
    last = steps.of("Add", steps.of("Sub", signal, length), one)
    starts = steps.range(last, hop)
    column = steps.of("Unsqueeze", starts, steps.integers("last", -1))
    frames = steps.of("Gather", x, steps.of("Add", column, steps.range(length)), axis=1)
    if window is not None:
        column = steps.of(
            "Reshape", window, steps.of("Concat", length, steps.integers("unit", 1), axis=0)
        )
        frames = steps.of("Mul", frames, column)
    axis = emitter.constant(f"{form.outputs[0]}_axis", np.array(2, np.int64))
    form.op_type, form.inputs = "DFT", [frames, None, axis]
    form.attributes = {"onesided": onesided}


def _integer(steps: Steps, value: Value | None) -> Value | None:
    """A number as int64[1]."""
    if value is None:
        return None
    wide = steps.cast(value, TensorProto.INT64)
    return steps.of("Reshape", wide, steps.integers("one", 1))
