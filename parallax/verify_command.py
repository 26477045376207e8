"""`parallax verify`: every node of a model on a device against its float64 reference."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from conformance.bundles.bundle import check_place
from conformance.bundles.failing import FailingNode, failing_node
from conformance.devices import config_of, precision_of, precisions_named, target_of
from conformance.document import deliver
from conformance.engines import ENGINES, engine_of
from conformance.engines.judged import verify_engine
from conformance.examples import worst_of
from conformance.files import add_file
from conformance.inputs import AnyFeeds, Shapes, random_inputs
from conformance.report import (
    BAD_INPUT,
    INTERRUPTED,
    NOTHING_VERIFIED,
    OUT_OF_BOUNDS,
    VERIFIED,
    VerifyReport,
)
from conformance.table import print_report
from conformance.verify import Interrupted, verify
from engine.arrays import AnyArrayLike
from engine.config import ForwardType, Precision
from engine.errors import ConfigError, ParallaxError
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from parallax.drawn_inputs import add_drawn, check_drawn, examples_of
from parallax.inputs import add_inputs, check_exclusive, inputs_files, inputs_of, outputs_of
from parallax.latency_table import latency_json, print_latencies
from parallax.options import (
    DEVICE_HELP,
    add_bundle,
    add_command,
    add_models,
    add_shape,
    check_names,
    check_seed,
    model_files,
    parse_shapes,
)
from parallax.output import console
from parallax.progress import progress
from parallax.session_options import use_cache
from parallax.verify_bundle import bundle_of
from perf.latency import Latency, measure
from perf.quantiles import RUNS_NEEDED

LATENCY_BUDGET_NS = 1_000_000_000
"""Timed runs of one precision stop at about this much, and lie between 3 and 64."""

HEAVY_NBYTES = 100_000_000
"""After a model file of this size the runtime is renewed, which frees the packed weights."""

EPILOG = """\
Each node runs on the device and is judged on the device's own inputs: err/sigma compares its worst
element with the expected rounding error (6 is the limit), err/bound with the worst case of an
honest kernel (1 is the limit). The production plan must give the same outputs bit for bit.
With --expect, outputs that another engine computed from the same inputs must lie as near to a
float64 run of the model as rounding explains (docs/numerics.md), and so must those of the device.
With --inputs-from strategies, inputs are drawn in which kernels and precisions differ: zeros, whole
numbers, ties, one value, tiny, subnormal, large and mixed magnitudes; several --inputs, or a folder
of them, are verified one after the other. Of every node the worst is kept, and which set it was.
With --engine, another engine is judged in the same way, on what it reports of every node
(docs/engines.md).
Exit codes: 0 verified, 1 out of bounds, 2 bad input or usage, 3 nothing verified.

examples:
  parallax verify models/
  parallax verify model.onnx --device cpu
  parallax verify model.onnx --precision high,low --shape image=1,3,224,224 --output report.json
  parallax verify model.onnx --inputs x.npz --expect y.npz
  parallax verify model.onnx --inputs-from strategies --examples 24
  parallax verify model.onnx --inputs calibration/ --device pocl
  parallax verify model.onnx --device intel --cache kernels.cache --no-latency
  parallax verify model.onnx --bundle wrong-node
  parallax verify model.onnx --engine onnxruntime --engine-option optimization=off
"""


@dataclass(frozen=True)
class Verified:
    """One model's report, a latency per precision that was run, and what the cache held.

    Attributes:
        device: as a user types it.
        failed: the first node that failed, at the first precision at which one did.
    """

    report: VerifyReport
    latency: dict[str, Latency]
    cache: str = ""
    device: str = ""
    failed: FailingNode | None = None

    def to_json(self) -> dict[str, Any]:
        """The report's data, with the latencies in nanoseconds."""
        latency = {name: latency_json(entry) for name, entry in self.latency.items()}
        return {**self.report.to_json(), "latency": latency, "cache": self.cache or None}


Judge = Callable[[Path], Verified]


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    parser = add_command(
        subparsers,
        "verify",
        run,
        help="check every node of models on a device against derived error bounds",
        description=__doc__,
        epilog=EPILOG,
    )
    add_models(parser, several=True)
    parser.add_argument("--device", help=f"{DEVICE_HELP} (default: the first OpenCL device)")
    names = ",".join(p.value for p in Precision)
    parser.add_argument("--precision", help=f"comma-separated ({names}; high on cpu)")
    add_inputs(parser, several=True)
    add_drawn(parser)
    add_file(parser, "--expect", "Y.npz", "outputs of another engine for --inputs, to compare with")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs (0)")
    add_shape(parser)
    parser.add_argument("--all", action="store_true", help="a line for every node, not for 10")
    add_file(parser, "--cache", "FILE", "keep compiled OpenCL kernels in this file")
    add_bundle(parser, "write the first node that fails as a bundle into this new folder or .zip")
    parser.add_argument("--no-latency", action="store_true", help="leave out the latency lines")
    other = parser.add_argument_group("an engine that is not ours, in place of a device")
    other.add_argument("--engine", metavar="NAME", help=f"judge it: {', '.join(ENGINES)}")
    other.add_argument(
        "--engine-option",
        action="append",
        default=[],
        metavar="K=V",
        help="of the engine, such as optimization=off of onnxruntime (repeatable)",
    )


