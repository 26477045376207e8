"""`parallax run`: one inference, on given or seeded random inputs."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import Any

from rich.console import Console

from conformance.document import deliver
from conformance.files import add_file, write_arrays
from conformance.inputs import AnyFeeds
from engine.arrays import flattened
from engine.errors import ConfigError
from engine.interpreter import Interpreter
from engine.profile import RunProfile
from engine.runtime import Runtime
from engine.session import Session
from parallax.arrays_file import ArraysFile
from parallax.inputs import add_inputs, check_exclusive
from parallax.options import (
    add_command,
    add_models,
    add_shape,
    check_seed,
    model_file,
    parse_shapes,
)
from parallax.output import console
from parallax.profile_table import EXPLANATION, print_peaks, print_profile
from parallax.progress import progress
from parallax.run_report import facts, print_facts
from parallax.session_options import add_session, schedule, use_cache
from parallax.starting import start_session
from parallax.trace import Trace
from perf.observe import primary_of, profile_json
from perf.peaks import Peaks, measured_peaks

EPILOG = """\
Without --inputs: normal floats, indices within their table, 0/1 for the rest.

examples:
  parallax run model.onnx
  parallax run model.onnx --inputs x.npz --outputs y.npz --device portable --precision high
  parallax run model.onnx --save hidden --save '*' --outputs all.npz
  parallax run model.onnx --from hidden --to y --device cpu --threads 2
  parallax run model.onnx --from conv_3 --path-mode op --trace
  parallax run model.onnx --device pocl --profile
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
    parser.add_argument(
        "--profile", action="store_true", help="show where the time of the run goes"
    )
    add_session(parser)


def run(args: argparse.Namespace) -> int:
    """Run; 0. Raises ParallaxError for bad input, before anything is written."""
    check_seed(args.seed)
    shapes, config = parse_shapes(args.shape), schedule(args)
    check_exclusive(args)
    if args.profile and args.trace:
        raise ConfigError(
            "--profile and --trace exclude each other: a trace waits at each operator"
        )
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
            session, feeds = start_session(interpreter, config, runtime, shapes, given, args.seed)
        with session:
            with progress(path.name, silent=args.quiet or trace is not None) as tell:
                tell("first run", 1, 2)
                profile = _run_once(session, feeds, trace, is_profiled=args.profile)
            outputs = flattened({name: session.read(name) for name in session.outputs})
            saved = {name: session.read(name) for name in session.saved}
            cache = interpreter.update_cache_file(session) if args.cache is not None else None
            device = session.info().device
            data = facts(args, session, flattened(feeds), outputs, saved, trace, cache)
            data["profile"] = None if profile is None else profile_json(profile)
            peaks = None if profile is None else measured_peaks(primary_of(session))
    if args.outputs is not None:
        write_arrays(args.outputs, {**outputs, **saved})
    deliver(args, data, models=[path], devices=[device])
    out = console(silent=args.json)
    print_facts(data, out, notes=not args.quiet)
    if profile is not None and peaks is not None:
        _print_profile(profile, peaks, out, args)
    return 0


def _print_profile(
    profile: RunProfile, peaks: Peaks, out: Console, args: argparse.Namespace
) -> None:
    out.print()
    print_profile(profile, peaks, out, details=args.verbose > 0)
    if not args.quiet:
        print_peaks(peaks, out)
        out.print(EXPLANATION, style="dim", markup=False)


def _run_once(
    session: Session, feeds: AnyFeeds, trace: Trace | None, *, is_profiled: bool
) -> RunProfile | None:
    if is_profiled:
        return session.profile(feeds)
    if trace is None:
        session.run(feeds, sync=True)
    else:
        session.run_with_callbacks(after=trace, feeds=feeds, sync=True)
    return None
