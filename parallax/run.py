"""`parallax run`: one inference, on given or seeded random inputs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from conformance.document import deliver
from conformance.files import add_file, write_arrays
from conformance.inputs import AnyFeeds, Shapes, random_inputs
from conformance.shapes import tensor_shapes
from engine.arrays import flattened
from engine.config import ScheduleConfig
from engine.interpreter import Interpreter
from engine.ir.types import ListType, TensorType
from engine.runtime import Runtime
from engine.session import Session
from parallax.arrays_file import ArraysFile
from parallax.inputs import add_inputs, check_exclusive, fitting
from parallax.options import (
    add_command,
    add_models,
    add_shape,
    check_names,
    check_seed,
    model_file,
    parse_shapes,
)
from parallax.output import console
from parallax.progress import progress
from parallax.run_report import facts, print_facts
from parallax.session_options import add_session, schedule, use_cache
from parallax.trace import Trace

EPILOG = """\
Without --inputs: normal floats, indices within their table, 0/1 for the rest.

examples:
  parallax run model.onnx
  parallax run model.onnx --inputs x.npz --outputs y.npz --device portable --precision high
  parallax run model.onnx --save hidden --save '*' --outputs all.npz
  parallax run model.onnx --from hidden --to y --device cpu --threads 2
  parallax run model.onnx --from conv_3 --path-mode op --trace
  parallax run model.onnx --device intel --strict --cache kernels.cache
"""


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    parser = add_command(
        subparsers,
        "run",
        run,
        help="run a model once and show or save its outputs",
        description=__doc__,
        epilog=EPILOG,
    )
    add_models(parser, several=False)
    add_inputs(parser)
    add_file(parser, "--outputs", "Y.npz", "write outputs and saved tensors here")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs (0)")
    add_shape(parser)
    parser.add_argument("--trace", action="store_true", help="show what each operator computes")
    add_session(parser)


def run(args: argparse.Namespace) -> int:
    """Run; 0. Raises ParallaxError for bad input, before anything is written."""
    check_seed(args.seed)
    shapes, config = parse_shapes(args.shape), schedule(args)
    check_exclusive(args)
    path = model_file(args.model, "run")
    with ExitStack() as stack:
        given = None
        if args.inputs is not None:
            given = stack.enter_context(ArraysFile("--inputs", args.inputs))
        interpreter = Interpreter.from_file(path)
        use_cache(interpreter, args.cache)
        trace = Trace(None if args.json else console()) if args.trace else None
        runtime = stack.enter_context(Runtime())
        with progress(path.name, silent=args.quiet) as tell:
            tell("session: kernels are compiled", 0, 2)
            session, feeds = _start(interpreter, config, runtime, shapes, given, args.seed)
        with session:
            with progress(path.name, silent=args.quiet or trace is not None) as tell:
                tell("first run", 1, 2)
                _run_once(session, feeds, trace)
            outputs = flattened({name: session.read(name) for name in session.outputs})
            saved = {name: session.read(name) for name in session.saved}
            cache = interpreter.update_cache_file(session) if args.cache is not None else None
            device = session.info().device
            data = facts(args, session, flattened(feeds), outputs, saved, trace, cache)
    if args.outputs is not None:
        write_arrays(args.outputs, {**outputs, **saved})
    deliver(args, data, models=[path], devices=[device])
    print_facts(data, console(silent=args.json), notes=not args.quiet)
    return 0


def _start(
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


def _run_once(session: Session, feeds: AnyFeeds, trace: Trace | None) -> None:
    if trace is None:
        session.run(feeds, sync=True)
    else:
        session.run_with_callbacks(after=trace, feeds=feeds, sync=True)
