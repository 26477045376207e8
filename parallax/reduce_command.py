"""`parallax reduce`: a model that fails, made as small as it can be and fail in the same way."""

from __future__ import annotations

import argparse
import logging
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from conformance.bundles.bundle import check_place
from conformance.bundles.failing import AnyPlace, Case, Failing, NothingVerified, examine
from conformance.bundles.replay import NotReproduced, keep
from conformance.bundles.worker import Worker
from conformance.document import deliver
from conformance.figures import counted
from conformance.inputs import random_inputs
from conformance.reduction.bundling import bundle_of
from conformance.reduction.reducer import BUDGET_S, Reduced, Reducer, elements_of, nodes_of
from conformance.report import NOTHING_VERIFIED, OUT_OF_BOUNDS, VERIFIED
from conformance.visible import visible
from engine.errors import InputError, ModelError
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from parallax.inputs import add_inputs, check_exclusive, inputs_of
from parallax.options import (
    add_bundle,
    add_command,
    add_models,
    add_shape,
    add_timeout,
    check_names,
    check_seed,
    model_file,
    parse_shapes,
)
from parallax.output import console
from parallax.places import add_places, places_of
from parallax.progress import progress
from properties.hostile.schedule import seconds_of

EPILOG = """\
Tried are, in rounds until nothing more can go: the failing node alone; fewer nodes (what one
computed becomes an input, or one of its inputs stands for it); smaller dimensions; fewer
attributes; simpler values. A smaller model is taken when it fails in the same way: the same
operator, kind of failure and precision. Tries run in a process of their own: a driver that
crashes, or hangs for --timeout, fails in a way of its own, which is made smaller like any other.
The result is a bundle (docs/bundles.md), with the nearest neighbour that passes.

Exit codes: 0 nothing fails, 1 something does (and was made smaller), 2 bad input or usage,
3 nothing verified.

examples:
  parallax reduce model.onnx --device pocl
  parallax reduce model.onnx --device gpu --precision low --inputs x.npz --bundle wrong.zip
  parallax reduce model.onnx --device intel --budget 30m
  parallax reduce model.onnx --engine onnxruntime --engine-option optimization=off
"""

WEIGHTS_NBYTES_MAX = 2_000_000_000
"""A message of protobuf ends at 2 GiB."""


