"""`parallax bench`: the true latency of models on devices side by side, and what to use here."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from conformance.document import deliver
from conformance.inputs import Feeds, Shapes, random_inputs
from conformance.report import BAD_INPUT
from engine.arrays import flattened
from engine.errors import ConfigError, InputError, ParallaxError
from engine.interpreter import Interpreter
from engine.ir.types import TensorType, type_of
from parallax.bench_advice import advise
from parallax.bench_candidates import ALL, Field, candidates
from parallax.bench_table import EXPLANATION, print_comparison
from parallax.inputs import add_inputs, check_exclusive, inputs_of
from parallax.options import (
    DEVICE_HELP,
    add_command,
    add_models,
    add_shape,
    check_seed,
    model_files,
    parse_shapes,
)
from parallax.output import complain, console
from parallax.progress import progress
from perf.arrays import save_arrays
from perf.candidates import PEER
from perf.comparison import Comparison, compare
from perf.launch import pinned
from perf.rounds import Rounds
from perf.scratch import Scratch

LAUNCHES, RUNS = 3, 64

EPILOG = f"""\
{textwrap.fill(EXPLANATION, 80)}

examples:
  parallax bench model.onnx
  parallax bench model.onnx --device {ALL}
  parallax bench model.onnx --device intel,cpu,{PEER} --precision high --inputs x.npz
  parallax bench models/ --device intel --precision high,normal --runs 200
  parallax bench model.onnx --device cpu --threads 2 --shape image=1,3,224,224 --output data.json
"""


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    parser = add_command(
        subparsers,
        "bench",
        run,
        help="true latency of models on devices side by side, and which to use",
        description=__doc__,
        epilog=EPILOG,
    )
    add_models(parser, several=True)
    parser.add_argument(
        "--device",
        help=f"{DEVICE_HELP}; {PEER}; several, comma-separated; {ALL} (default: the first OpenCL "
        "device that works)",
    )
    parser.add_argument(
        "--precision",
        help="high, normal, low, comma-separated (default: normal, high on cpu; each of them where "
        "there are several devices)",
    )
    parser.add_argument(
        "--launches", type=int, default=LAUNCHES, help=f"fresh processes of each row ({LAUNCHES})"
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=RUNS,
        help=f"steady runs of each row, over its launches ({RUNS}; p90 needs 64)",
    )
    parser.add_argument("--threads", type=int, help="threads and processors to use (all)")
    add_inputs(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs (0)")
    add_shape(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0, or 1 for an invalid measurement. Raises ParallaxError for bad input."""
    _check(args)
    files = model_files(args.models)
    if args.inputs is not None and len(files) > 1:
        raise ConfigError(f"--inputs {args.inputs}: belongs to one model, and there are several")
    field = candidates(args.device, args.precision)
    done: list[Comparison] = []
    errors: dict[str, str] = {}
    stopped: BaseException | None = None
    out = console(silent=args.json)
    try:
        for found in _compared(files, field, args, errors):
            done.append(found)
            advice, details = advise(found.rows), args.verbose > 0
            print_comparison(found, advice, out, notes=not args.quiet, details=details)
            if found.interrupted:
                raise KeyboardInterrupt
    except (KeyboardInterrupt, BrokenPipeError) as error:
        stopped = error
    data = {
        "environment": environment(),
        "interrupted": stopped is not None,
        "models": [{**found.to_json(), "advice": asdict(advise(found.rows))} for found in done],
        "errors": errors,
    }
    deliver(args, data, models=[found.model for found in done], devices=field.devices)
    if stopped is not None:
        raise stopped
    if errors:
        return BAD_INPUT
    return 1 if any(row.stages.invalid for found in done for row in found.rows) else 0


def _check(args: argparse.Namespace) -> None:
    for option in ("launches", "runs", "threads"):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            raise ConfigError(f"--{option} {getattr(args, option)}: expected at least 1")
    check_seed(args.seed)
    check_exclusive(args)


def _compared(
    files: Sequence[Path], field: Field, args: argparse.Namespace, errors: dict[str, str]
) -> Iterator[Comparison]:
    """Model by model; of several, one that cannot be measured becomes an entry of `errors`."""
    shapes = parse_shapes(args.shape)
    for path in files:
        try:
            yield _compare(path, field, shapes, args)
        except ParallaxError as error:
            if len(files) == 1:
                raise
            errors[str(path)] = str(error)
            complain(f"{path}: {error}", [str(path)])


def _compare(path: Path, field: Field, shapes: Shapes, args: argparse.Namespace) -> Comparison:
    """What was measured, also when the user interrupted it; raises ParallaxError for nothing."""
    feeds = _feeds(path, shapes, args)
    inputs = {name: str(type_of(array)) for name, array in feeds.items()}
    with Scratch("bench") as folder:
        file = Path(folder) / "feeds"
        save_arrays(file, feeds)
        with (
            Rounds(path, file, field.candidates, args.threads) as rounds,
            progress(path.name, silent=args.quiet) as tell,
        ):
            try:
                rounds.take(args.launches, args.runs, tell)
            except KeyboardInterrupt:
                if not rounds.stages:
                    raise
                return compare(path, inputs, rounds, field.left_out, interrupted=True)
            return compare(path, inputs, rounds, field.left_out)


def _feeds(path: Path, shapes: Shapes, args: argparse.Namespace) -> Feeds:
    with Interpreter.from_file(path) as interpreter:
        for name, type_ in interpreter.inputs.items():
            if not isinstance(type_, TensorType):
                raise InputError(f"{path}: input {name!r} is {type_}: bench feeds tensors")
        if args.inputs is not None:
            return flattened(inputs_of(interpreter, args.inputs))
        return random_inputs(interpreter, shapes, args.seed)


def environment() -> dict[str, Any]:
    """What a reader needs to judge the numbers: processors, and what pins or steers threads."""
    names = sorted({*pinned(1), "OPENBLAS_CORETYPE", "POCL_AFFINITY", "CL_CONFIG_CPU_TARGET_ARCH"})
    return {
        "processors": os.cpu_count(),
        "variables": {name: os.environ[name] for name in names if name in os.environ},
        "numpy": np.__version__,
        "clock": "time.perf_counter_ns",
    }
