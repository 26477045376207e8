"""A model of a call that must be refused ends in one typed error before any kernel runs.

It is refused where it is loaded or planned; only what the host alone computes, and only during a
run (NonMaxSuppression of boxes that a model is fed), it refuses there.
"""

from __future__ import annotations

import numpy as np
from onnx import defs

from engine.config import ScheduleConfig
from engine.errors import ModelError, ParallaxError, UnsupportedError
from engine.interpreter import Interpreter
from engine.ir.types import dtype_name
from engine.onnx_import.support import OPSET_MAX
from engine.ops import OPERATORS
from engine.ops.spec import Call
from engine.runtime import Runtime
from properties.dtypes import newest_schema
from properties.memory import Violation
from properties.node_models import NODE, node_model

BEFORE = {"Mod": 28}
"""Operators of whose form in this opset the importer makes others, which refuse less."""


def check_refused(op_type: str, call: Call, config: ScheduleConfig, runtime: Runtime) -> None:
    """The model raises an error that names the node.

    Every way of giving the inputs is tried: all fed, those constant that must be, and all.

    Raises:
        Violation: nothing was refused, or with an error of another type, or one naming no node.
    """
    present = frozenset(i for i, x in enumerate(call.inputs) if x is not None)
    known = OPERATORS[op_type].constant_inputs if op_type in OPERATORS else frozenset()
    for constants in {frozenset[int](), known & present, present}:
        data, feeds = _model(op_type, call, constants)
        given = ", ".join(f"x{i}" for i in sorted(constants)) or "none"
        who = f"{op_type} of {_shown(call)} with constants {given}"
        try:
            _plan(data, feeds, config, runtime)
        except ParallaxError as error:
            if not isinstance(error, (ModelError, UnsupportedError)):
                raise Violation(f"{who} ends in {type(error).__name__}: {error}") from error
            if f"'{NODE}" not in str(error):  # or of what it is taken apart into
                raise Violation(f"{who} is refused without naming the node: {error}") from error
        else:
            raise Violation(f"{who} is accepted, and must be refused")


def _plan(
    data: bytes, feeds: dict[str, np.ndarray], config: ScheduleConfig, runtime: Runtime
) -> None:
    """Load a model and resize a session of it; nothing runs but what is the host's."""
    interpreter = Interpreter.from_buffer(data)
    with interpreter.create_session(config, runtime) as session:
        shapes = {name: x.shape for name, x in feeds.items()}
        session.resize(shapes, {name: feeds[name] for name in session.deciding})
        if session.info().borders:
            session.run(feeds)


def _model(
    op_type: str, call: Call, constants: frozenset[int]
) -> tuple[bytes, dict[str, np.ndarray]]:
    opset = min(OPSET_MAX, BEFORE.get(op_type, OPSET_MAX + 1) - 1)
    domain = OPERATORS[op_type].domain if op_type in OPERATORS else ""
    schema = newest_schema(op_type) if domain else defs.get_schema(op_type, opset)
    return node_model(
        schema,
        call.inputs,
        call.attributes,
        constants=constants,
        outputs=max(1, schema.min_output),
        opset=opset,
    )


def _shown(call: Call) -> str:
    shapes = ["-" if x is None else f"{dtype_name(x.dtype)}{list(x.shape)}" for x in call.inputs]
    return f"{', '.join(shapes)} {dict(call.attributes)}"