@dataclass(frozen=True)
class Found:
    """The first precision at which a model fails, and how."""

    place: AnyPlace
    failing: Failing


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    parser = add_command(
        subparsers,
        "reduce",
        run,
        help="make a model that fails as small as possible",
        description=__doc__,
        epilog=EPILOG,
    )
    add_models(parser, several=False)
    add_places(parser, "comma-separated; the first that fails (default: all)")
    add_inputs(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs (0)")
    add_shape(parser)
    parser.add_argument(
        "--budget", type=seconds_of, metavar="TIME", default=BUDGET_S, help="90s, 10m, 1.5h (5m)"
    )
    add_timeout(parser)
    add_bundle(parser, "a new folder or .zip for the result (default: MODEL.bundle)")


def run(args: argparse.Namespace) -> int:
    """Reduce, write the bundle, print; the exit code."""
    check_seed(args.seed)
    check_exclusive(args)
    path = model_file(args.model, "reduce")
    target = Path(args.bundle or f"{path.stem}.bundle")
    check_place(target, "--bundle")
    if not args.verbose:  # notes on sessions, one for every try
        logging.getLogger("parallax").setLevel(logging.ERROR)
    case = _case(path, args)
    with Runtime() as runtime, Worker(args.timeout) as worker:
        places = places_of(args, runtime, worker)
        info = places[0].info
        found, code = _first_failing(case, places, args.seed)
        data: dict[str, Any] = {"exit_code": code, "model": str(path), "signature": None}
        if found is not None:
            reduced = _reduce(case, found, path.name, args)
            data |= _facts(case, reduced)
            data["bundle"], data["problem"] = _keep(reduced, found.place, path, target, args)
    deliver(args, data, models=[path], devices=[info])
    _print(args, data, code)
    return code


def _case(path: Path, args: argparse.Namespace) -> Case:
    """The model with its weights inside, and its inputs; raises ModelError or InputError."""
    interpreter = Interpreter.from_file(path)
    shapes = parse_shapes(args.shape)
    check_names(interpreter, shapes)
    if args.inputs is not None:
        feeds = inputs_of(interpreter, args.inputs)
    else:
        feeds = random_inputs(interpreter, shapes, args.seed)
    lists = [n for n, x in feeds.items() if not isinstance(x, np.ndarray)]
    if lists:
        raise InputError(f"reduce: input {lists[0]!r} is a sequence or an optional, no tensor")
    if interpreter.info.weights_nbytes > WEIGHTS_NBYTES_MAX:
        raise ModelError(f"{path}: its weights are too large to be kept in one file")
    data = onnx.load(path).SerializeToString()
    return Case(data, {n: np.asarray(x) for n, x in feeds.items()})


def _first_failing(case: Case, places: list[AnyPlace], seed: int) -> tuple[Found | None, int]:
    """The first precision that fails, and the exit code."""
    codes = set()
    for place in places:
        try:
            failing = examine(case, place, seed)
        except NothingVerified:
            codes.add(NOTHING_VERIFIED)
            continue
        if failing is not None:
            return Found(place, failing), OUT_OF_BOUNDS
        codes.add(VERIFIED)
    return None, VERIFIED if VERIFIED in codes else NOTHING_VERIFIED


def _reduce(case: Case, found: Found, name: str, args: argparse.Namespace) -> Reduced:
    with progress(name, silent=args.quiet) as tell:
        return Reducer(
            case,
            found.failing,
            found.place,
            args.seed,
            args.budget,
            lambda stage, seconds: tell(stage, int(seconds), int(args.budget)),
        ).run()


def _keep(
    reduced: Reduced, place: AnyPlace, path: Path, target: Path, args: argparse.Namespace
) -> tuple[str | None, str | None]:
    """The path of the bundle, or None and why there is none."""
    origin = f"parallax reduce {path.name} {shlex.join(place.choice)}"
    bundle = bundle_of(reduced, place, origin=origin, seed=args.seed)
    try:
        keep(bundle, target)
    except NotReproduced as error:
        return None, str(error)
    return str(target), None


def _facts(case: Case, reduced: Reduced) -> dict[str, Any]:
    return {
        "signature": reduced.failing.signature.to_json(),
        "said": reduced.failing.said,
        "before": {"nodes": nodes_of(case), "elements": elements_of(case)},
        "after": {"nodes": reduced.nodes, "elements": reduced.elements},
        "passing": None if reduced.passing is None else reduced.passing.said,
        "tries": reduced.tries,
        "seconds": reduced.seconds,
        "complete": reduced.is_complete,
    }


def _print(args: argparse.Namespace, data: dict[str, Any], code: int) -> None:
    out = console(silent=args.json)
    if data["signature"] is None:
        what = "nothing fails" if code == VERIFIED else "no node was verified"
        out.print(f"{visible(args.model)}: {what}", markup=False, soft_wrap=True)
        return
    before, after = data["before"], data["after"]
    lines = [
        data["said"],
        f"nodes: {before['nodes']}, now {after['nodes']}; elements of inputs and constants: "
        f"{before['elements']:,}, now {after['elements']:,}; "
        f"{counted(data['tries'], 'try', 'tries')}, {data['seconds']:.1f} s",
    ]
    lines += [] if data["complete"] else ["the time was up: a larger --budget may make it smaller"]
    lines += [f"passes with {data['passing']}"] if data["passing"] else []
    for line in lines if not args.quiet else ():
        out.print(line, markup=False, soft_wrap=True)
    wrote = f"wrote {data['bundle']}; parallax replay {data['bundle']} tries it again"
    out.print(data["problem"] or wrote, markup=False, soft_wrap=True)
