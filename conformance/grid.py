"""Tables whose numbers are never cut: where the console is narrow, the name gives way."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from conformance.visible import visible

Cell = str | Text

GAPS = (2, 1)
"""Blanks between columns: as many as leave the name in one line."""

NAME_WIDTH_MIN = 6
"""What a name keeps in any case; a console that is narrower than that and the numbers wraps."""

ELLIPSIS = "…"


def print_grid(
    out: Console,
    heads: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    names: int = 1,
    shorten: bool = False,
) -> None:
    """Print rows of text under their heads.

    Args:
        names: so many columns, from the left, hold words, which give way; the others hold numbers.
        shorten: words lose their middle; else they fold.
    """
    rows = [[c if isinstance(c, Text) else visible(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    gap = next((g for g in GAPS if _across(widths, g) <= out.width), GAPS[-1])
    if shorten:
        widths = _narrowed(widths, names, out.width - gap * (len(widths) - 1))
        rows = [[*map(_shortened, row[:names], widths), *row[names:]] for row in rows]
        heads = [*map(_shortened, heads[:names], widths), *heads[names:]]
    floors = [min(w, NAME_WIDTH_MIN) if i < names else w for i, w in enumerate(widths)]
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="bold")
    for i, head in enumerate(heads):
        if i < names:
            table.add_column(Text(head), min_width=floors[i], overflow="fold")
        else:
            table.add_column(Text(head), min_width=widths[i], no_wrap=True, justify="right")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    if _across(floors, gap) > out.width:
        table.width = _across(floors, gap)
    out.print(table, crop=False)


def _across(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)


def _narrowed(widths: Sequence[int], names: int, room: int) -> list[int]:
    """Widths that fit in the room, the widest name giving way first, down to NAME_WIDTH_MIN."""
    fitting = list(widths)
    while sum(fitting) > room and max(fitting[:names]) > NAME_WIDTH_MIN:
        fitting[fitting.index(max(fitting[:names]))] -= 1
    return fitting


def _shortened(cell: Cell, width: int) -> str:
    """Both ends of a text that is too long."""
    text = str(cell)
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return text[:head] + ELLIPSIS + text[len(text) - (width - 1 - head) :]
