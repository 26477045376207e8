"""`parallax verify`: what verifies one model, on a device of ours or in another engine."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from conformance.bundles.failing import FailingNode, failing_node
from conformance.devices import (
    config_of,
    devices_named,
    precision_of,
    precisions_named,
    target_of,
)
from conformance.engines import engine_of
from conformance.engines.against import Opponent
from conformance.engines.engine import Engine
from conformance.engines.judged import verify_engine
from conformance.examples import worst_of
from conformance.inputs import AnyFeeds, Shapes, random_inputs
from conformance.known import Known
from conformance.report import (
    VerifyReport,
)
from conformance.verify import Interrupted, verify
from engine.arrays import AnyArrayLike
from engine.config import ForwardType, Precision
from engine.errors import ConfigError
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from parallax.drawn_inputs import examples_of
from parallax.inputs import inputs_files, inputs_of, outputs_of
from parallax.latency_table import latency_json
from parallax.options import (
    check_names,
)
from parallax.places import engine_options, refuse_with_engine
from parallax.progress import progress
from parallax.session_options import use_cache
from perf.latency import Latency, measure
from perf.quantiles import RUNS_NEEDED

LATENCY_BUDGET_NS = 1_000_000_000
"""Timed runs of one precision stop at about this much, and lie between 3 and 64."""

HEAVY_NBYTES = 100_000_000
"""After a model file of this size the runtime is renewed, which frees the packed weights."""


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


class Judge(Protocol):
    """Verifies a model.

    Attributes:
        device: on which, as a user types it.
    """

    device: str

    def __call__(self, path: Path) -> Verified:
        """Raises ParallaxError."""
        ...


def judges_of(args: argparse.Namespace, shapes: Shapes, stack: ExitStack) -> Sequence[Judge]:
    """What verifies a model, one for each device; raises ConfigError for what does not go together.

    Args:
        stack: closes at the end what the models share.
    """
    if args.engine is None:
        if args.engine_option and args.against is None:
            raise ConfigError(
                f"--engine-option {args.engine_option[0]}: give --engine, too, or --against"
            )
        names = devices_named(args.device)
        if len(names) > 1 and args.cache is not None:
            raise ConfigError(f"--cache {args.cache}: of one device, but {len(names)} are given")
        known = None if args.known is None else Known.read(args.known)
        return [DeviceJudge(name, known, args, shapes, stack) for name in names]
    refuse_with_engine(args, "device", "precision", "cache", "expect", "bundle", "against", "known")
    return [EngineJudge(args, shapes)]


class EngineJudge:
    """Judges an engine that is not ours."""

    def __init__(self, args: argparse.Namespace, shapes: Shapes) -> None:
        self._args, self._shapes = args, shapes
        self.device = args.engine
        self._engine = engine_of(args.engine, engine_options(args))

    def __call__(self, path: Path) -> Verified:
        """See Judge."""
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


class DeviceJudge:
    """Judges our own engine on a device."""

    def __init__(
        self,
        device: str | None,
        known: Known | None,
        args: argparse.Namespace,
        shapes: Shapes,
        stack: ExitStack,
    ) -> None:
        self._args, self._shapes, self._stack, self._known = args, shapes, stack, known
        self._runtime = stack.enter_context(Runtime())
        target = target_of(device, self._runtime)
        self._name = self.device = target[1] or "cpu"
        self._precisions = precisions_named(args.precision, target)
        self._against: Engine | None = None
        if args.against is not None:
            self._against = engine_of(args.against, engine_options(args), option="--against")
        if args.cache is not None and target[0] is ForwardType.CPU:
            raise ConfigError(f"--cache {args.cache}: only OpenCL kernels are compiled and kept")

    def __call__(self, path: Path) -> Verified:
        """See Judge."""
        args, runtime = self._args, self._runtime
        interpreter = Interpreter.from_file(path)
        shapes = _shapes_of(interpreter, self._shapes, several=_are_several(args))
        examples = examples_of(interpreter, args, shapes)
        given = _inputs_of(interpreter, args)
        expected = None if args.expect is None else outputs_of(interpreter, args.expect)
        against = None if self._against is None else Opponent(self._against, path)
        known = None if self._known is None else self._known.of(path.name)
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
                    against=against,
                    known=known,
                    runtime=runtime,
                    progress=tell,
                    on_failure=lambda run, check: failed.append(failing_node(run, check)),
                )

            try:
                report = judge(given, args.seed) if examples is None else worst_of(examples, judge)
                report = replace(report, stale=() if known is None else known.stale(report))
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
