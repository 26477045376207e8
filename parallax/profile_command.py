"""`parallax profile`: where the time of a model goes, or of several that share a device."""

from __future__ import annotations

import argparse
import json
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from conformance.document import deliver
from conformance.files import add_file, write
from conformance.visible import visible
from engine.arrays import flattened
from engine.errors import ConfigError
from engine.interpreter import Interpreter
from engine.ir.types import type_of
from engine.runtime import Runtime
from engine.session import Session
from parallax.arrays_file import ArraysFile
from parallax.inputs import add_inputs, check_exclusive
from parallax.options import (
    add_command,
    add_models,
    add_shape,
    check_seed,
    model_files,
    parse_shapes,
)
from parallax.output import console
from parallax.profile_table import (
    EXPLANATION,
    TOGETHER,
    print_overhead,
    print_peaks,
    print_profile,
    print_together,
)
from parallax.progress import progress
from parallax.session_options import add_session, schedule, use_cache
from parallax.starting import start_session
from perf.chrome_trace import chrome_trace
from perf.observe import Observation, observe, primary_of
from perf.peaks import Peaks, measured_peaks

RUNS = 16
OF_ONE_MODEL = (("inputs", "--inputs"), ("sources", "--from"), ("sinks", "--to"))

EPILOG = f"""\
{textwrap.fill(EXPLANATION, 80)}

Several models: {TOGETHER}

examples:
  parallax profile model.onnx
  parallax profile model.onnx --device pocl --precision high --trace trace.json
  parallax profile encoder.onnx decoder.onnx --device intel --output profile.json
  parallax profile model.onnx --device cpu --threads 2 --shape image=1,3,224,224 -v
"""


