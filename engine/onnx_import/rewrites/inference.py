"""Operators that behave otherwise in training."""

from __future__ import annotations

import numpy as np

from engine.errors import UnsupportedError
from engine.onnx_import.form import Emitter, Form
from engine.onnx_import.rewrites import noise
from engine.onnx_import.rewrites.steps import Steps


def is_test(form: Form, emitter: Emitter) -> None:
    """Below opset 7 an attribute, 0 by default, says that the model is not in training."""
    if not form.take("is_test"):
        raise UnsupportedError(
            f"{form.title}: is_test=0 means training; export the model in eval mode"
        )


def dropout(form: Form, emitter: Emitter) -> None:
    """Identity where nothing is dropped, and then a mask that is true everywhere."""
    training, ratio = form.input(2), form.input(1)
    drops = ratio is None or ratio.constant is None or bool(np.any(ratio.constant))
    if drops and training is not None and (training.constant is None or np.any(training.constant)):
        noise.dropped(form, emitter)
        return
    if len(form.outputs) > 1 and emitter.is_read(form.outputs[1]):
        if form.opset < 10:
            raise UnsupportedError(
                f"{form.title}: its mask '{form.outputs[1]}' is read, which opset {form.opset} "
                "does not define; export with a newer opset"
            )
        shape = emitter.emit("Shape", [form.inputs[0]], {})
        ones = {"value": np.ones(1, np.bool_)}
        emitter.emit("ConstantOfShape", [shape], ones, form.outputs[1])
    form.op_type, form.inputs, form.outputs = "Identity", form.inputs[:1], form.outputs[:1]
    form.attributes = {}


def batch_normalization(form: Form, emitter: Emitter) -> None:
    """Training is refused below opset 14, and so are statistics of single elements."""
    if form.take("training_mode") and form.opset >= 14:
        _with_statistics_of_the_batch(form, emitter)
    elif len(form.outputs) > 1:
        raise UnsupportedError(f"{form.title}: training mode; export the model in eval mode")
    if form.take("spatial") == 0:
        raise UnsupportedError(f"{form.title}: spatial=0 (statistics per element) is not supported")
    form.attributes.pop("momentum", None)


def _with_statistics_of_the_batch(form: Form, emitter: Emitter) -> None:
    """Mean and variance over all axes but the second; the running ones move towards them."""
    steps, x = Steps(form, emitter), form.inputs[0]
    rank = steps.rank(x, "its input")
    if emitter.dtype(x) != emitter.dtype(form.inputs[3]):
        raise UnsupportedError(f"{form.title}: training mode of two dtypes is not supported")
    axes = steps.integers("axes", 0, *range(2, rank))
    centred = steps.of("Sub", x, steps.of("ReduceMean", x, axes, keepdims=1))
    mean = steps.of("ReduceMean", x, axes, keepdims=0)
    variance = steps.of("ReduceMean", steps.of("Mul", centred, centred), axes, keepdims=0)
    old, new = (
        steps.like("share", v, x) for v in (form.value("momentum"), 1 - form.value("momentum"))
    )
    for k, fresh in ((1, mean), (2, variance)):
        if len(form.outputs) > k and form.outputs[k]:
            kept = steps.of("Mul", form.inputs[k + 2], old)
            emitter.emit("Add", [kept, steps.of("Mul", fresh, new)], {}, form.outputs[k])
    form.inputs[3:], form.outputs = [mean, variance], form.outputs[:1]
