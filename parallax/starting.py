"""A session as the command line asks for it, and inputs for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from conformance.inputs import AnyFeeds, Shapes, random_inputs
from conformance.shapes import tensor_shapes
from engine.config import ScheduleConfig
from engine.interpreter import Interpreter
from engine.ir.types import ListType, TensorType
from engine.runtime import Runtime
from engine.session import Session
from parallax.arrays_file import ArraysFile
from parallax.inputs import fitting
from parallax.options import check_names


def start_session(
    interpreter: Interpreter,
    config: ScheduleConfig,
    runtime: Runtime,
    shapes: Shapes,
    given: ArraysFile | None,
    seed: int,
) -> tuple[Session, AnyFeeds]:
    """A session, and inputs for it: those given, or random ones."""
    if config.path is None:
        if given is not None:
            return interpreter.create_session(config, runtime), fitting(given, interpreter.inputs)
        check_names(interpreter, shapes)
        feeds = random_inputs(interpreter, shapes, seed)
        sizes = {name: array.shape for name, array in feeds.items()}
        return interpreter.create_session(config, runtime, sizes), feeds
    known = shapes
    if given is not None:
        known = {n: t.dims for n, t in given.types.items() if n in interpreter.inputs}
    every = tensor_shapes(interpreter.graph, known)
    session = interpreter.create_session(config, runtime, every)
    if given is not None:
        return session, fitting(given, _of_any_shape(session.inputs, given.types))
    return session, random_inputs(session.execution.graph, None, seed)


def _of_any_shape(
    types: Mapping[str, TensorType | ListType], given: Mapping[str, TensorType]
) -> dict[str, TensorType | ListType]:
    """Types of inputs, in whose shapes the session can still be resized."""
    return {n: replace(t, shape=given[n].shape) if n in given else t for n, t in types.items()}
