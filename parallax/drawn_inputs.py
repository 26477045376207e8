"""`verify --inputs-from strategies`, and several `--inputs`: which sets of inputs are verified."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from conformance.examples import STRATEGIES, Example, drawn_examples, given_example
from conformance.shapes import Shapes
from conformance.value_classes import CLASSES
from engine.errors import ConfigError
from engine.interpreter import Interpreter
from parallax.inputs import inputs_files, inputs_of


def add_drawn(parser: argparse.ArgumentParser) -> None:
    """`--inputs-from strategies`, `--examples N`, `--not-finite`."""
    parser.add_argument(
        "--inputs-from",
        metavar=STRATEGIES,
        help="draw hostile inputs, of a class of values each; the worst of every node is kept",
    )
    parser.add_argument(
        "--examples",
        type=int,
        metavar="N",
        help=f"of --inputs-from: so many, of seeds from --seed on ({len(CLASSES)}: all classes)",
    )
    parser.add_argument(
        "--not-finite", action="store_true", help="of --inputs-from: infinities and NaN, too"
    )


def check_drawn(args: argparse.Namespace) -> None:
    """Raise ConfigError for what is said of inputs that are not drawn, or not of this kind."""
    if args.inputs_from is None:
        for name, value in (("--examples", args.examples), ("--not-finite", args.not_finite)):
            if value:
                raise ConfigError(f"{name}: of inputs that are drawn; give --inputs-from, too")
        return
    if args.inputs_from != STRATEGIES:
        raise ConfigError(f"--inputs-from {args.inputs_from}: expected {STRATEGIES}")
    if args.inputs is not None:
        raise ConfigError("--inputs and --inputs-from exclude each other")
    if args.examples is not None and args.examples < 1:
        raise ConfigError(f"--examples {args.examples}: expected 1 or more")


def examples_of(
    interpreter: Interpreter, args: argparse.Namespace, shapes: Shapes
) -> list[Example] | None:
    """The sets of inputs; None where there is one, or the usual random one."""
    if args.inputs_from is not None:
        return drawn_examples(
            interpreter,
            args.inputs_from,
            shapes,
            args.seed,
            args.examples,
            not_finite=args.not_finite,
        )
    files = inputs_files(args.inputs or ())
    if len(files) < 2:
        return None
    is_clear = len({Path(file).name for file in files}) == len(files)
    return [
        given_example(Path(file).name if is_clear else file, partial(inputs_of, interpreter, file))
        for file in files
    ]
