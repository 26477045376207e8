"""`parallax completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import shtab

from parallax.options import HelpFormatter

EPILOG = """\
examples:
  eval "$(parallax completion bash)"                                  in ~/.bashrc
  parallax completion zsh > ~/.zsh/completions/_parallax              a folder of $fpath
"""


def add_parser(subparsers: Any, top: Callable[[], argparse.ArgumentParser]) -> None:
    """Declare the sub-command; `top` makes the parser that is completed."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "completion",
        help="print the completion script of a shell",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="the shell")
    parser.set_defaults(
        func=lambda args: _print(args.shell, top()), debug=False, command=None, json=False
    )


def _print(shell: str, parser: argparse.ArgumentParser) -> int:
    print(shtab.complete(parser, shell))
    return 0
