"""`parallax gate`: is this build slower than that one, on your models and on this machine?"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import shtab

from conformance.devices import config_of, target_of
from conformance.document import deliver
from conformance.inputs import Feeds, random_inputs
from conformance.report import BAD_INPUT
from engine.arrays import flattened
from engine.backends.protocol import DeviceInfo
from engine.errors import ConfigError, InputError
from engine.interpreter import Interpreter
from engine.ir.types import TensorType
from engine.runtime import Runtime
from parallax.gate_table import print_findings
from parallax.inputs import add_inputs, check_exclusive, inputs_of
from parallax.options import (
    DEVICE_HELP,
    add_command,
    add_shape,
    check_seed,
    default_precision,
    model_files,
    parse_shapes,
)
from parallax.output import console
from parallax.progress import progress
from parallax.report.documents import read_json
from perf.arrays import save_arrays
from perf.candidates import PEER
from perf.gate.builds import build, source, this_one
from perf.gate.decision import INCONCLUSIVE, INVALID, REGRESSION
from perf.gate.findings import Findings, complete
from perf.gate.launches import Bench, Work, rehearse
from perf.gate.process import Arm, Processes
from perf.gate.records import ARMS, BASE, CAND
from perf.gate.statistics import Rule, check_installed
from perf.launch import WorkerError
from perf.scratch import Scratch

SETS = 3
"""Sets of random inputs, one after the other: what remembers outputs would be found out."""
QUADS = 10

EPILOG = """\
A launch is a fresh process for each arm; the two take turns (B C C B or C B B C, by chance), and
its result is the median ratio. Verdicts come from the spread over launches: a first stage suspects,
a second one on fresh launches confirms. docs/gate.md says how, and with which odds.

exit codes: 0 no regression, 1 a regression (with --strict also INCONCLUSIVE), 2 nothing that could
be believed: no baseline, bad input, INVALID

examples:
  parallax gate model.onnx --device pocl --baseline main
  parallax gate encoder.onnx decoder.onnx --baseline v0.1.0 --output gate.json
  parallax gate model.onnx --device 1.0 --baseline-device 0.0
  parallax gate model.onnx --device onnxruntime --baseline old-venv/ --candidate new-venv/
  parallax gate --replay gate.json
