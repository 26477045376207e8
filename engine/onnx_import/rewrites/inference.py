"""Operators that behave otherwise in training: only inference is supported."""

from __future__ import annotations

import numpy as np

from engine.errors import UnsupportedError
from engine.onnx_import.form import Emitter, Form


def is_test(form: Form, emitter: Emitter) -> None:
    """Below opset 7 an attribute, 0 by default, says that the model is not in training."""
    if not form.take("is_test"):
        raise UnsupportedError(
            f"{form.title}: is_test=0 means training; export the model in eval mode"
        )


def dropout(form: Form, emitter: Emitter) -> None:
    """At inference, Identity; a mask that somebody reads, or training, is refused."""
    training = form.input(2)
    if training is not None and (training.constant is None or bool(np.any(training.constant))):
        raise UnsupportedError(f"{form.title}: training_mode is set; export the model in eval mode")
    if len(form.outputs) > 1 and emitter.is_read(form.outputs[1]):
        raise UnsupportedError(
            f"{form.title}: its mask '{form.outputs[1]}' is read; only inference is supported"
        )
    form.op_type, form.inputs, form.outputs = "Identity", form.inputs[:1], form.outputs[:1]
    form.attributes = {}


def batch_normalization(form: Form, emitter: Emitter) -> None:
    """Statistics of training are refused, and those of opset 8 and older for single elements."""
    if form.take("training_mode") or len(form.outputs) > 1:
        raise UnsupportedError(f"{form.title}: training mode; export the model in eval mode")
    if form.take("spatial") == 0:
        raise UnsupportedError(f"{form.title}: spatial=0 (statistics per element) is not supported")
    form.attributes.pop("momentum", None)
