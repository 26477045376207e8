"""`parallax as-onnxruntime`: run an application that imports onnxruntime on Parallax, unchanged."""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from conformance.devices import precision_of, target_of
from engine.errors import InputError
from engine.runtime import Runtime
from parallax import compat
from parallax.options import HelpFormatter, fitted

EPILOG = """\
The program gets a package `onnxruntime` whose calls are those of parallax.compat; what that lacks
raises an error by its name. The program's exit code is the command's.

examples:
  parallax as-onnxruntime -- python app.py --its --own options
  parallax as-onnxruntime --device pocl -- python -m rapidocr_onnxruntime
"""
PACKAGE = {
    "__init__.py": """\
from parallax.compat import *
from parallax.compat import __getattr__, __version__

from . import capi
""",
    "capi/__init__.py": """\
from . import onnxruntime_pybind11_state
""",
    "capi/onnxruntime_pybind11_state.py": """\
from parallax import DeviceError as EPFail
from parallax import InputError as InvalidArgument
from parallax import ModelError as InvalidGraph
from parallax import ModelError as InvalidProtobuf
from parallax import ModelError as NoModel
from parallax import ModelError as NoSuchFile
from parallax import ParallaxError as Fail
from parallax import ParallaxError as RuntimeException
from parallax import UnsupportedError as NotImplemented


class ModelLoaded(Fail):
    "Nothing here raises it: a session has one model."
""",
}
"""The files of the package by name; exceptions have the names that they have there."""


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "as-onnxruntime",
        help="run an application that imports onnxruntime on Parallax",
        description=fitted(__doc__ or ""),
        epilog=fitted(EPILOG),
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--device",
        default="cpu",
        help="what its sessions run on, whatever they ask for: cpu, auto, or an OpenCL device "
        "(default: cpu)",
    )
    parser.add_argument("--precision", default="high", help="high, normal or low (default: high)")
    parser.add_argument(
        "program", nargs=argparse.REMAINDER, help="the program and its arguments, after --"
    )
    parser.set_defaults(func=run, debug=False, command=None, json=False)


def run(args: argparse.Namespace) -> int:
    """Run the program; its exit code."""
    words = args.program[1:] if args.program[:1] == ["--"] else args.program
    if not words:
        raise InputError(
            "as-onnxruntime: no program; expected `-- python app.py` after the options"
        )
    precision_of(args.precision)
    device = _device(args.device)
    with tempfile.TemporaryDirectory(prefix="parallax-as-onnxruntime-") as folder:
        for name, text in PACKAGE.items():
            file = Path(folder) / "onnxruntime" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        before = os.environ.get("PYTHONPATH", "")
        environment = {
            **os.environ,
            compat.DEVICE: device,
            compat.PRECISION: args.precision,
            "PYTHONPATH": os.pathsep.join(filter(None, (folder, before))),
        }
        try:
            code = subprocess.run(words, env=environment, check=False).returncode
        except OSError as error:
            raise InputError(
                f"as-onnxruntime: {words[0]!r} cannot be run: {error.strerror}"
            ) from None
    return code if code >= 0 else 128 - code


def _device(name: str) -> str:
    """As compat takes it; raises DeviceError where there is none of this name."""
    if name == "auto":
        return name
    with Runtime() as runtime:
        return target_of(name, runtime)[1] or "cpu"
