"""`parallax fuzz`: random graphs on a device; what fails becomes a small bundle."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from conformance.bundles.failing import AnyPlace
from conformance.bundles.worker import Worker
from conformance.document import deliver
from conformance.figures import counted
from conformance.files import add_file
from conformance.report import (
    INTERRUPTED,
    NOTHING_VERIFIED,
    OUT_OF_BOUNDS,
    VERDICTS,
    VERIFIED,
)
from engine.errors import ConfigError
from engine.runtime import Runtime
from parallax.options import add_command, add_timeout, check_seed
from parallax.output import console
from parallax.places import add_places, places_of
from parallax.progress import progress
from properties.fleet import Fleet, connected
from properties.fuzz import Finding, Fuzz, State, plain
from properties.hostile.schedule import seconds_of

BUDGET_S = 600.0

EPILOG = """\
Each seed is one graph of up to 40 nodes of any operators, dtypes and shapes, with its inputs; in
every second one parts stand in If, Loop or Scan, axes have names, and what decides shapes is fed or
computed. It is judged as verify judges; with --engine as verify --engine does, without the nodes
that the engine does not run. The first failure of a kind (operator, kind and precision) is made
smaller, tried again in a fresh process, and written as a bundle (docs/bundles.md); others of that
kind are counted. Graphs run in a process of their own: a driver that crashes, or hangs for
--timeout, is a finding like any other, if it hangs for 2 minutes in a fresh process, too. With
--resume the run can be ended at any time, and the same command goes on from there. With --scheduler
the workers of a fleet of Dask (pip install "parallax-engine[fleet]") try them, each on its own
device of that name; bundles come back here.

Exit codes: 0 nothing failed, 1 something did, 2 bad input or usage, 3 nothing verified,
130 interrupted (what was found is kept).

examples:
  parallax fuzz --device pocl --budget 10m
  parallax fuzz --device gpu --precision low --seed 5000 --bundles found
  parallax fuzz --device intel --budget 1h --resume fuzz.json
  parallax fuzz --device pocl --seed 17 --count 1
  parallax fuzz --engine onnxruntime --engine-option optimization=off --budget 5m
  parallax fuzz --device pocl --budget 8h --scheduler tcp://10.0.0.1:8786 --resume fuzz.json
