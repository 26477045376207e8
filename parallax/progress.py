"""A progress bar on standard error, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from conformance.nodes import Progress as Tell
from conformance.visible import escape

STAGE_LENGTH_MAX = 48


@contextmanager
def progress(name: str, *, silent: bool = False) -> Iterator[Tell]:
    """A bar for the work on `name`; yields what moves it: (stage, done, total)."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=silent or not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(escape(name), total=1)

        def tell(stage: str, done: int, total: int) -> None:
            short = stage if len(stage) <= STAGE_LENGTH_MAX else f"{stage[: STAGE_LENGTH_MAX - 1]}…"
            text = escape(f"{name} {short}")
            bar.update(task, description=text, completed=done, total=total)

        yield tell
