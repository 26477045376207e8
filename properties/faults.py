"""Measure the harness: plant faults one at a time and count how many the properties notice.

`python -m properties.faults [--device SELECTOR] [--only PATTERN]` prints a table and `killed K/N`;
it exits with 1 when a fault survives. A survivor is a defect of the harness. Nothing but the
installed packages is needed: no checkout, no hypothesis, no pytest.

With `--general` no fault is hunted by what was written for it: the same campaign at the depth of
CI (`properties.general`; `--budget` examples of everything) runs under each, and the table is by
level.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TextIO

from conformance.document import add_document, deliver
from conformance.files import check_files
from engine.backends.protocol import DeviceInfo
from engine.errors import ParallaxError
from properties import fault_slips_host, fault_slips_meanings, fault_slips_passes
from properties.fault import Fault, FaultError, bench, caught
from properties.fault_control import CONTROL_FAULTS
from properties.fault_host import HOST_AND_OTHER_FAULTS
from properties.fault_kernels import KERNEL_FAULTS
from properties.fault_meanings import MEANING_FAULTS
from properties.fault_microsoft import MICROSOFT_FAULTS
from properties.fault_sequences import SEQUENCE_FAULTS
from properties.fault_sessions import SESSION_FAULTS
from properties.fault_strings import STRING_FAULTS
from properties.fault_tolerances import TOLERANCE_FAULTS
from properties.general import ROUNDS
from properties.score import Results, Scored, preload, record_of, scored, shown, table

FAULTS: tuple[Fault, ...] = (
    *KERNEL_FAULTS,
    *HOST_AND_OTHER_FAULTS,
    *SESSION_FAULTS,
    *MEANING_FAULTS,
    *MICROSOFT_FAULTS,
    *CONTROL_FAULTS,
    *SEQUENCE_FAULTS,
    *STRING_FAULTS,
    *TOLERANCE_FAULTS,
    *fault_slips_passes.FAULTS,
    *fault_slips_host.FAULTS,
    *fault_slips_meanings.FAULTS,
)
NEEDS_OPENCL = ("kernel", "host")


@dataclass(frozen=True)
class Result:
    """What became of one fault.

    Attributes:
        verdict: killed, survived, or broken (the fault could not be planted).
        seconds: wall time until it was noticed, or until the hunt gave up.
    """

    name: str
    level: str
    verdict: str
    seconds: float
    message: str


def measure(fault: Fault, selector: str) -> Result:
    """Plant one fault and hunt it."""
    start = time.perf_counter()
    try:
        catch = caught(fault, selector)
        verdict = "killed" if catch else "survived"
        message = f"step {catch.steps}: {catch.message}" if catch else ""
    except FaultError as error:
        verdict, message = "broken", str(error)
    except Exception as error:
        verdict, message = "broken", f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    return Result(fault.name, fault.level, verdict, seconds, message)


def select(only: Iterable[str] = (), selector: str = "portable") -> list[Fault]:
    """The faults that match a pattern such as "shrink-*" (all by default) and apply to a device."""
    patterns = list(only) or ["*"]
    for pattern in patterns:
        if not any(fnmatchcase(f.name, pattern) for f in FAULTS):
            raise SystemExit(f"no fault named {pattern}")
    return [
        f
        for f in FAULTS
        if any(fnmatchcase(f.name, pattern) for pattern in patterns)
        and (selector != "cpu" or f.level not in NEEDS_OPENCL)
    ]


def _general(options: argparse.Namespace, used: set[DeviceInfo], lines: TextIO) -> int:
    """The general score: 0 all killed, 1 one survived."""
    preload()
    file, record = record_of(options.device, options.budget, options.state)
    for i in record.wrong:
        print(f"left out, as it fails without a fault: {record.names[i]}", file=lines)
    known = Results(file.with_suffix(".json"))
    chosen = select(options.only, options.device)
    for fault in shown(chosen, "faults"):
        if fault.name not in known.known:
            result = scored(fault, options.device, options.budget, record, file)
            known.add(result)
            print(_line(result), file=lines, flush=True)
    results = [known.known[fault.name] for fault in chosen]
    print("\n".join(table(results)), file=lines)
    killed = sum(r.verdict == "killed" for r in results)
    seconds = record.seconds.sum()
    print(
        f"killed {killed}/{len(results)} on {options.device} by a campaign of "
        f"{len(record.names)} steps, {seconds:.0f} s",
        file=lines,
    )
    report = {"device": options.device, "killed": killed, "planted": len(results)}
    rows = [asdict(r) for r in results]
    deliver(options, {**report, "budget": options.budget, "general": rows}, devices=used)
    return 0 if killed == len(results) > 0 else 1


def _line(result: Scored) -> str:
    blamed = f" (graphs blame {result.blamed})" if result.blamed else ""
    return (
        f"{result.verdict:9}{result.level:11}{result.name:42}{result.seconds:6.1f} s  "
        f"{result.by}: {result.said[:120]}{blamed}"
    )


def main(arguments: list[str] | None = None) -> int:
    """The command line: 0 all killed, 1 one survived, 2 there is no such device."""
    parser = argparse.ArgumentParser(prog="python -m properties.faults", description=__doc__)
    parser.add_argument("--device", default="portable", help="OpenCL selector, or cpu")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--general", action="store_true", help="a campaign that knows no fault")
    parser.add_argument("--budget", type=int, default=ROUNDS, help="its examples of everything")
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(tempfile.gettempdir()) / "parallax-faults",
        metavar="FOLDER",
        help="of what was recorded and scored, which a later run goes on from",
    )
    add_document(parser, "faults")
    options = parser.parse_args(arguments)
    try:
        check_files(options)
        with bench(options.device) as where:
            used = {t.backend.info for t in (where.cpu, *where.opencl)}
    except ParallaxError as error:
        print(f"properties.faults: {error}", file=sys.stderr)
        return 2
    lines = sys.stderr if options.json else sys.stdout
    if options.general:
        return _general(options, used, lines)
    results = []
    for fault in select(options.only, options.device):
        result = measure(fault, options.device)
        results.append(result)
        print(
            f"{result.verdict:9}{result.level:11}{result.name:38}{result.seconds:6.1f} s  "
            f"{result.message[:150]}",
            file=lines,
            flush=True,
        )
    killed = sum(r.verdict == "killed" for r in results)
    seconds = sum(r.seconds for r in results)
    print(f"killed {killed}/{len(results)} on {options.device} in {seconds:.0f} s", file=lines)
    report = {"device": options.device, "killed": killed, "planted": len(results)}
    rows = [asdict(r) for r in results]
    deliver(options, {**report, "faults": rows}, devices=used)
    return 0 if killed == len(results) > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
