"""Tables whose numbers are never cut: where the console is narrow, the names give way."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

GAPS = (2, 1)
"""Blanks between columns: as many as leave the names in one line."""

NAME_WIDTH_MIN = 6
"""What names keep in any case; a console that is narrower than that and the numbers wraps."""


def print_grid(
    out: Console, heads: Sequence[str], rows: Sequence[Sequence[str]], *, names: int = 1
) -> None:
    """Print rows of text under their heads.

    Args:
        names: so many columns, from the left, hold words, which fold; the others hold numbers.
    """
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    floors = [min(w, NAME_WIDTH_MIN) if i < names else w for i, w in enumerate(widths)]
    gap = next((g for g in GAPS if _across(widths, g) <= out.width), GAPS[-1])
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="bold")
    for i, head in enumerate(heads):
        if i < names:
            table.add_column(escape(head), min_width=floors[i], overflow="fold")
        else:
            table.add_column(escape(head), min_width=widths[i], no_wrap=True, justify="right")
    for row in rows:
        table.add_row(*map(escape, row))
    if _across(floors, gap) > out.width:
        table.width = _across(floors, gap)
    out.print(table, crop=False)


def _across(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)