"""


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    parser = add_command(
        subparsers,
        "gate",
        run,
        help="whether a build is slower than a baseline, with stated odds of being wrong",
        description=__doc__,
        epilog=EPILOG,
    )
    models = parser.add_argument(
        "models", nargs="*", metavar="MODEL|FOLDER", help=".onnx files or folders"
    )
    models.complete = shtab.FILE  # type: ignore[attr-defined]
    _add_arms(parser)
    _add_rule(parser)
    add_inputs(parser)
    parser.add_argument("--seed", type=int, default=0, help="of inputs and orders (0)")
    add_shape(parser)
    what = "judge once more what --output of a gate wrote; nothing is measured"
    replay = parser.add_argument("--replay", dest="source", metavar="GATE.json", help=what)
    replay.complete = shtab.FILE  # type: ignore[attr-defined]


def _add_arms(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the arms")
    kinds = "a git revision, a wheel, a source tree, installed packages or a virtual environment"
    group.add_argument("--baseline", metavar="REV|PATH", help=kinds)
    group.add_argument(
        "--candidate", metavar="REV|PATH", help="the same (default: the working tree, or this one)"
    )
    group.add_argument("--device", help=f"{DEVICE_HELP}; {PEER} (default: the first that works)")
    group.add_argument(
        "--baseline-device",
        metavar="DEVICE",
        help="another for the baseline: two drivers as arms; without --baseline of one build",
    )
    group.add_argument("--precision", help="high, normal or low (default: normal; high on cpu)")
    group.add_argument("--threads", type=int, metavar="N", help="threads and processors (all)")


def _add_rule(parser: argparse.ArgumentParser) -> None:
    rule, group = Rule(), parser.add_argument_group("the rule")
    group.add_argument(
        "--margin", type=float, default=2.0, metavar="PERCENT", help="slowdown that is allowed (2)"
    )
    group.add_argument(
        "--detect", type=float, default=5.0, metavar="PERCENT", help="slowdown that OK excludes (5)"
    )
    group.add_argument(
        "--launches",
        type=int,
        default=rule.launches,
        help=f"fresh processes of each arm, doubled where undecided ({rule.launches})",
    )
    group.add_argument(
        "--confirm",
        type=int,
        default=rule.confirming,
        metavar="LAUNCHES",
        help=f"that confirm or refute a suspicion ({rule.confirming})",
    )
    group.add_argument(
        "--quads", type=int, default=QUADS, help=f"of each launch and scenario ({QUADS})"
    )
    group.add_argument("--strict", action="store_true", help="INCONCLUSIVE fails, too")


def run(args: argparse.Namespace) -> int:
    """Measure, judge and print; the exit code. Raises ParallaxError for bad input."""
    check_installed()
    stopped: BaseException | None = None
    if args.source is not None:
        found, files = _replayed(args), [Path(args.source)]
        devices: list[DeviceInfo] = []
    else:
        rule = _rule(args)
        _check(args)
        files = model_files(args.models)
        with Scratch("gate") as folder:
            work = _work(args, files, Path(folder))
            devices, bench = _bench(args, Path(folder))
            found, stopped = _measured(args, rule, bench, work)
    code = exit_code(found, strict=args.strict)
    data = {**found.to_json(), "exit_code": code, "interrupted": stopped is not None}
    deliver(args, data, models=files, devices=devices)
    print_findings(found, console(silent=args.json), again=_again(args), details=not args.quiet)
    if stopped is not None:
        raise stopped
    return code


def exit_code(found: Findings, *, strict: bool = False) -> int:
    """What the process says of the worst outcome."""
    codes = {INVALID: BAD_INPUT, REGRESSION: 1, INCONCLUSIVE: int(strict)}
    return codes.get(found.outcome, 0)


def _replayed(args: argparse.Namespace) -> Findings:
    given = [o for o in ("models", "baseline", "candidate", "device") if getattr(args, o)]
    if given:
        raise ConfigError(f"--replay measures nothing: leave out {', '.join(given)}")
    if _rule(args) != Rule():
        raise ConfigError(
            "--replay judges by the rule of the file: leave out --margin, --detect, --launches and "
            "--confirm"
        )
    data = read_json(Path(args.source), "gate")
    try:
        found = Findings.from_json(data)
        found.to_json()
        return found
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, IndexError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{args.source}: it does not hold what a document of parallax.gate does: {what}"
        ) from error


# --------------------------------------------------------------------------- what is refused
def _rule(args: argparse.Namespace) -> Rule:
    for option in ("launches", "confirm"):
        if getattr(args, option) < 2:
            raise ConfigError(
                f"--{option} {getattr(args, option)}: expected at least 2: runs of one process "
                "are not independent, and one launch has no spread"
            )
    if not 0 <= args.margin < args.detect < math.inf:
        raise ConfigError(
            f"--margin {args.margin:g} --detect {args.detect:g}: expected 0 <= margin < detect, "
            "both finite"
        )
    return Rule(args.margin / 100, args.detect / 100, args.launches, args.confirm)


def _check(args: argparse.Namespace) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        raise ConfigError(
            "the gate cannot run beside other tests, as under pytest-xdist: latencies taken then "
            "are those of a busy machine; run it alone (-p no:xdist)"
        )
    if "--benchmark-disable" in os.environ.get("PYTEST_ADDOPTS", ""):
        raise ConfigError("benchmarks are disabled (PYTEST_ADDOPTS): a gate would measure nothing")
    if not args.models:
        raise ConfigError("no model: give .onnx files or folders, or --replay GATE.json")
    if args.baseline is None and args.baseline_device is None:
        raise ConfigError(
            "no baseline: give --baseline REV (or a wheel or an environment), or --baseline-device"
        )
    for option in ("quads", "threads"):
        least = 2 if option == "quads" else 1
        if getattr(args, option) is not None and getattr(args, option) < least:
            raise ConfigError(f"--{option} {getattr(args, option)}: expected at least {least}")
    check_seed(args.seed)
    check_exclusive(args)


# --------------------------------------------------------------------------- what is measured
def _bench(args: argparse.Namespace, folder: Path) -> tuple[list[DeviceInfo], Bench]:
    """Both arms, built in the folder."""
    names = {CAND: args.device, BASE: args.baseline_device or args.device}
    infos = {arm: _device(name) for arm, name in names.items()}
    mine = this_one() if args.candidate is None else source(args.candidate, "--candidate")
    theirs = mine if args.baseline is None else source(args.baseline, "--baseline")
    with _told(args, "building") as tell:
        builds = {}
        for i, (arm, what) in enumerate(((BASE, theirs), (CAND, mine))):
            tell(arm, i, len(ARMS))
            builds[arm] = build(what, folder / f"arm-{arm[:4]}")
    arms = {}
    for arm in ARMS:
        selector, info = infos[arm]
        precision = args.precision or default_precision(selector)
        expected = f"{info.platform} / {info.name}" if info and builds[arm].is_shared else ""
        arms[arm] = Arm(builds[arm], selector, precision, expected)
    processes = Processes(arms, args.threads, folder)
    hello = {arm: processes.hello(arm) for arm in ARMS}
    return [i for _, i in infos.values() if i], Bench(arms, processes.start, hello)


def _device(name: str | None) -> tuple[str, DeviceInfo | None]:
    """What selects it in another process, and what it is; onnxruntime has no DeviceInfo."""
    if name == PEER:
        return PEER, None
    with Runtime() as runtime:
        target = target_of(name, runtime)
        info = runtime.backend(target[0], config_of(target)).info
    return target[1] or "cpu", info


def _work(args: argparse.Namespace, files: Sequence[Path], folder: Path) -> Work:
    """Each model alone and, where there are several, all of them one after the other."""
    if args.inputs is not None and len(files) > 1:
        raise ConfigError(f"--inputs {args.inputs}: belongs to one model, and there are several")
    models = _named(files)
    feeds: dict[str, list[Path]] = {}
    for i, (name, path) in enumerate(models.items()):
        feeds[name] = []
        for number, one in enumerate(_feeds(args, path)):
            feeds[name].append(folder / f"feeds-{i}-{number}")
            save_arrays(feeds[name][-1], one)
    scenarios: dict[str, tuple[str, ...]] = {name: (name,) for name in models}
    if len(models) > 1:
        scenarios["all in a row"] = tuple(models)
    return Work(scenarios, models, feeds, args.quads, folder)


def _named(files: Sequence[Path]) -> dict[str, Path]:
    """By the names of the files, where these differ, else by their paths."""
    models = {path.name: path.resolve() for path in files}
    return models if len(models) == len(files) else {str(p): p.resolve() for p in files}


def _feeds(args: argparse.Namespace, path: Path) -> Iterator[Feeds]:
    shapes = parse_shapes(args.shape)
    with Interpreter.from_file(path) as interpreter:
        for name, type_ in interpreter.inputs.items():
            if not isinstance(type_, TensorType):
                raise InputError(f"{path}: input {name!r} is {type_}: gate feeds tensors")
        if args.inputs is not None:
            yield flattened(inputs_of(interpreter, args.inputs))
            return
        for seed in range(args.seed, args.seed + SETS):
            yield random_inputs(interpreter, shapes, seed)


def _measured(
    args: argparse.Namespace, rule: Rule, bench: Bench, work: Work
) -> tuple[Findings, BaseException | None]:
    """What was found, and what stopped it; raises ConfigError for an arm that fails."""
    try:
        with _told(args, "rehearsal") as tell:
            tell("", 0, 1)
            found = Findings.of(rule, args.seed, work, bench, rehearse(bench, work))
        if not found.compared:
            lacking = "; ".join(f"{m}: {why}" for m, why in found.lacking.items())
            raise ConfigError(
                f"nothing to compare: the baseline runs none of the models: {lacking}"
            )
        with _told(args, "gate") as tell:
            try:
                complete(found, bench, work, tell)
            except KeyboardInterrupt as stop:
                return found, stop
        return found, None
    except WorkerError as error:
        raise ConfigError(f"an arm failed: {error}") from error


@contextmanager
def _told(args: argparse.Namespace, name: str) -> Iterator[Any]:
    with progress(name, silent=args.quiet) as tell:
        yield tell


def _again(args: argparse.Namespace) -> Mapping[str, str]:
    """The command that judges the same launches again, and the one that makes new ones."""
    kept = args.source or args.output
    words = [word for word in sys.argv[1:] if word]
    measured = args.source is None and words[:1] == ["gate"]
    return {
        "judge again": f"parallax gate --replay {shlex.quote(kept)}" if kept else "",
        "measure again": shlex.join(["parallax", *words]) if measured else "",
    }
