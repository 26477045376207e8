"""`parallax devices`: every OpenCL device and the CPU backend, and how to select each."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from rich.table import Table

from conformance.document import deliver
from conformance.visible import escape
from engine.backends import registry
from engine.backends.protocol import LOW_IS_SLOW, DeviceInfo
from engine.config import Precision
from engine.errors import DeviceError
from parallax.options import add_command
from parallax.output import complain, console

EPILOG = """\
--device of the other commands takes `cpu` for the NumPy backend, or what names one OpenCL device: a
short name (pocl, intel, nvidia, amd, rusticl), `gpu`, any part of a platform's or else a device's
name, or the numbers in the first column. What several devices have is refused.

examples:
  parallax devices
  parallax devices --json
"""


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command."""
    add_command(
        subparsers,
        "devices",
        run,
        help="list every OpenCL device and the CPU backend",
        description=__doc__,
        epilog=EPILOG,
    )


def run(args: argparse.Namespace) -> int:
    """List; 0 even without an OpenCL device, because the CPU backend is always there."""
    found, problem = list_devices()
    short = registry.opencl_selectors() if len(found) > 1 else {}
    entries = [_entry(numbers, short.get(numbers, numbers), info) for numbers, info in found]
    deliver(args, {"devices": entries, "problem": problem})
    out = console(silent=args.json)
    for numbers, info in found:
        out.print(_table(numbers, short.get(numbers, numbers), info))
    if problem and not args.json:
        complain(problem)
    return 0


def list_devices() -> tuple[list[tuple[str, DeviceInfo]], str]:
    """(numbers, info) of every device, "cpu" last, and what cannot be used and why ("")."""
    cpu = ("cpu", registry.cpu_backend().info)
    try:
        return [*registry.opencl_devices(), cpu], "; ".join(registry.opencl_problems())
    except DeviceError as error:
        return [cpu], str(error)


def notes(info: DeviceInfo) -> list[str]:
    """What a user should know of a device: what was set for it, and what is slow."""
    return [*([LOW_IS_SLOW] if info.half_is_emulated else []), *info.notes]


def effective(selector: str, info: DeviceInfo) -> dict[str, str]:
    """What each requested precision will be on a device."""
    if selector == "cpu":
        taken = {p.value: Precision.HIGH.value for p in (Precision.HIGH, Precision.NORMAL)}
        return {**taken, Precision.LOW.value: "refused"}
    low = Precision.LOW if info.supports_fp16 else Precision.NORMAL
    return {p.value: low.value if p is Precision.LOW else p.value for p in Precision}


def _entry(numbers: str, short: str, info: DeviceInfo) -> dict[str, Any]:
    return {
        "selector": numbers,
        "short": short,
        **asdict(info),
        "precisions": effective(numbers, info),
    }


def _table(numbers: str, short: str, info: DeviceInfo) -> Table:
    table = Table(
        title=f"[bold]{numbers}[/]  {escape(f'{info.platform} / {info.name}')}",
        title_justify="left",
        title_style="",
        show_header=False,
        box=None,
        padding=(0, 2, 0, 2),
    )
    yes = {True: "yes", False: "no"}
    kinds = ("fp16", info.supports_fp16), ("fp64", info.supports_fp64)
    support = ", ".join(f"{n} {yes[b]}" for n, b in (*kinds, ("images", info.supports_images)))
    precisions = (
        f"{wanted} -> {got}" if wanted != got else wanted
        for wanted, got in effective(numbers, info).items()
    )
    rows = {
        "select": f"--device {short}",
        "driver": f"{info.driver}, {info.version}",
        "compute": f"{info.compute_units} units, {info.memory_nbytes / 2**30:.1f} GiB, "
        f"alignment {info.alignment_nbytes} bytes",
        "supports": support + (", flushes subnormals" if info.flushes_subnormals else ""),
        "precision": ", ".join(precisions),
        "note": "; ".join(notes(info)),
    }
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows.items():
        if text:
            table.add_row(name, escape(text))
    return table
