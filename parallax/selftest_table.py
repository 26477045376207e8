"""How a selftest looks: an operator a row, at each precision what passed and the worst errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from conformance.figures import figures
from conformance.grid import Cell, print_grid
from conformance.report import VERDICTS
from conformance.visible import escape
from properties.selftest import FAILED, PASSED, SKIPPED, Result

OPERATORS_LISTED = 5


@dataclass
class Summary:
    """One operator at one precision.

    Attributes:
        counts: cases by verdict. sigmas, bounds: the worst of those that passed or failed.
    """

    counts: Counter[str] = field(default_factory=Counter)
    sigmas: float = 0.0
    bounds: float = 0.0

    def add(self, result: Result) -> None:
        """Count one more."""
        outcome = result.outcome
        self.counts[outcome.verdict] += 1
        self.sigmas = max(self.sigmas, outcome.sigmas)
        self.bounds = max(self.bounds, outcome.bounds)


def summaries(results: Iterable[Result]) -> dict[tuple[str, str], Summary]:
    """By operator and precision."""
    found: dict[tuple[str, str], Summary] = {}
    for result in results:
        found.setdefault((result.operator, result.precision), Summary()).add(result)
    return found


def print_failure(result: Result, again: str, out: Console) -> None:
    """Which case failed, what was expected and got, and how to run it again."""
    head = f"[bold red]FAIL[/] {escape(result.operator)} at {result.precision}, "
    out.print(head + escape(result.case))
    out.print(Padding(Text(result.outcome.said), (0, 0, 0, 4)))
    out.print(f"    {again}", markup=False, soft_wrap=True)


def print_results(results: Sequence[Result], notes: Iterable[str], out: Console) -> None:
    """The table, and below it what was skipped, and why."""
    found = summaries(results)
    precisions = list(dict.fromkeys(precision for _, precision in found))
    if found:
        heads = ["operator", *(h for p in precisions for h in (p, "sigma", "bound")), "skipped"]
        names = dict.fromkeys(operator for operator, _ in found)
        print_grid(out, heads, [_row(n, precisions, found) for n in names], shorten=True)
    out.print(
        "cases that passed; the worst err/sigma and err/bound of them and of those that failed",
        style="dim",
    )
    for reason, operators in _reasons(results).items():
        listed = ", ".join([*operators][:OPERATORS_LISTED])
        more = ", ..." if len(operators) > OPERATORS_LISTED else ""
        out.print(f"{sum(operators.values())} skipped ({listed}{more}): {reason}", markup=False)
    for note in notes:
        out.print(note, style="dim", markup=False)


def print_conclusion(results: Sequence[Result], code: int, out: Console) -> None:
    """One line for each precision, and the verdict."""
    counts = Counter((r.precision, r.outcome.verdict) for r in results)
    for precision in dict.fromkeys(r.precision for r in results):
        told = ", ".join(f"{counts[precision, v]} {v}" for v in (PASSED, FAILED, SKIPPED))
        out.print(f"{precision}: {told}")
    out.print(f"selftest: [bold]{VERDICTS[code]}[/]")


def _row(
    name: str, precisions: Iterable[str], found: Mapping[tuple[str, str], Summary]
) -> list[Cell]:
    cells: list[Cell] = [name]
    mine = {p: found.get((name, p), Summary()) for p in precisions}
    for summary in mine.values():
        failed = summary.counts[FAILED]
        count = str(summary.counts[PASSED])
        cells.append(Text(f"{failed} FAIL", style="bold red") if failed else count)
        judged = summary.counts[PASSED] + failed
        worst = (summary.sigmas, summary.bounds)
        cells += [figures(value) if judged else "-" for value in worst]
    return [*cells, str(sum(s.counts[SKIPPED] for s in mine.values()) or "")]


def _reasons(results: Iterable[Result]) -> dict[str, Counter[str]]:
    """By reason, how many cases of which operators were skipped; the most frequent first."""
    found: dict[str, Counter[str]] = {}
    for result in results:
        if result.outcome.verdict == SKIPPED:
            found.setdefault(result.outcome.said, Counter())[result.operator] += 1
    return dict(sorted(found.items(), key=lambda item: -sum(item[1].values())))
