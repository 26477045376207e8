"""Who beside us has agreed on the meaning of which operator, attribute by attribute.

exit codes: 0 all features witnessed, refused, or known not to be; 1 not so; 2 bad usage, 130
interrupted (what was heard is shown)
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.progress import track

from conformance.document import add_document, deliver
from conformance.files import check_files
from conformance.report import BAD_INPUT, INTERRUPTED
from engine.config import ForwardType, ScheduleConfig
from engine.errors import ParallaxError
from engine.runtime import Runtime
from properties.hostile.witnesses import WITNESSES
from properties.witnessed.features import Feature, features, versions
from properties.witnessed.unwitnessed import BY_CHANCE, why_not
from properties.witnessed.walk import Heard, Walk, walked

Rows = Sequence[tuple[Feature, Heard]]


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        check_files(options)
    except ParallaxError as error:
        print(f"properties.witnessed: {error}", file=sys.stderr)
        return BAD_INPUT
    found: list[tuple[Feature, Heard]] = []
    interrupted = False
    try:
        for pair in _heard(options.operator or walked(), options.seed):
            found.append(pair)
    except KeyboardInterrupt:
        interrupted = True
    deliver(options, {**facts(found), "seed": options.seed, "interrupted": interrupted})
    if not options.json:
        _show(found, everything=options.all)
    if interrupted:
        return INTERRUPTED
    return int(any(is_wrong(feature, heard) for feature, heard in found))


def _heard(names: Sequence[str], seed: int) -> Iterator[tuple[Feature, Heard]]:
    console = Console(stderr=True)
    with Runtime() as runtime:
        walk = Walk(runtime.backend(ForwardType.CPU, ScheduleConfig()), seed)
        for name in track(names, "operators", console=console, disable=not console.is_terminal):
            for version in versions(name):
                for feature in features(name, version):
                    yield feature, walk.hear(feature)


def verdict(feature: Feature, heard: Heard) -> str:
    """The verdict on a feature, with what is known of it."""
    known = why_not(str(feature))
    if heard.verdict == "not witnessed" and known:
        return "known to be unwitnessed"
    is_stale = heard.verdict == "witnessed" and known and known not in BY_CHANCE
    return "witnessed after all" if is_stale else heard.verdict


def is_wrong(feature: Feature, heard: Heard) -> bool:
    """Whether a feature must not stay so."""
    return verdict(feature, heard) in ("contradicted", "not witnessed", "witnessed after all")


def reason(feature: Feature, heard: Heard) -> str:
    """Why a feature is not witnessed."""
    sentence = heard.sentence.removeprefix(f"{feature.op_type} 'node': ")
    return heard.against or why_not(str(feature)) or sentence


def facts(found: Rows) -> dict[str, Any]:
    """What --json prints."""
    return {
        "features": [
            {
                "operator": feature.op_type,
                "feature": str(feature),
                "verdict": verdict(feature, heard),
                "agreed": heard.agreed,
                "reason": "" if heard.verdict == "witnessed" else reason(feature, heard),
            }
            for feature, heard in found
        ]
    }


def _show(found: Rows, *, everything: bool) -> None:
    console = Console(highlight=False)
    for feature, heard in found:
        if verdict(feature, heard) != "witnessed":
            console.print(f"{verdict(feature, heard)}: {feature}")
            console.print(Padding(reason(feature, heard), (0, 0, 0, 4)))
        elif everything:
            who = ", ".join(name for name in WITNESSES if heard.agreed[name])
            console.print(f"witnessed: {feature} ({who})")
    counts = Counter(verdict(feature, heard) for feature, heard in found)
    by_whom = Counter(name for _, heard in found for name in WITNESSES if heard.agreed[name])
    told = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    who = ", ".join(f"{count} by {name}" for name, count in by_whom.most_common())
    operators = len({feature.op_type for feature, _ in found})
    console.print(f"{len(found)} features of {operators} operators: {told} ({who})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m properties.witnessed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--operator", action="append", choices=walked(), metavar="NAME", help="default: all"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all calls (%(default)s)")
    parser.add_argument("--all", action="store_true", help="print witnessed features too")
    add_document(parser, "witnessed")
    return parser