def run(args: argparse.Namespace) -> int:
    """Verify all models and print; the exit code of the worst."""
    check_seed(args.seed)
    check_exclusive(args)
    check_drawn(args)
    shapes = parse_shapes(args.shape)
    files = model_files(args.models)
    arrays = inputs_files(args.inputs or ())
    _check_arrays(args, arrays, len(files))
    if args.bundle is not None:
        check_place(Path(args.bundle), "--bundle")
    out = console(silent=args.json)
    done: list[Verified] = []
    errors: dict[str, str] = {}
    stopped: BaseException | None = None
    bundle = None
    with ExitStack() as stack:
        judge = _judge_of(args, shapes, stack)
        try:
            for path in files:
                try:
                    verified = judge(path)
                except ParallaxError as error:
                    if len(files) == 1:
                        raise
                    errors[str(path)] = str(error)
                    print(f"parallax: {path}: {error}", file=sys.stderr)
                    continue
                done.append(verified)
                _print(verified, out, args)
                if bundle is None and args.bundle is not None and not verified.report.ok:
                    bundle = bundle_of(verified.report, verified.failed, verified.device, args)
                if verified.report.interrupted:
                    raise KeyboardInterrupt
        except (KeyboardInterrupt, BrokenPipeError) as error:
            stopped = error
    code = exit_code([v.report for v in done], errors) if stopped is None else INTERRUPTED
    data = {
        "exit_code": code,
        "interrupted": stopped is not None,
        "models": [v.to_json() for v in done],
        "errors": errors,
        "bundle": bundle,
    }
    used = [v.report.device for v in done]
    arrays += [args.expect] if args.expect is not None else []
    deliver(args, data, models=[*(v.report.model for v in done), *arrays], devices=used)
    if stopped is not None:
        raise stopped
    if len(files) > 1:
        _conclude(done, errors, out)
    return code


def _check_arrays(args: argparse.Namespace, arrays: Sequence[str], models: int) -> None:
    """Raise ConfigError for arrays that cannot be those of every model."""
    if args.expect is not None and len(arrays) > 1:
        raise ConfigError(
            f"--expect {args.expect}: of one set of inputs, but {len(arrays)} are given"
        )
    if args.expect is not None and args.inputs is None:
        raise ConfigError(
            f"--expect {args.expect}: give the inputs that they were computed from, too (--inputs)"
        )
    if args.inputs is not None and models > 1:
        raise ConfigError(
            f"--inputs {args.inputs[0]}: the arrays of one model, but {models} are given"
        )


def exit_code(reports: Sequence[VerifyReport], errors: dict[str, str]) -> int:
    """Out of bounds, else bad input, else nothing verified, else verified."""
    codes = {r.exit_code for r in reports} | ({BAD_INPUT} if errors else set())
    order = (OUT_OF_BOUNDS, BAD_INPUT, NOTHING_VERIFIED, VERIFIED)
    return next(c for c in order if c in codes)


def _judge_of(args: argparse.Namespace, shapes: Shapes, stack: ExitStack) -> Judge:
    """What verifies a model as it was asked for; raises ConfigError for what does not go together.

    Args:
        stack: closes at the end what the models share.
    """
    if args.engine is None:
        if args.engine_option:
            raise ConfigError(f"--engine-option {args.engine_option[0]}: give --engine, too")
        return _Device(args, shapes, stack)
    for name in ("device", "precision", "cache", "expect", "bundle"):
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} {getattr(args, name)}: --engine {args.engine} has none")
    return _Engine(args, shapes)


class _Engine:
    """Judges an engine that is not ours."""

    def __init__(self, args: argparse.Namespace, shapes: Shapes) -> None:
        self._args, self._shapes = args, shapes
        pairs = [text.partition("=") for text in args.engine_option]
        for text, (_, equals, _) in zip(args.engine_option, pairs, strict=True):
            if not equals:
                raise ConfigError(f"--engine-option {text}: expected NAME=VALUE")
        self._engine = engine_of(args.engine, {name: value for name, _, value in pairs})

    def __call__(self, path: Path) -> Verified:
        interpreter = Interpreter.from_file(path)
        shapes = _shapes_of(interpreter, self._shapes, several=_are_several(self._args))
        examples = examples_of(interpreter, self._args, shapes)
        with progress(path.name, silent=self._args.quiet) as tell:

            def judge(inputs: Mapping[str, AnyArrayLike] | None, seed: int) -> VerifyReport:
                return verify_engine(
                    path, self._engine, seed=seed, shapes=shapes, inputs=inputs, progress=tell
                )

            if examples is not None:
                return Verified(worst_of(examples, judge), {})
            return Verified(judge(_inputs_of(interpreter, self._args), self._args.seed), {})