@dataclass(frozen=True)
class Subject:
    """A model that is ready to run; `name` is short, and its own among the others."""

    model: str
    name: str
    session: Session
    inputs: Mapping[str, str]
    seed: int | None

    def to_json(self) -> dict[str, Any]:
        """What the document says of it."""
        info = self.session.info()
        choice = info.pipelines[0].precision
        return {
            "model": self.model,
            "device": f"{info.device.platform} / {info.device.name}",
            "precision": asdict(choice),
            "inputs": dict(self.inputs),
            "seed": self.seed,
        }


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    parser = add_command(
        subparsers,
        "profile",
        run,
        help="where a model's time goes: operators, kernels, host, the unexplained rest",
        description=__doc__,
        epilog=EPILOG,
    )
    add_models(parser, several=True)
    parser.add_argument(
        "--runs", type=int, default=RUNS, help=f"profiled runs, and as many plain ones ({RUNS})"
    )
    what = "write the timeline here, for chrome://tracing or Perfetto"
    add_file(parser, "--trace", "TRACE.json", what, attribute="trace_file")
    add_inputs(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs (0)")
    add_shape(parser)
    add_session(parser)


def run(args: argparse.Namespace) -> int:
    """Profile and print; 0, or 1 for an invalid measurement. Raises ParallaxError for bad input."""
    files = _checked(args)
    out = console(silent=args.json)
    stopped: BaseException | None = None
    with ExitStack() as stack:
        subjects = _start(files, args, stack)
        device = subjects[0].session.info().device
        with progress("peaks", silent=args.quiet) as tell:
            tell("of the device", 0, 1)
            peaks = measured_peaks(primary_of(subjects[0].session))
        found: list[Observation] = []
        try:
            for one in _observed(subjects, args):
                found.append(one)
                _print(subjects, found, peaks, out, args)
                if one.interrupted:
                    raise KeyboardInterrupt
        except (KeyboardInterrupt, BrokenPipeError) as error:
            stopped = error
        data = _document(subjects, found, peaks)
    if args.trace_file is not None and found:
        text = json.dumps(chrome_trace(found[-1], device.platform))
        write(args.trace_file, lambda file: file.write(f"{text}\n".encode()))
        data["trace"] = args.trace_file
    deliver(args, {**data, "interrupted": stopped is not None}, models=files, devices=[device])
    if stopped is not None:
        if found:
            out.print(
                "[bold yellow]interrupted[/]: what stands above is finished; the rest was not run"
            )
        raise stopped
    if not args.quiet:
        _print_notes(peaks, len(files) > 1, out)
    return 1 if any(one.invalid for one in found) else 0


def _checked(args: argparse.Namespace) -> list[Path]:
    """The models, once the options fit together."""
    check_seed(args.seed)
    check_exclusive(args)
    if args.runs < 1:
        raise ConfigError(f"--runs {args.runs}: expected at least 1")
    files = model_files(args.models)
    for attribute, option in OF_ONE_MODEL:
        if len(files) > 1 and getattr(args, attribute):
            raise ConfigError(f"{option}: belongs to one model, and there are several")
    return files


def _observed(subjects: Sequence[Subject], args: argparse.Namespace) -> Iterator[Observation]:
    """Of each model alone; then, where there are several, of all one after the other."""
    sessions = {subject.name: subject.session for subject in subjects}
    groups = [{name: session} for name, session in sessions.items()]
    for group in [*groups, *([sessions] if len(sessions) > 1 else [])]:
        with progress(" + ".join(group), silent=args.quiet) as tell:
            found = observe(group, args.runs, tell)
        yield found


def _document(
    subjects: Sequence[Subject], found: Sequence[Observation], peaks: Peaks
) -> dict[str, Any]:
    alone, together = found[: len(subjects)], found[len(subjects) :]
    return {
        "peaks": {"flops_per_s": peaks.flops, "nbytes_per_s": peaks.nbytes},
        "models": [{**s.to_json(), **one.to_json()} for s, one in zip(subjects, alone)],
        "together": together[0].to_json() if together else None,
        "trace": None,
    }


def _start(files: list[Path], args: argparse.Namespace, stack: ExitStack) -> list[Subject]:
    """Sessions on one runtime, each after a run on inputs that it keeps."""
    shapes, config = parse_shapes(args.shape), schedule(args)
    given = None
    if args.inputs is not None:
        given = stack.enter_context(ArraysFile("--inputs", args.inputs))
    runtime = stack.enter_context(Runtime())
    subjects = []
    for path, name in zip(files, _short_names(files), strict=True):
        interpreter = Interpreter.from_file(path)
        use_cache(interpreter, args.cache)
        session, feeds = start_session(interpreter, config, runtime, shapes, given, args.seed)
        stack.enter_context(session)
        session.run(feeds, sync=True)
        inputs = {name: str(type_of(array)) for name, array in flattened(feeds).items()}
        seed = args.seed if given is None else None
        subjects.append(Subject(str(path), name, session, inputs, seed))
    return subjects


def _short_names(files: list[Path]) -> list[str]:
    """The names of the files, with as much of their folders as tells them apart."""
    if len({path.name for path in files}) == len(files):
        return [path.name for path in files]
    folder = os.path.commonpath([path.parent for path in files])
    return [os.path.relpath(path, folder) for path in files]


def _print(
    subjects: Sequence[Subject],
    found: Sequence[Observation],
    peaks: Peaks,
    out: Console,
    args: argparse.Namespace,
) -> None:
    """The last one that was found."""
    if len(found) > len(subjects):
        print_together(found[-1], found[:-1], out)
        return
    subject, last = subjects[len(found) - 1], found[-1]
    facts = subject.to_json()
    inputs = ", ".join(f"{name} {type_}" for name, type_ in subject.inputs.items())
    origin = "given" if subject.seed is None else f"random, seed {subject.seed}"
    precision = facts["precision"]["effective"].value
    out.print(f"{visible(subject.model)} on {facts['device']}, precision {precision}", markup=False)
    out.print(f"inputs ({origin}): {visible(inputs)}", markup=False)
    out.print()
    print_profile(last.profiles[0], peaks, out, details=args.verbose > 0)
    print_overhead(last, out)
    out.print()


def _print_notes(peaks: Peaks, several: bool, out: Console) -> None:
    print_peaks(peaks, out)
    out.print(EXPLANATION, style="dim", markup=False)
    if several:
        out.print(f"together: {TOGETHER}", style="dim", markup=False)
