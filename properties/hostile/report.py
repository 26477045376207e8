"""What a campaign says at its end: a table for people, a document for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from conformance.figures import counted
from properties.hostile.campaign import Tally
from properties.hostile.cases import FINDINGS

MIB = 1 << 20
NOTES = 12
"""Places listed in the table; the document has all."""


def facts(tally: Tally, seconds: float) -> dict[str, Any]:
    """The tally as plain data."""
    attacks = sorted({attack for attack, _ in tally.outcomes})
    return {
        "seconds": seconds,
        "cases": tally.count,
        "attacks": [_attack(tally, name) for name in attacks],
        "findings": [
            {
                **asdict(finding.result),
                "count": tally.repeats[key],
                "file": None if finding.file is None else str(finding.file),
            }
            for key, finding in sorted(tally.findings.items())
        ],
        "notes": [
            {"attack": attack, "outcome": outcome, "place": place, "count": count}
            for (attack, outcome, place), count in tally.notes.most_common()
        ],
    }


def _attack(tally: Tally, name: str) -> dict[str, Any]:
    count = sum(n for (attack, _), n in tally.outcomes.items() if attack == name)
    spent = tally.seconds[name]
    return {
        "attack": name,
        "cases": count,
        "outcomes": {o: n for (a, o), n in sorted(tally.outcomes.items()) if a == name},
        "seconds": spent,
        "cases_per_second": count / spent if spent else 0.0,
        "slowest": asdict(tally.slowest[name]),
        "largest": asdict(tally.largest[name]),
    }


def show(data: dict[str, Any], console: Console) -> None:
    """Counts by outcome, then every finding with the way to try it again."""
    table = Table(box=None, pad_edge=False)
    for name in ("attack", "outcome", "cases"):
        table.add_column(name, justify="right" if name == "cases" else "left")
    for attack in data["attacks"]:
        for outcome, count in sorted(attack["outcomes"].items(), key=lambda item: -item[1]):
            style = "red" if outcome in FINDINGS else ""
            table.add_row(attack["attack"], outcome, f"{count:,}", style=style)
    console.print(table)
    for attack in data["attacks"]:
        slowest, largest = attack["slowest"], attack["largest"]
        console.print(
            f"{attack['attack']}: {attack['cases_per_second']:.0f} a second and child; slowest "
            f"{slowest['seconds']:.1f} s (number {slowest['number']}), most memory "
            f"{largest['excess_nbytes'] / MIB:.0f} MiB over baseline (number {largest['number']})",
            markup=False,
        )
    for finding in data["findings"]:
        again = f"  python -m properties.hostile --replay {finding['file']}"
        console.print(
            f"{finding['outcome']} {finding['error']} in {finding['place']} "
            f"({finding['count']} times): {finding['detail']}",
            markup=False,
        )
        if finding["file"]:
            console.print(again, markup=False, soft_wrap=True)
    console.print(
        f"{counted(data['cases'], 'case')} in {data['seconds']:.0f} s: "
        f"{counted(len(data['findings']), 'finding')}"
    )
