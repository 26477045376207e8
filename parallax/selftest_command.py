"""`parallax selftest`: every operator on a device, in small calls: what a driver gets wrong."""

from __future__ import annotations

import argparse
import logging
import shlex
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console

from conformance.devices import config_of, precisions_named, target_of
from conformance.document import deliver
from conformance.report import (
    INTERRUPTED,
    NOTHING_VERIFIED,
    OUT_OF_BOUNDS,
    VERIFIED,
)
from engine.arguments import unknown
from engine.config import Precision
from engine.errors import ConfigError
from engine.runtime import Runtime
from parallax.options import DEVICE_HELP, add_command
from parallax.output import console
from parallax.progress import progress
from parallax.selftest_table import print_conclusion, print_failure, print_results, summaries
from properties.selftest import FAILED, PASSED, SKIPPED, Device, Result, Trial, device_of, trials

EXAMPLES = 2
"""Random calls of each operator."""
FAILURES_PRINTED = 3
"""Of one operator at one precision; the JSON document has all."""

EPILOG = """\
Each operator computes random calls (example), hard ones (edge) and ONNX's own cases (onnx), which
are judged against a float64 reference: err/sigma compares the worst element with the expected
rounding error, err/bound with the worst case of an honest kernel (1 is the limit). Calls that must
be refused (reject) must be so before any kernel runs. No model is needed, and nothing but the
installed packages. The first run on an OpenCL device compiles all kernels, which takes minutes.
-v says which case is about to run, for drivers that hang or crash.

Exit codes: 0 verified, 1 out of bounds, 2 bad input or usage, 3 nothing verified, 130 interrupted.

examples:
  parallax selftest --device pocl
  parallax selftest --device cpu --quick
  parallax selftest --device gpu --precision high,low --operator Conv --operator MatMul
  parallax selftest --device pocl --precision high --operator Softmax --case edge:3
  parallax selftest --device intel --quick --output selftest.json
"""


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    parser = add_command(
        subparsers,
        "selftest",
        run,
        help="try every operator on a device: what whoever writes a driver runs first",
        description=__doc__,
        epilog=EPILOG,
    )
    parser.add_argument("--device", help=f"{DEVICE_HELP} (default: the first OpenCL device)")
    names = ",".join(p.value for p in Precision)
    parser.add_argument("--precision", help=f"comma-separated ({names}; high on cpu)")
    parser.add_argument(
        "--operator",
        action="append",
        default=[],
        metavar="NAME",
        help="only this operator (repeatable)",
    )
    parser.add_argument(
        "--case",
        action="append",
        default=[],
        metavar="NAME",
        help="only this case, as a failure names it: example:SEED, edge:NUMBER, reject:NAME or "
        "onnx:NAME (repeatable)",
    )
    parser.add_argument(
        "--examples",
        type=int,
        default=EXAMPLES,
        help=f"random calls of each operator ({EXAMPLES})",
    )
    parser.add_argument("--quick", action="store_true", help="without ONNX's own cases")


def run(args: argparse.Namespace) -> int:
    """Try all cases and print; raises ParallaxError for bad input."""
    if args.examples < 0:
        raise ConfigError(f"--examples {args.examples}: expected 0 or more")
    if not args.verbose:  # that nodes fall back is told per case
        logging.getLogger("parallax").setLevel(logging.ERROR)
    out = console(silent=args.json)
    done: list[Result] = []
    stopped: BaseException | None = None
    with Runtime() as runtime:
        target = target_of(args.device, runtime)
        precisions = precisions_named(args.precision, target)
        device, notes = device_of(target, precisions, runtime)
        chosen = _chosen(args)
        info = runtime.backend(target[0], config_of(target)).info
        where = f"selftest of {info.platform} / {info.name}, driver {info.driver}, {info.version}"
        out.print(where, markup=False, soft_wrap=True)
        try:
            for result in _results(chosen, device, silent=args.quiet):
                done.append(result)
                _tell(done, device, args, out)
        except (KeyboardInterrupt, BrokenPipeError) as error:
            stopped = error
    code = exit_code(done) if stopped is None else INTERRUPTED
    data = {**facts(done, device, notes), "exit_code": code, "interrupted": stopped is not None}
    deliver(args, data, devices=[info])
    if not args.quiet:
        print_results(done, notes, out)
    print_conclusion(done, code, out)
    if stopped is not None:
        raise stopped
    return code


