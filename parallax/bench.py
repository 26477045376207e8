"""`parallax bench`: first, tuned, cached and steady latency, each in its own column."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from conformance.devices import config_of, precision_of, target_of
from conformance.inputs import Shapes, random_inputs
from engine.backends.protocol import DeviceInfo
from engine.config import ForwardType
from engine.errors import ConfigError
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from parallax.options import (
    DEVICE_HELP,
    add_command,
    add_models,
    add_shape,
    check_seed,
    default_precision,
    model_files,
    parse_shapes,
)
from parallax.output import console, deliver
from perf.arrays import save_arrays
from perf.launch import pinned
from perf.stages import Stages, Start, stages

COLUMNS = (
    "model",
    "precision",
    "first",
    "tuned",
    "cached",
    "steady p50",
    "p90 (n)",
    "enqueue p50",
    "busy",
)
EXPLANATION = (
    "first, cached: from the file to the first outputs in a fresh process, with empty and with "
    "filled driver caches. steady: drained queues to drained queues, inputs on the device. "
    "enqueue: until run() returned; not a latency. busy: the device at work, union of event "
    "intervals. All in ms."
)

EPILOG = f"""\
{textwrap.fill(EXPLANATION, 80)}

examples:
  parallax bench model.onnx
  parallax bench models/ --device intel --precision high,normal --runs 200
  parallax bench model.onnx --device cpu --threads 2 --shape image=1,3,224,224 --output data.json
"""


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    parser = add_command(
        subparsers,
        "bench",
        run,
        help="true latency of models: first, cached, steady, enqueue and device busy",
        description=__doc__,
        epilog=EPILOG,
    )
    add_models(parser, several=True)
    parser.add_argument("--device", help=f"{DEVICE_HELP} (default: the first that works)")
    parser.add_argument(
        "--precision", help="high, normal, low, comma-separated (default: normal; high on cpu)"
    )
    parser.add_argument("--runs", type=int, default=64, help="steady runs (64; p90 needs 64)")
    parser.add_argument("--threads", type=int, help="threads and processors to use (all)")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs (0)")
    add_shape(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0, or 1 for an invalid measurement. Raises ParallaxError for bad input."""
    for option in ("runs", "threads"):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            raise ConfigError(f"--{option} {getattr(args, option)}: expected at least 1")
    check_seed(args.seed)
    shapes = parse_shapes(args.shape)
    device, info = _device(args.device)
    precisions = _precisions(args.precision or default_precision(device), device)
    files = model_files(args.models)
    measured: list[Stages] = []
    stopped: BaseException | None = None
    try:
        for path in files:
            for row in _measure(path, device, precisions, shapes, args):
                measured.append(row)
    except KeyboardInterrupt as error:
        stopped = error
    data = {
        "environment": environment(),
        "interrupted": stopped is not None,
        "models": [m.to_json() for m in measured],
    }
    deliver(args, data, models=files, devices=[info])
    print_table(measured, console(silent=args.json), notes=not args.quiet)
    if stopped is not None:
        raise stopped
    return 1 if any(m.steady.invalid for m in measured) else 0


def _device(wanted: str | None) -> tuple[str, DeviceInfo]:
    """What the measuring processes are told; raises DeviceError here rather than there."""
    with Runtime() as runtime:
        target = target_of(wanted, runtime)
        return target[1] or "cpu", runtime.backend(target[0], config_of(target)).info


def _precisions(names: str, device: str) -> list[str]:
    """Raises ConfigError for one that is unknown, or that the device does not take."""
    forward = ForwardType.CPU if device == "cpu" else ForwardType.OPENCL
    precisions = list(dict.fromkeys(precision_of(name) for name in names.split(",")))
    for precision in precisions:
        config_of((forward, None), precision)
    return [precision.value for precision in precisions]