"""


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    parser = add_command(
        subparsers,
        "fuzz",
        run,
        help="try random graphs on a device, and keep what fails",
        description=__doc__,
        epilog=EPILOG,
    )
    add_places(parser, "comma-separated (default: all)")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--budget", type=seconds_of, metavar="TIME", help="90s, 10m, 1.5h (10m)")
    limit.add_argument("--count", type=int, metavar="N", help="so many graphs instead")
    parser.add_argument("--seed", type=int, help="of the first graph (0)")
    add_timeout(parser)
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a fleet of Dask, such as tcp://10.0.0.1:8786, whose workers try the graphs",
    )
    add_file(parser, "--resume", "FILE", "where to note how far it came, and to go on from")
    parser.add_argument(
        "--bundles",
        metavar="FOLDER",
        default="fuzz-bundles",
        help="where bundles are written (fuzz-bundles)",
    )


def run(args: argparse.Namespace) -> int:
    """Fuzz and print; the exit code."""
    check_seed(args.seed or 0)
    if args.count is not None and args.count < 1:
        raise ConfigError(f"--count {args.count}: expected 1 or more")
    _check_folder(Path(args.bundles))
    if not args.verbose:  # notes on sessions, one for every try
        logging.getLogger("parallax").setLevel(logging.ERROR)
    out = console(silent=args.json)
    stopped: BaseException | None = None
    with Runtime() as runtime, Worker(args.timeout) as worker, _fleet(args) as client:
        places = places_of(args, runtime, worker)
        info = places[0].info
        state = _state(places, args)
        if not args.quiet:
            where = f"{info.platform} / {info.name}, driver {info.driver}"
            out.print(f"seeds from {state.following} on, {where}", markup=False, soft_wrap=True)
        try:
            _fuzz(state, places, client, args, out)
        except (KeyboardInterrupt, BrokenPipeError) as error:
            stopped = error
    code = exit_code(state) if stopped is None else INTERRUPTED
    data = {**plain(state), "exit_code": code, "interrupted": stopped is not None}
    deliver(args, data, devices=[info])
    _conclude(state, code, out)
    if stopped is not None:
        raise stopped
    return code


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--bundles {folder}: it is no folder")


def _state(places: Sequence[AnyPlace], args: argparse.Namespace) -> State:
    """That of `--resume`, or a new one."""
    _, *chosen = places[0].choice
    device, precisions = " ".join(chosen), [place.arithmetic for place in places]
    path = None if args.resume is None else Path(args.resume)
    if path is None or not path.exists() or not path.stat().st_size:
        seed = args.seed or 0
        return State(device, precisions, seed, seed)
    state = State.load(path)
    if args.seed is not None:
        raise ConfigError(f"--resume {path} goes on at seed {state.following}; leave out --seed")
    if (state.device, state.precisions) != (device, precisions):
        raise ConfigError(
            f"--resume {path}: of {state.device} at {', '.join(state.precisions)}, not of "
            f"{device} at {', '.join(precisions)}"
        )
    return state


def _fleet(args: argparse.Namespace) -> AbstractContextManager[Any]:
    """A client of the scheduler, or None."""
    return nullcontext() if args.scheduler is None else connected(args.scheduler)


def _fuzz(
    state: State, places: list[AnyPlace], client: Any, args: argparse.Namespace, out: Console
) -> None:
    total = args.count or int(args.budget or BUDGET_S)

    def show(finding: Finding) -> None:
        out.print(_told(finding), markup=False, soft_wrap=True)

    def save(state: State) -> None:
        if args.resume is not None:
            state.save(Path(args.resume))

    with progress("fuzz", silent=args.quiet) as bar:
        first, start = state.graphs, time.monotonic()

        def tell(stage: str) -> None:
            done = state.graphs - first if args.count else int(time.monotonic() - start)
            bar(f"{counted(len(state.findings), 'finding')}, {stage}", done, total)

        seconds = None if args.count else args.budget or BUDGET_S
        folder = Path(args.bundles)
        if client is None:
            fuzz = Fuzz(state, places, folder, save, tell, show)
            fuzz.run(seconds=seconds, count=args.count)
            return
        recipes = [place.recipe for place in places]
        fleet = Fleet(state, client, recipes, args.timeout, folder, save, tell, show)
        fleet.run(seconds=seconds, count=args.count)


def _told(finding: Finding) -> str:
    """A line for a finding, and where its bundle is."""
    where = finding.problem
    if finding.bundle is not None:
        left = counted(finding.nodes or 0, "node")
        where = f"{left} left; parallax replay {finding.bundle} tries it again"
    return f"seed {finding.seed}: {finding.said}\n  {where}"


def exit_code(state: State) -> int:
    """Something failed, nothing verified, or nothing failed."""
    if state.findings:
        return OUT_OF_BOUNDS
    return VERIFIED if state.verified else NOTHING_VERIFIED


def _conclude(state: State, code: int, out: Console) -> None:
    seeds = f"seeds {state.first} to {state.following - 1}"
    if state.following == state.first:
        seeds = "no seeds"
    refused = sum(state.refused.values())
    out.print(
        f"{seeds}: {counted(state.graphs, 'graph')}, {counted(len(state.findings), 'finding')}, "
        f"{counted(refused, 'run')} not judged; --seed {state.following} goes on",
        soft_wrap=True,
    )
    if state.slow:
        out.print(
            f"{state.slow} of the runs took longer than --timeout, yet ended in a fresh process: "
            "no findings",
            soft_wrap=True,
        )
    out.print(f"fuzz: [bold]{VERDICTS[code]}[/]")
