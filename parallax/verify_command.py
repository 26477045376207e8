"""`parallax verify`: every node of a model on a device against its float64 reference."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from conformance.bundles.bundle import check_place
from conformance.bundles.failing import OURS
from conformance.document import deliver
from conformance.figures import counted
from conformance.files import add_file
from conformance.report import (
    BAD_INPUT,
    INTERNAL_ERROR,
    INTERRUPTED,
    NOTHING_VERIFIED,
    OUT_OF_BOUNDS,
    VERIFIED,
    VerifyReport,
)
from conformance.table import print_report
from conformance.visible import visible
from conformance.votes import Ballot, Vote, votes_of
from engine.config import Precision
from engine.errors import ConfigError, ParallaxError, PlanError
from parallax.drawn_inputs import add_drawn, check_drawn
from parallax.inputs import add_inputs, check_exclusive, inputs_files
from parallax.latency_table import print_latencies
from parallax.options import (
    DEVICE_HELP,
    add_bundle,
    add_command,
    add_models,
    add_shape,
    check_seed,
    model_files,
    parse_shapes,
)
from parallax.output import complain, console
from parallax.places import add_engine
from parallax.verify_bundle import bundle_of
from parallax.verify_judges import Judge, Verified, judges_of

VOTES_MAX = 10
"""So many of a model are printed; --json has all."""

EPILOG = """\
Each node runs on the device and is judged on the device's own inputs: err/sigma compares its worst
element with the expected rounding error (6 is the limit), err/bound with the worst case of an
honest kernel (1 is the limit). The production plan must give the same outputs bit for bit.
With --expect, outputs that another engine computed from the same inputs must lie as near to a
float64 run of the model as rounding explains (docs/numerics.md), and so must those of the device.
With --inputs-from strategies, inputs are drawn in which kernels and precisions differ: zeros, whole
numbers, ties, one value, tiny, subnormal, large and mixed magnitudes; several --inputs, or a folder
of them, are verified one after the other. Of every node the worst is kept, and which set it was.
With several devices each is judged, and they vote: one driver alone beyond its bounds is suspect;
where all are, it is a bug of the engine (docs/drivers.md).
With --against, another engine runs beside the device, and where their tensors part is told, and
which of the two is right by the float64 reference.
With --engine, another engine is judged in the same way, on what it reports of every node
(docs/engines.md).
Exit codes: 0 verified, 1 out of bounds, 2 bad input or usage, 3 nothing verified, 70 an error of
ours.

examples:
  parallax verify models/
  parallax verify model.onnx --device cpu
  parallax verify model.onnx --precision high,low --shape image=1,3,224,224 --output report.json
  parallax verify model.onnx --inputs x.npz --expect y.npz
  parallax verify model.onnx --inputs-from strategies --examples 24
  parallax verify model.onnx --inputs calibration/ --device pocl
  parallax verify model.onnx --device intel --cache kernels.cache --no-latency
  parallax verify model.onnx --bundle wrong-node
  parallax verify model.onnx --device all --known drivers.json
  parallax verify model.onnx --device pocl --against onnxruntime
  parallax verify model.onnx --engine onnxruntime --engine-option optimization=off