def _measure(
    path: Path, device: str, precisions: Sequence[str], shapes: Shapes, args: argparse.Namespace
) -> Iterator[Stages]:
    with tempfile.TemporaryDirectory(prefix="parallax-bench-") as folder:
        feeds = Path(folder) / "feeds"
        model = Interpreter.from_file(path)
        save_arrays(feeds, random_inputs(model, shapes, args.seed))
        for precision in precisions:
            if not args.quiet:
                print(f"measuring {path.name} at {precision}...", file=sys.stderr)
            yield stages(
                path,
                feeds,
                device=device,
                precision=precision,
                runs=args.runs,
                threads=args.threads,
            )


def environment() -> dict[str, Any]:
    """What a reader needs to judge the numbers: processors, and what pins or steers threads."""
    names = sorted({*pinned(1), "OPENBLAS_CORETYPE", "POCL_AFFINITY", "CL_CONFIG_CPU_TARGET_ARCH"})
    return {
        "processors": os.cpu_count(),
        "variables": {name: os.environ[name] for name in names if name in os.environ},
        "numpy": np.__version__,
        "clock": "time.perf_counter_ns",
    }


def ms(nanoseconds: int) -> str:
    """Three significant figures, in milliseconds."""
    value = nanoseconds / 1e6
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def print_table(measured: Sequence[Stages], out: Console, *, notes: bool = True) -> None:
    """One row for each model and precision, then what the numbers do not say by themselves."""
    for device in dict.fromkeys(m.device for m in measured):
        mine = [m for m in measured if m.device == device]
        out.print(device, style="bold", markup=False)
        out.print(_table(mine))
        if not notes:
            continue
        for row in mine:
            for line in _parts(row):
                out.print(f"{_head(row)}: {line}", markup=False, soft_wrap=True)
        noted: dict[str, list[str]] = {}
        for row in mine:
            for note in _notes(row):
                noted.setdefault(note, []).append(_head(row))
        for note, heads in noted.items():
            whose = "" if len(heads) == len(mine) else f"{', '.join(heads)}: "
            out.print(f"{whose}{note}", markup=False, soft_wrap=True)
    if notes:
        out.print(EXPLANATION, style="dim")


def _table(rows: Sequence[Stages]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for i, column in enumerate(COLUMNS):
        width = None if i == 0 else len(column)
        justify: Literal["left", "right"] = "left" if i < 2 else "right"
        table.add_column(column, justify=justify, min_width=width, overflow="fold")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _head(row: Stages) -> str:
    return f"{row.model.removesuffix('.onnx')} {row.precision}"


def _cells(row: Stages) -> list[str]:
    steady, profile = row.steady, row.steady.profile
    synced = steady.synced
    busy = "-"
    if profile is not None:
        busy = ms(profile.median_ns("busy" if steady.asynchronous else "host_busy"))
    return [
        row.model.removesuffix(".onnx"),
        row.precision,
        ms(row.first.total_ns),
        "-",
        ms(row.cached.total_ns),
        ms(synced.p50_ns) if not steady.invalid else "INVALID",
        f"{ms(synced.p90_ns)} ({synced.n})" if not steady.invalid else "INVALID",
        ms(steady.enqueue.p50_ns),
        busy,
    ]


def _parts(row: Stages) -> Iterator[str]:
    yield f"first = {_split(row.first)}"
    yield f"cached = {_split(row.cached)}"
    profile = row.steady.profile
    if profile is not None and row.steady.asynchronous:
        yield (
            f"a profiled run of {ms(profile.median_ns('synced'))} = device busy "
            f"{ms(profile.median_ns('busy'))} + gaps {ms(profile.median_ns('gaps'))} + before "
            f"and after {ms(profile.median_ns('outside'))} (medians; {row.commands} commands)"
        )
    for violation in row.steady.invalid[:5]:
        yield f"INVALID: {violation}"
    for title, reason in row.fallbacks[:5]:
        yield f"fallback to the CPU: {title}: {reason}"


def _notes(row: Stages) -> Iterator[str]:
    yield f"tuned: {row.tuned}"
    yield from row.notes
    yield from row.steady.notes
    yield from (remark for remark in row.steady.synced.remarks if "p99" not in remark)


def _split(start: Start) -> str:
    parts = [f"{name} {ms(ns)}" for name, ns in start.sections_ns.items() if ns >= 50_000]
    return " + ".join([*parts, f"first inference {ms(start.first_ns)}"])