def _chosen(args: argparse.Namespace) -> list[Trial]:
    """The trials that are asked for; raises InputError for a name of none."""
    named = [
        int(n)
        for c in args.case
        for k, _, n in [c.partition(":")]
        if k == "example" and n.isdecimal()
    ]
    suite = not args.quick and (not args.case or any(c.startswith("onnx:") for c in args.case))
    found = list(trials(named or range(args.examples), suite=suite))
    for option, names, kind in (
        ("--operator", args.operator, "operator"),
        ("--case", args.case, "case"),
    ):
        known = _names(kind, found)
        for name in names:
            if name not in known and args.quick and name in _names(kind, trials((), suite=True)):
                raise ConfigError(
                    f"{option} {name}: only ONNX's own cases, which --quick leaves out"
                )
            if name not in known:
                raise unknown(f"{option}: no {kind}", name, known)
        found = [trial for trial in found if not names or getattr(trial, kind) in names]
    return found


def _names(kind: str, of: Iterable[Trial]) -> dict[str, None]:
    """Of all operators, or of all cases, in order."""
    return dict.fromkeys(getattr(trial, kind) for trial in of)


def _results(chosen: Sequence[Trial], device: Device, *, silent: bool) -> Iterator[Result]:
    """Operator by operator, each case at every precision."""
    with progress("selftest", silent=silent) as tell, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for done, trial in enumerate(chosen):
            tell(f"{trial.operator} {trial.case}", done, len(chosen))
            for backend in device.backends:
                yield trial.result(device, backend)


def _tell(done: Sequence[Result], device: Device, args: argparse.Namespace, out: Console) -> None:
    """Print a failure, unless there were enough of its operator at its precision."""
    result = done[-1]
    if result.outcome.verdict == FAILED and not args.quiet:
        like = [r for r in done if (r.operator, r.precision) == (result.operator, result.precision)]
        if sum(r.outcome.verdict == FAILED for r in like) <= FAILURES_PRINTED:
            print_failure(result, command_of(result, device), out)


def command_of(result: Result, device: Device) -> str:
    """What runs exactly one case again."""
    words = ("--precision", result.precision, "--operator", result.operator, "--case", result.case)
    return shlex.join(("parallax", "selftest", "--device", device.name, *words))


def exit_code(results: Sequence[Result]) -> int:
    """Out of bounds, nothing verified, or verified."""
    verdicts = {result.outcome.verdict for result in results}
    if FAILED in verdicts:
        return OUT_OF_BOUNDS
    return VERIFIED if PASSED in verdicts else NOTHING_VERIFIED


def facts(results: Sequence[Result], device: Device, notes: Sequence[str]) -> dict[str, Any]:
    """What --json prints, without how it ended."""
    return {
        "operators": [
            {
                "operator": operator,
                "precision": precision,
                **{v: summary.counts[v] for v in (PASSED, FAILED, SKIPPED)},
                "sigmas": summary.sigmas,
                "bounds": summary.bounds,
            }
            for (operator, precision), summary in summaries(results).items()
        ],
        "failures": [
            {**_case(r), "message": r.outcome.said, "command": command_of(r, device)}
            for r in results
            if r.outcome.verdict == FAILED
        ],
        "skipped": [
            {**_case(r), "reason": r.outcome.said} for r in results if r.outcome.verdict == SKIPPED
        ],
        "notes": list(notes),
    }


def _case(result: Result) -> dict[str, str]:
    return {"operator": result.operator, "case": result.case, "precision": result.precision}
