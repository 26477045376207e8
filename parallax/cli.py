"""`parallax`: parse, dispatch to a sub-command, and turn errors into messages and exit codes."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, NoReturn

from conformance.document import deliver
from conformance.files import check_files, files_read
from conformance.report import BAD_INPUT, INTERNAL_ERROR, INTERRUPTED
from conformance.visible import visible_lines
from engine.errors import ParallaxError, PlanError
from parallax import (
    __version__,
    as_onnxruntime,
    bench,
    completion,
    devices,
    fuzz_command,
    info,
    packages,
    profile_command,
    reduce_command,
    replay_command,
    report_command,
    run,
    selftest_command,
    streams,
    verify_command,
)
from parallax.options import HelpFormatter, fitted
from parallax.output import forget_impossible_width

COMMANDS = (
    *(devices, info, run, verify_command, reduce_command, replay_command),
    *(fuzz_command, selftest_command, bench, profile_command),
    *(report_command, as_onnxruntime),
)
"""In the order of the help."""
READER_GONE = 141
"""What a shell says of a program that SIGPIPE ended."""
OUTPUT_LOST = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Errors of writing to standard output; those of files are ParallaxErrors by then."""

EPILOG = """\
examples:
  parallax devices
  parallax info model.onnx
  parallax info model.onnx --device auto --shape image=1,3,224,224
  parallax run model.onnx --device cpu --outputs y.npz
  parallax run model.onnx --inputs x.npz --precision high --device portable
  parallax verify fixtures/models
  parallax verify model.onnx --precision high,low --shape image=1,3,224,224 --output report.json
  parallax selftest --device pocl --quick
  parallax bench model.onnx --device cpu
  parallax profile model.onnx --device pocl --trace trace.json
  parallax as-onnxruntime --device auto -- python app.py

exit codes: 0 success or verified, 1 out of bounds, 2 bad input or usage, 3 nothing verified,
70 internal error, 130 interrupted, 141 the reader of the output went away
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    if signal.getsignal(signal.SIGINT) is packages.interrupted:  # a process of our own
        sys.unraisablehook = _note
        streams.prepare()
    forget_impossible_width()
    return _answer(argv)


def _answer(argv: Sequence[str] | None) -> int:
    """The exit code, whatever happens to the output."""
    try:
        code = _run(argv)
        sys.stdout.flush()
        streams.check_nothing_was_lost()
        return code
    except BrokenPipeError:
        _give_up(sys.stdout)
        return READER_GONE
    except OSError as error:
        _give_up(sys.stdout)
        _complain(False, f"parallax: standard output cannot be written: {error.strerror}")
        return BAD_INPUT


def _run(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    try:
        args = parser().parse_args(words)
    except SystemExit as exit_:  # of --help and --version
        return exit_.code if isinstance(exit_.code, int) else BAD_INPUT
    except _Misuse as error:
        _complain(False, f"{error.usage}{error.prog}: error: {error}", words)
        if error.command and "--json" in words:
            _deliver_failure(
                argparse.Namespace(command=error.command, json=True, output=None), error
            )
        return BAD_INPUT
    _log(args)
    may_write = False
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show  # type: ignore[assignment]
            check_files(args)
            may_write = True
            with _interruptible():
                return int(args.func(args))
    except ParallaxError as error:
        if isinstance(error, PlanError):
            return _fail(args, error, words, may_write=may_write)
        _complain(args.debug, f"parallax: {error}", words)
        _deliver_failure(args, error, may_write=may_write)
        return BAD_INPUT
    except KeyboardInterrupt:
        _complain(False, "parallax: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OUTPUT_LOST:
            raise
        return _fail(args, error, words, may_write=may_write)


def _fail(
    args: argparse.Namespace, error: Exception, words: Sequence[str], *, may_write: bool
) -> int:
    """Say that it is an error of ours; the exit code."""
    again = "" if args.debug else "; --debug shows where it happened"
    sentence = f"internal error, please report: {type(error).__name__}: {error}"
    _complain(args.debug, f"parallax: {sentence}{again}", words)
    _deliver_failure(args, sentence, INTERNAL_ERROR, may_write=may_write)
    return INTERNAL_ERROR


def _deliver_failure(
    args: argparse.Namespace, error: object, code: int = BAD_INPUT, *, may_write: bool = True
) -> None:
    """The document of a command that failed, unless it had delivered one before."""
    if args.command is None or getattr(args, "is_delivered", False):
        return
    args.output = args.output if may_write else None
    try:
        failure = {"error": str(error), "exit_code": code}
        deliver(args, failure, models=files_read(args))
    except ParallaxError as second:
        _complain(False, f"parallax: {second}")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C is a KeyboardInterrupt in here, where something may be finished that is to be kept.

    Before and after it ends a process of our own at once (`packages.interrupted`); enter this only
    where KeyboardInterrupt is caught, since one can come as soon as the handler is in place.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not packages.interrupted:
        yield
        return
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _give_up(stream: IO[str]) -> None:
    """What is still buffered must not fail again when the interpreter flushes at its end."""
    with suppress(OSError):  # it has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Misuse(Exception):
    """A command line that argparse does not understand.

    Attributes:
        command: the sub-command, or "" where there is none.
    """

    def __init__(self, parser: argparse.ArgumentParser, message: str) -> None:
        super().__init__(message)
        self.prog, self.usage = parser.prog, parser.format_usage()
        self.command = self.prog.partition(" ")[2]


class _Parser(argparse.ArgumentParser):
    """Reports what is wrong instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise _Misuse(self, message)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = _Parser(
        prog="parallax",
        description="ONNX inference on NumPy and OpenCL, and the harness that verifies it.",
        epilog=fitted(EPILOG),
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"parallax {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add_parser(commands)
    completion.add_parser(commands, parser)
    return top


def _log(args: argparse.Namespace) -> None:
    """Messages of the packages to standard error: warnings, or as `-q` and `-v` ask."""
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    level = levels[min(getattr(args, "verbose", 0), 2)]
    if getattr(args, "quiet", False):
        level = logging.ERROR
    handler = logging.StreamHandler()
    handler.setFormatter(_Visible("parallax: %(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("parallax").setLevel(level)


class _Visible(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible_lines(super().format(record))


def _show(message: Warning | str, *_: object) -> None:
    """A warning as a message in the log, without the line of ours that it came from."""
    logging.getLogger("parallax").warning("%s", message)


def _note(ignored: sys.UnraisableHookArgs) -> None:
    """An exception in a finaliser, such as of what an interrupt left half made."""
    logging.getLogger("parallax").debug("ignored: %r in %r", ignored.exc_value, ignored.object)


def _complain(debug: bool, message: str, words: Sequence[str] = ()) -> None:
    """Args: words: of the command line, which may stand in the message."""
    try:
        if debug:
            traceback.print_exc()
        print(visible_lines(message, words), file=sys.stderr, flush=True)
    except OSError:  # nobody can be told
        _give_up(sys.stderr)