"""


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
    parser.add_argument(
        "--device",
        help=f"{DEVICE_HELP} (default: the first OpenCL device); several, comma-separated, or all "
        "OpenCL devices with all: then drivers vote",
    )
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
    add_file(parser, "--known", "FILE.json", "failures of drivers that are known (docs/drivers.md)")
    parser.add_argument("--no-latency", action="store_true", help="leave out the latency lines")
    other = parser.add_argument_group("an engine that is not ours")
    add_engine(other)
    other.add_argument(
        "--against", metavar="NAME", help="compare every tensor of the device with its tensors, too"
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
    with ExitStack() as stack:
        session = _Session(judges_of(args, shapes, stack), len(files) > 1, args, out)
        session.run(files)
    code = session.exit_code
    arrays += [name for name in (args.expect, args.known) if name is not None]
    used = [v.report.device for v in session.done]
    models = dict.fromkeys(v.report.model for v in session.done)
    deliver(args, session.to_json(code), models=[*models, *arrays], devices=used)
    if session.stopped is not None:
        raise session.stopped
    if len(files) > 1:
        _conclude(session.done, session.errors, out)
    return code


class _Session:
    """Goes through models and devices, and keeps what they gave.

    Attributes:
        done: in that order. errors: by path, and by device where there are several. votes: of
            several devices, where one is wrong. stopped: what ended it early.
    """

    def __init__(
        self, judges: Sequence[Judge], are_several: bool, args: argparse.Namespace, out: Console
    ) -> None:
        self._judges, self._args, self._out = judges, args, out
        self._are_several = are_several
        self.done: list[Verified] = []
        self.errors: dict[str, str] = {}
        self._is_internal = False
        self.votes: list[Vote] = []
        self.stopped: BaseException | None = None
        self._bundle: str | None = None

    def run(self, files: Sequence[Path]) -> None:
        """Verify all; an error of one of several is kept, and the others run."""
        try:
            for path in files:
                self._model(path)
        except (KeyboardInterrupt, BrokenPipeError) as error:
            self.stopped = error

    def _model(self, path: Path) -> None:
        """On all devices, until one says that it is no matter of devices."""
        ballots: list[Ballot] = []
        for judge in self._judges:
            ballot = self._judge(judge, path)
            if ballot is None:
                return
            ballots.append(ballot)
        if len(ballots) > 1:
            found = votes_of(str(path), ballots)
            self.votes += found
            _print_votes(path, ballots, found, self._out)

    def _judge(self, judge: Judge, path: Path) -> Ballot | None:
        """What a device says; None where the model cannot be verified on any."""
        try:
            verified = judge(path)
        except ParallaxError as error:
            is_of_device = isinstance(error, OURS) and len(self._judges) > 1
            if not (is_of_device or self._are_several):
                raise
            self._is_internal |= isinstance(error, PlanError)
            where = f"{path} on {judge.device}" if is_of_device else str(path)
            self.errors[where] = str(error)
            complain(f"{where}: {error}", [str(path)])
            kind = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            return Ballot(judge.device, None, kind) if is_of_device else None
        self.done.append(verified)
        _print(verified, self._out, self._args)
        args, report = self._args, verified.report
        if self._bundle is None and args.bundle is not None and not report.ok:
            self._bundle = bundle_of(report, verified.failed, verified.device, args)
        if report.interrupted:
            raise KeyboardInterrupt
        return Ballot(judge.device, report)

    @property
    def exit_code(self) -> int:
        """Of the command."""
        if self.stopped is not None:
            return INTERRUPTED
        if self._is_internal:
            return INTERNAL_ERROR
        return exit_code([v.report for v in self.done], self.errors)

    def to_json(self, code: int) -> dict[str, Any]:
        """The document."""
        return {
            "exit_code": code,
            "interrupted": self.stopped is not None,
            "models": [v.to_json() for v in self.done],
            "votes": self.votes,
            "errors": self.errors,
            "bundle": self._bundle,
        }


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


def _print(verified: Verified, out: Console, args: argparse.Namespace) -> None:
    report = verified.report
    if args.quiet:
        out.print(_summary(report), markup=False, soft_wrap=True)
        for sentence in report.stale:
            out.print(f"known failure: {sentence}", markup=False, soft_wrap=True)
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


def _print_votes(
    path: Path, ballots: Sequence[Ballot], votes: Sequence[Vote], out: Console
) -> None:
    name, names = visible(path), ", ".join(ballot.device for ballot in ballots)
    if not votes:
        out.print(f"{name}: no difference between {names}", markup=False, soft_wrap=True)
    for vote in votes[:VOTES_MAX]:
        out.print(f"{name}: {vote}", markup=False, soft_wrap=True)
    if len(votes) > VOTES_MAX:
        out.print(f"{name}: and {len(votes) - VOTES_MAX} more", markup=False)
    out.print()


def _summary(report: VerifyReport) -> str:
    """One line: the verdict of each precision."""
    words = [f"{p.requested} {p.verdict}" for p in report.precisions]
    words += ["interrupted"] if report.interrupted else []
    return f"{visible(report.model)}: {', '.join(words)}"


def _conclude(done: Sequence[Verified], errors: dict[str, str], out: Console) -> None:
    good = sum(v.report.ok for v in done)
    out.print(f"[bold]{good} of {counted(len(done) + len(errors), 'model')} verified[/]")
    for v in done:
        if not v.report.ok:
            out.print(f"  {visible(v.report.model)}: {v.report.verdict}", markup=False)
    for path in errors:
        out.print(f"  {visible(path)}: could not be verified (see the message above)", markup=False)
