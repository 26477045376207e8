"""Random operators, written as numbers in the shape of a tensor, drawn from a seed.

Source: https://onnx.ai/onnx/operators/, RandomUniform, RandomNormal, their Like forms, Bernoulli
and Dropout. ONNX: "if not specified we will auto generate one". That is done here, once.
"""

from __future__ import annotations

import secrets

import numpy as np
from onnx import TensorProto

from engine.errors import ModelError, UnsupportedError
from engine.ir.graph import Value
from engine.ir.types import BFLOAT16, FLOATS
from engine.onnx_import.form import Emitter, Form
from engine.onnx_import.rewrites.steps import Steps
from engine.onnx_import.tensors import DTYPES
from engine.ops.cast import NUMBERS
from engine.ops.noise import SEEDS

DOUBLE = TensorProto.DOUBLE


def like(form: Form, emitter: Emitter) -> None:
    """RandomUniformLike, RandomNormalLike: with a seed and a dtype; bfloat16 is float first."""
    own = emitter.dtype(form.inputs[0])
    kind = form.take("dtype") or (own and NUMBERS.get(own))
    if kind is None:
        raise UnsupportedError(f"{form.title}: the dtype of its input is not known at import")
    dtype = DTYPES.get(kind)
    if dtype not in FLOATS | {BFLOAT16}:
        named = kind if dtype is None else dtype.name
        raise ModelError(f"{form.title}: random numbers of dtype {named}, expected floats")
    seeded = {**form.attributes, "seed": _seed(form)}
    form.attributes = {**seeded, "dtype": kind}
    if dtype == BFLOAT16:
        wide = emitter.emit(form.op_type, form.inputs, {**seeded, "dtype": TensorProto.FLOAT})
        form.op_type, form.inputs, form.attributes = "Cast", [wide], {"to": kind}


def of_shape(form: Form, emitter: Emitter) -> None:
    """RandomUniform, RandomNormal: like zeros of that shape."""
    shape, kind = form.take("shape"), form.take("dtype")
    if shape is None or any(n < 0 for n in shape):
        raise ModelError(f"{form.title}: shape={shape}, expected extents of 0 or more")
    extents = Steps(form, emitter).integers("shape", *shape)
    form.inputs = [emitter.emit("ConstantOfShape", [extents], {})]
    form.op_type, form.attributes["dtype"] = f"{form.op_type}Like", kind
    like(form, emitter)


def bernoulli(form: Form, emitter: Emitter) -> None:
    """1 where a uniform number is below the probability.

    ONNX's definition by others has 1 where it is above, which is 1 minus the probability that its
    text asks for.
    """
    steps, p = Steps(form, emitter), form.inputs[0]
    assert p is not None
    own = emitter.dtype(p)
    kind = form.take("dtype") or (own and NUMBERS.get(own))
    if kind is None:
        raise UnsupportedError(f"{form.title}: the dtype of its input is not known at import")
    number = _uniform(steps, p)
    form.op_type, form.attributes = "Cast", {"to": kind}
    form.inputs = [steps.of("Less", number, steps.cast(p, DOUBLE))]


def dropped(form: Form, emitter: Emitter) -> None:
    """A Dropout that may train: x / (1 - ratio) where a number reaches the ratio, else 0."""
    steps, (x, ratio, training) = Steps(form, emitter), (form.input(i) for i in range(3))
    assert x is not None
    assert training is not None
    dtype = emitter.dtype(x)
    if dtype not in FLOATS:
        named = "not known at import" if dtype is None else dtype.name
        raise UnsupportedError(f"{form.title}: the dtype of its input in training is {named}")
    share = _share(form, steps, ratio)
    one = emitter.constant(f"{form.outputs[0]}_one", np.array(1.0))
    factor = steps.of("Where", training, steps.of("Div", one, steps.of("Sub", one, share)), one)
    number = _uniform(steps, x)
    kept = steps.of("Or", steps.of("GreaterOrEqual", number, share), steps.of("Not", training))
    if len(form.outputs) > 1 and emitter.is_read(form.outputs[1]):
        emitter.emit("Identity", [kept], {}, form.outputs[1])
    scaled = steps.of("Mul", x, steps.cast(factor, NUMBERS[dtype]))
    form.op_type, form.attributes, form.outputs = "Where", {}, form.outputs[:1]
    form.inputs = [kept, scaled, steps.like("dropped", 0.0, x)]


def _share(form: Form, steps: Steps, ratio: Value | None) -> Value:
    """The ratio in double, 0.5 where it is left out."""
    if ratio is None:
        return steps.emitter.constant(f"{form.outputs[0]}_ratio", np.array(0.5))
    if ratio.constant is not None and not ((ratio.constant >= 0) & (ratio.constant < 1)).all():
        raise ModelError(f"{form.title}: ratio={ratio.constant.tolist()}, expected it in [0, 1)")
    return steps.cast(ratio, DOUBLE)


def _uniform(steps: Steps, x: Value) -> Value:
    """Numbers in [0, 1) of the form's seed, in double: no float below 1 is rounded to it."""
    return steps.of("RandomUniformLike", x, seed=_seed(steps.form), dtype=DOUBLE)


def _seed(form: Form) -> float:
    seed = form.attributes.pop("seed", None)
    return float(secrets.randbelow(SEEDS)) if seed is None else float(seed)
