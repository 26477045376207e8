"""Attack the engine, count outcomes, keep every finding.

exit codes: 0 no finding, 1 findings, 2 bad usage, 130 interrupted (what was found is kept)
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from conformance.document import add_document, deliver
from conformance.files import check_files
from conformance.report import BAD_INPUT, INTERRUPTED
from engine.backends.protocol import DeviceInfo
from engine.errors import ConfigError, ParallaxError
from engine.runtime import Runtime
from properties.devices import selectors, targets_on
from properties.hostile import attacks
from properties.hostile.calls import turns_of
from properties.hostile.campaign import Campaign, Tally
from properties.hostile.cases import load
from properties.hostile.children import Dead
from properties.hostile.report import facts, show
from properties.hostile.schedule import Budget, requests, seconds_of
from properties.hostile.worker import Orders, Request

BUDGET_SECONDS = 600.0


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    options.device = options.device or list(selectors())
    try:
        check_files(options)
        _check_findings(Path(options.findings))
        used = _devices(options.device)
        wanted = _wanted(options)
    except (ParallaxError, ValueError) as error:
        print(f"properties.hostile: {error}", file=sys.stderr)
        return BAD_INPUT
    campaign = Campaign(
        {a.name: a for a in attacks.make(tuple(options.device), lambda who: None)},
        partial(_orders, tuple(options.device)),
        jobs=options.jobs,
        findings=None if options.replay else Path(options.findings),
    )
    start, interrupted = time.monotonic(), False
    try:
        with _bar(options) as tell:
            campaign.run(wanted, tell)
    except KeyboardInterrupt:
        interrupted = True
    except Dead as error:
        print(f"properties.hostile: {error}", file=sys.stderr)
        return BAD_INPUT
    data = facts(campaign.tally, time.monotonic() - start)
    about = {"seed": options.seed, "devices": options.device, "interrupted": interrupted}
    show(data, Console(highlight=False, stderr=options.json))
    deliver(options, {**data, **about}, devices=used)
    return INTERRUPTED if interrupted else int(bool(data["findings"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m properties.hostile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--budget", type=seconds_of, metavar="TIME", help="90s, 10m, 1.5h (10m)")
    limit.add_argument("--cases", type=_positive, metavar="N", help="so many cases instead")
    parser.add_argument("--seed", type=_natural, default=0, help="of all cases (0)")
    parser.add_argument("--jobs", type=_positive, default=os.cpu_count() or 1, help="children")
    parser.add_argument(
        "--device",
        action="append",
        metavar="SELECTOR",
        help="cpu or an OpenCL device; the first is taken most often (PARALLAX_DEVICES)",
    )
    aim = parser.add_mutually_exclusive_group()
    aim.add_argument("--attack", action="append", choices=attacks.NAMES, help="default: all")
    aim.add_argument(
        "--operator",
        action="append",
        metavar="NAME",
        help="only calls of this operator (default: all attacks)",
    )
    parser.add_argument(
        "--findings",
        default="hostile-findings",
        metavar="FOLDER",
        help="where findings are kept (hostile-findings)",
    )
    parser.add_argument("--replay", metavar="FILE", help="try the case of a finding once more")
    add_document(parser, "hostile")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text}: expected 0 or more")
    return number


def _devices(names: list[str]) -> set[DeviceInfo]:
    """Those that will be used; raises DeviceError for one that is absent."""
    with Runtime() as runtime:
        return {t.backend.info for name in names for t in targets_on(runtime, name)[0]}


def _check_findings(folder: Path) -> None:
    """Raise ConfigError for a folder in which nothing can be kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--findings {folder}: {error.strerror}") from error


def _wanted(options: argparse.Namespace) -> Iterator[Request]:
    if options.replay:
        case = load(Path(options.replay))
        return iter([Request(case.attack, options.seed, -1, case)])
    seconds = options.budget if options.budget or options.cases else BUDGET_SECONDS
    budget = Budget(seconds, options.cases)
    if options.operator:
        return requests(
            ["operators"], options.seed, budget, {"operators": turns_of(options.operator)}
        )
    return requests(options.attack or attacks.NAMES, options.seed, budget)


def _orders(devices: tuple[str, ...], folder: Path) -> Orders:
    return Orders(partial(attacks.make, devices), folder / "log", folder / "dump")


@contextmanager
def _bar(options: argparse.Namespace) -> Iterator[Callable[[Tally], None]]:
    """A progress bar on standard error, where that is a terminal; yields what moves it."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[cases]:,} cases, {task.fields[findings]} findings"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    seconds = options.budget or BUDGET_SECONDS
    start = time.monotonic()
    with bar:
        total = options.cases or seconds
        task = bar.add_task("hostile", total=total, cases=0, findings=0)

        def tell(tally: Tally) -> None:
            done = tally.count if options.cases else min(seconds, time.monotonic() - start)
            bar.update(task, completed=done, cases=tally.count, findings=len(tally.findings))

        yield tell
