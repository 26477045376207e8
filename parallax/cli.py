"""`parallax`: parse, dispatch to a sub-command, and turn errors into messages and exit codes."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata

from conformance.report import BAD_INPUT
from engine.errors import ParallaxError
from parallax import bench, devices, info, run, verify

INTERNAL_ERROR = 70
INTERRUPTED = 130

EPILOG = """\
examples:
  parallax devices
  parallax info model.onnx
  parallax info model.onnx --device auto --shape image=1,3,224,224
  parallax run model.onnx --device cpu --outputs y.npz
  parallax run model.onnx --inputs x.npz --precision high --device portable
  parallax verify fixtures/models
  parallax verify model.onnx --precision high,low --shape image=1,3,224,224 --json report.json
  parallax bench model.onnx --device cpu

exit codes: 0 success or verified, 1 out of bounds, 2 bad input or usage, 3 nothing verified,
70 internal error, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    try:
        args = parser().parse_args(argv)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else BAD_INPUT
    logging.basicConfig(format="parallax: %(message)s")
    try:
        return int(args.func(args))
    except ParallaxError as error:
        _complain(args.debug, f"parallax: {error}")
        return BAD_INPUT
    except KeyboardInterrupt:
        _complain(False, "parallax: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return BAD_INPUT
    except Exception as error:
        again = "" if args.debug else "; --debug shows where it happened"
        _complain(
            args.debug,
            f"parallax: internal error, please report: {type(error).__name__}: {error}{again}",
        )
        return INTERNAL_ERROR


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="parallax",
        description="ONNX inference on NumPy and OpenCL, and the harness that verifies it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"parallax {version()}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for module in (devices, info, run, verify, bench):
        module.add_parser(commands)
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    return top


def version() -> str:
    """Of the installed distribution; "(not installed)" in a bare checkout."""
    try:
        return metadata.version("parallax-engine")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _complain(debug: bool, message: str) -> None:
    if debug:
        traceback.print_exc()
    print(message, file=sys.stderr)