class _Device:
    """Judges our own engine on a device."""

    def __init__(self, args: argparse.Namespace, shapes: Shapes, stack: ExitStack) -> None:
        self._args, self._shapes, self._stack = args, shapes, stack
        self._runtime = stack.enter_context(Runtime())
        target = target_of(args.device, self._runtime)
        self._name = target[1] or "cpu"
        self._precisions = precisions_named(args.precision, target)
        if args.cache is not None and target[0] is ForwardType.CPU:
            raise ConfigError(f"--cache {args.cache}: only OpenCL kernels are compiled and kept")

    def __call__(self, path: Path) -> Verified:
        args, runtime = self._args, self._runtime
        interpreter = Interpreter.from_file(path)
        shapes = _shapes_of(interpreter, self._shapes, several=_are_several(args))
        examples = examples_of(interpreter, args, shapes)
        given = _inputs_of(interpreter, args)
        expected = None if args.expect is None else outputs_of(interpreter, args.expect)
        use_cache(interpreter, args.cache)
        latency: dict[str, Latency] = {}
        failed: list[FailingNode] = []
        with progress(path.name, silent=args.quiet) as tell:

            def judge(inputs: Mapping[str, AnyArrayLike] | None, seed: int) -> VerifyReport:
                return verify(
                    interpreter,
                    device=self._name,
                    precisions=self._precisions,
                    seed=seed,
                    shapes=shapes,
                    inputs=inputs,
                    expected=expected,
                    runtime=runtime,
                    progress=tell,
                    on_failure=lambda run, check: failed.append(failing_node(run, check)),
                )

            try:
                report = judge(given, args.seed) if examples is None else worst_of(examples, judge)
                wants_latency = not (args.no_latency or report.interrupted)
                for entry in report.precisions if wants_latency else ():
                    if entry.same_as is None:
                        tell(f"{entry.requested}: latency", 0, 1)
                        precision = precision_of(entry.requested)
                        taken = _latency(interpreter, self._name, precision, report, given, runtime)
                        latency[entry.requested] = taken
            except Interrupted as stop:
                report = stop.report
            except KeyboardInterrupt:
                report = replace(report, interrupted=True)
        cache = str(interpreter.explain_cache()) if args.cache is not None else ""
        self._renew_after(path)
        first = failed[0] if failed else None
        return Verified(replace(report, model=str(path)), latency, cache, self._name, first)

    def _renew_after(self, path: Path) -> None:
        if path.stat().st_size > HEAVY_NBYTES:
            self._stack.close()
            self._runtime = self._stack.enter_context(Runtime())


def _are_several(args: argparse.Namespace) -> bool:
    return len(args.models) > 1 or Path(args.models[0]).is_dir()


def _inputs_of(interpreter: Interpreter, args: argparse.Namespace) -> AnyFeeds | None:
    """The arrays that were given, the first of several."""
    files = inputs_files(args.inputs or ())
    return inputs_of(interpreter, files[0]) if files else None


def _shapes_of(interpreter: Interpreter, shapes: Shapes, *, several: bool) -> Shapes:
    """The shapes that name inputs of this model; with one model, all must."""
    if not several:
        check_names(interpreter, shapes)
    return {k: v for k, v in shapes.items() if k in interpreter.inputs}


def _latency(
    interpreter: Interpreter,
    device: str,
    precision: Precision,
    report: VerifyReport,
    given: AnyFeeds | None,
    runtime: Runtime,
) -> Latency:
    """Of a session as an application would make it; few runs where one takes long."""
    config = config_of(target_of(device, runtime), precision)
    feeds = given or random_inputs(interpreter, report.shapes, report.seed)
    with interpreter.create_session(config, runtime, report.shapes) as session:
        once = measure(session, runs=1, feeds=feeds, warmup=1, profiled_runs=0).synced.p50_ns
        runs = max(3, min(RUNS_NEEDED[90], LATENCY_BUDGET_NS // max(once, 1)))
        return measure(session, runs=runs, warmup=1, profiled_runs=3)


def _print(verified: Verified, out: Console, args: argparse.Namespace) -> None:
    report = verified.report
    if args.quiet:
        out.print(_summary(report), markup=False, soft_wrap=True)
        return
    print_report(report, out, show_all=args.all)
    if verified.latency:
        out.print()
        print_latencies(verified.latency, out)
    if report.interrupted:
        out.print(
            "[bold yellow]interrupted[/]: what stands above is finished; the rest was not run"
        )
    if verified.cache:
        out.print(verified.cache, style="dim", markup=False)
    out.print()


def _summary(report: VerifyReport) -> str:
    """One line: the verdict of each precision."""
    words = [f"{p.requested} {p.verdict}" for p in report.precisions]
    words += ["interrupted"] if report.interrupted else []
    return f"{report.model}: {', '.join(words)}"


def _conclude(done: Sequence[Verified], errors: dict[str, str], out: Console) -> None:
    good = sum(v.report.ok for v in done)
    out.print(f"[bold]{good} of {len(done) + len(errors)} models verified[/]")
    for v in done:
        if not v.report.ok:
            out.print(f"  {v.report.model}: {v.report.verdict}", markup=False)
    for path in errors:
        out.print(f"  {path}: could not be verified (see the message above)", markup=False)
