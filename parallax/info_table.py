"""How the facts of `parallax info` look in 100 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

LISTED = 10
"""Lines of each kind without --all."""


def print_info(
    data: dict[str, Any], out: Console, *, show_all: bool = False, notes: bool = True
) -> None:
    """The model, its support, and the session where one was asked for."""
    _print_model(data, out)
    _print_support(data, out, show_all)
    if data["session"] is not None:
        _print_session(data["session"], out, show_all)
    sentences = *data["explanations"], *(data["cache"] or {"sentences": ()})["sentences"]
    for sentence in sentences if notes else ():
        out.print(escape(sentence), style="dim", soft_wrap=True)


def _print_model(data: dict[str, Any], out: Console) -> None:
    model = data["model"]
    out.print(f"[bold]{escape(data['file'])}[/] {escape(model['name'])}, opset {model['opset']}")
    counts = ", ".join(f"{n} {count}" for n, count in model["operators"].items())
    rows = [
        ("inputs", ", ".join(f"{n} {t}" for n, t in model["inputs"].items())),
        ("outputs", ", ".join(model["outputs"])),
        ("operators", f"{sum(model['operators'].values())}: {counts}"),
        ("weights", size(model["weights_nbytes"])),
        ("shapes", ", ".join(f"{n} {list(s)}" for n, s in data["shapes"].items())),
    ]
    if data["chosen_shapes"]:
        names = ", ".join(data["chosen_shapes"])
        rows.append(("", f"free dimensions chosen for {names}; --shape sets them"))
    out.print(_table(["", ""], rows, right=()))


# ---------------------------------------------------------------------- support
def _print_support(data: dict[str, Any], out: Console, show_all: bool) -> None:
    out.print("\n[bold]support[/], before any session exists")
    if data["support_problem"]:
        out.print(f"  not known: {escape(data['support_problem'])}")
    for entry in data["support"]:
        where = f"{entry['backend']}: {entry['device'].platform} / {entry['device'].name}"
        count = f"{entry['supported']} of {entry['operators']} operators after optimisation"
        out.print(f"  {escape(where)}: {count}")
        lines = [f"{title}: {why}" for title, why in entry["missing"].items()]
        _print_some([f"    not {line}" for line in lines], out, show_all)


# ---------------------------------------------------------------------- session
def _print_session(session: dict[str, Any], out: Console, show_all: bool) -> None:
    out.print()
    rows = [
        (
            o["option"],
            *("-" if o[k] is None else str(o[k]) for k in ("requested", "effective")),
            o["reason"],
        )
        for o in session["options"]
    ]
    out.print(_table(["session", "asked", "effective", "why"], rows, right=()))
    for kind in ("inputs", "outputs", "saved"):
        if session[kind]:
            names = session[kind] if show_all else session[kind][:LISTED]
            more = f" and {len(session[kind]) - LISTED} more" if names != session[kind] else ""
            out.print(f" {kind}: {escape(', '.join(names))}{more}")
    out.print(" placement: " + escape("; ".join(_placement(session))))
    lines = [
        f"fallback to {o['backend']}: {o['title']}: {o['reason']}" for o in session["fallbacks"]
    ]
    lines += [
        f"copy of {c.tensor} from {c.source} to {c.target}: {size(c.nbytes)} in every run, "
        f"{'through the host' if c.through_host else 'on the device'}"
        for c in session["copies"]
    ]
    _print_some([f" {line}" for line in lines], out, show_all)
    _print_memory(session, out)
    _print_operators(session, out, show_all)


def _placement(session: dict[str, Any]) -> Iterator[str]:
    for backend, mine in session["placement"].items():
        views = f" ({mine['views']} of them views)" if mine["views"] else ""
        work = f"{mine['flops'] / 1e6:.4g} MFLOP, {size(mine['nbytes'])} read and written"
        yield f"{mine['operators']} operators on {backend}{views}, {work}"


def _print_memory(session: dict[str, Any], out: Console) -> None:
    keys = ("weights", "kept", "arena", "lower_bound", "peak")
    rows = [
        (
            f"{name} ({'device' if memory['on_device'] else 'host'})",
            *(size(memory[f"{key}_nbytes"]) for key in keys),
        )
        for name, memory in session["memory"].items()
    ]
    heads = ["memory", "weights", "kept", "arena", "lower bound", "all of it"]
    out.print()
    out.print(_table(heads, rows, right=range(1, 6)))
    out.print(
        f" in all {size(session['device_nbytes'])} on devices, {size(session['host_nbytes'])} on "
        f"the host, {size(session['model_nbytes'])} of it weights that a resize needs"
    )


def _print_operators(session: dict[str, Any], out: Console, show_all: bool) -> None:
    every = session["operators"]
    ranked = sorted(every, key=lambda o: o["flops"], reverse=True)[:LISTED]
    shown = every if show_all else ranked
    rows = [
        (
            o["title"],
            f"{o['backend']}, a view" if o["is_view"] else o["backend"],
            f"{o['flops'] / 1e6:.4g}",
            f"{o['flops'] / max(session['flops'], 1):.1%}",
            size(o["nbytes"]),
        )
        for o in shown
    ]
    what = f"all {len(every)}" if show_all else f"{len(shown)} of {len(every)} by work"
    out.print()
    heads = [f"operators, {what}", "on", "MFLOP", "share", "read, written"]
    out.print(_table(heads, rows, right=range(2, 5)))


# ---------------------------------------------------------------------- tables
def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> Table:
    shown = any(heads)
    table = Table(box=None, padding=(0, 2, 0, 1), header_style="bold", show_header=shown)
    for i, head in enumerate(heads):
        table.add_column(
            head,
            justify="right" if i in right else "left",
            overflow="fold",
            no_wrap=i in right or (i == 0 and not right),
        )
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _print_some(lines: Sequence[str], out: Console, show_all: bool) -> None:
    for line in lines if show_all else lines[:LISTED]:
        out.print(escape(line), soft_wrap=True)
    if not show_all and len(lines) > LISTED:
        out.print(f"    and {len(lines) - LISTED} more; --all lists them", style="dim")


def size(nbytes: int) -> str:
    """Bytes for people, in powers of 1024."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if nbytes >= scale:
            return f"{nbytes / scale:.4g} {unit}"
    return f"{nbytes} B"
