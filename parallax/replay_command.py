"""`parallax replay`: does the failure of a reproduction bundle still happen?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from conformance.bundles.bundle import Bundle, read
from conformance.bundles.failing import AnyPlace, NothingVerified, Place
from conformance.bundles.replay import Outcome, replay
from conformance.bundles.worker import Worker, is_death
from conformance.devices import precision_of
from conformance.document import deliver
from conformance.engines.place import EnginePlace
from conformance.report import NOTHING_VERIFIED
from conformance.visible import visible
from engine.config import Precision
from engine.runtime import Runtime
from parallax.options import DEVICE_HELP, add_command, add_timeout
from parallax.output import console

EPILOG = """\
A bundle is what verify --bundle, reduce and fuzz write: one failure, with its inputs, what is
expected and the bounds (docs/bundles.md). It is judged as verify judges, and its output is held
against what was written down as well. Exit codes: 0 it no longer fails, 1 it fails, 2 it is no
bundle, or this version refuses the model, 3 nothing was verified: no node ran on the device.

examples:
  parallax replay wrong-node
  parallax replay wrong-node.zip --device cpu --json
"""

CODES = {Outcome.PASSES: 0, Outcome.SAME: 1, Outcome.OTHER: 1}


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    parser = add_command(
        subparsers,
        "replay",
        run,
        help="try the failure of a reproduction bundle once more",
        description=__doc__,
        epilog=EPILOG,
    )
    parser.add_argument("source", metavar="BUNDLE", help="a folder or a .zip")
    parser.add_argument("--device", help=f"{DEVICE_HELP} (default: the one where it failed)")
    add_timeout(parser)


def _place(
    bundle: Bundle, args: argparse.Namespace, runtime: Runtime, worker: Worker | None
) -> AnyPlace:
    """Where it failed, or on the device that is asked for."""
    engine, precision = bundle.facts.get("engine"), bundle.signature.precision
    if engine is None:
        device = args.device or bundle.facts["device"]["selector"]
        return Place(runtime, device, precision_of(precision), worker)
    if args.device is not None:  # engines have no levels of precision: the highest
        return Place(runtime, args.device, Precision.HIGH, worker)
    return EnginePlace(runtime, engine["name"], engine["options"], worker)


def run(args: argparse.Namespace) -> int:
    """Replay and print; the exit code."""
    path = Path(args.source)
    bundle = read(path)
    signature = bundle.signature
    with Runtime() as runtime, Worker(args.timeout) as worker:
        place = _place(bundle, args, runtime, worker if is_death(signature) else None)
        info = place.info
        try:
            found = replay(bundle, place)
            code, outcome, said = CODES[found.outcome], found.outcome.value, found.said
        except NothingVerified as error:
            code, outcome, said = NOTHING_VERIFIED, "nothing verified", str(error)
            found = None
    data = {
        "exit_code": code,
        "bundle": args.source,
        "outcome": outcome,
        "said": said,
        "signature": signature.to_json(),
        "found": None if found is None or found.found is None else found.found.to_json(),
    }
    deliver(args, data, models=[path] if path.is_file() else (), devices=[info])
    out = console(silent=args.json)
    if not args.quiet:
        out.print(f"{signature} on {info.platform} / {info.name}", markup=False, soft_wrap=True)
        out.print(said, markup=False, soft_wrap=True)
    out.print(f"{visible(args.source)}: {outcome}", markup=False, soft_wrap=True)
    return code
