"""How the facts of `parallax info` look in 100 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from conformance.figures import count
from conformance.visible import escape
from engine.info import size

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
        out.print(escape(sentence), style="dim")


def _print_model(data: dict[str, Any], out: Console) -> None:
    model = data["model"]
    producer = f", written by {model['producer']}" if model["producer"] else ""
    opsets = ", ".join(f"{domain} {version}" for domain, version in model["opsets"].items())
    out.print(f"[bold]{escape(data['file'])}[/] {escape(model['name'] + producer)}")
    counts = ", ".join(map(_operator_count, model["operators"]))
    bytes_ = size(model["parameter_nbytes"])
    rows = [
        ("opsets", f"{opsets or 'none'}; IR version {model['ir_version']}"),
        ("inputs", _typed(model["inputs"])),
        ("outputs", _typed(model["outputs"])),
        ("parameters", f"{model['parameters']:,} in {bytes_}"),
        ("operators", f"{sum(o['count'] for o in model['operators'])}: {counts or 'none'}"),
        ("shapes", ", ".join(f"{n} {list(s)}" for n, s in data["shapes"].items()) or "none"),
    ]
    if data["chosen_shapes"]:
        names = ", ".join(data["chosen_shapes"])
        rows.append(("", f"free dimensions chosen for {names}; --shape sets them"))
    if data["chosen_because"]:
        rows.append(("", data["chosen_because"]))
    out.print(_table(["", ""], rows, right=()))


def _typed(types: dict[str, str]) -> str:
    return ", ".join(f"{name} {type_}" for name, type_ in types.items()) or "none"


def _operator_count(operator: dict[str, Any]) -> str:
    """`Conv 20`, `com.microsoft.Gelu 4 (1 in functions, 2 in subgraphs)`."""
    places = [
        f"{operator[f'in_{place}']} in {place}"
        for place in ("functions", "subgraphs")
        if operator[f"in_{place}"]
    ]
    return f"{_operator_name(operator)} {operator['count']}" + (
        f" ({', '.join(places)})" if places else ""
    )


def _operator_name(operator: dict[str, Any]) -> str:
    is_onnx = operator["domain"] in ("", "ai.onnx")
    name = operator["type"] or "-"
    return str(name if is_onnx else f"{operator['domain']}.{name}")


# ---------------------------------------------------------------------- support
def _print_support(data: dict[str, Any], out: Console, show_all: bool) -> None:
    out.print("\n[bold]support[/], before any session exists")
    refused = [u for u in data["unsupported"] if u["lacking"] == "importer"]
    which = "operators" if data["support_problem"] else "operators after optimisation"
    if any(not u["type"] for u in refused):
        out.print("  none: the model as a whole cannot be imported")
        data = {**data, "support": []}
    elif refused:
        of = sum(o["count"] for o in data["model"]["operators"])
        out.print(f"  not of every operator: {sum(u['count'] for u in refused)} of {of} cannot run")
        which = "of those that can be imported"
    elif data["support_problem"]:
        out.print(escape(f"  not of every operator: {data['support_problem']}"))
    for entry in data["support"]:
        where = f"{entry['backend']}: {entry['device'].platform} / {entry['device'].name}"
        open_ = f", {entry['undecided']} not decided" if entry["undecided"] else ""
        out.print(f"  {escape(where)}: {entry['supported']} of {entry['operators']} {which}{open_}")
    if data["unsupported"]:
        out.print()
        _print_unsupported(data["unsupported"], out, show_all)


def _print_unsupported(found: Sequence[dict[str, Any]], out: Console, show_all: bool) -> None:
    shown = found if show_all else found[:LISTED]
    rows = [
        (_operator_name(u), str(u["count"]), u["lacking"], u["first"], u["reason"]) for u in shown
    ]
    heads = ["not supported", "count", "lacking", "first", "reason"]
    out.print(_table(heads, rows, right=[1]))
    if len(shown) < len(found):
        out.print(f"    and {len(found) - len(shown)} more; --all lists them", style="dim")


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
        work = f"{_flop(mine['flops'])}, {size(mine['nbytes'])} read and written"
        yield f"{mine['operators']} operators on {backend}{views}, {work}"


def _flop(number: int) -> str:
    """40 FLOP, 13.2 MFLOP."""
    text = count(number)
    return f"{text}{'' if text[-1].isalpha() else ' '}FLOP"


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
        f"the host, {size(session['model_nbytes'])} of it the model's constants"
    )


def _print_operators(session: dict[str, Any], out: Console, show_all: bool) -> None:
    every = session["operators"]
    ranked = sorted(every, key=lambda o: o["flops"], reverse=True)[:LISTED]
    shown = every if show_all else ranked
    rows = [
        (
            o["title"],
            f"{o['backend']}, a view" if o["is_view"] else o["backend"],
            count(o["flops"]),
            f"{o['flops'] / max(session['flops'], 1):.1%}",
            size(o["nbytes"]),
        )
        for o in shown
    ]
    what = f"all {len(every)}" if show_all else f"{len(shown)} of {len(every)} by work"
    out.print()
    heads = [f"operators, {what}", "on", "FLOP", "share", "read, written"]
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
        out.print(escape(line))
    if not show_all and len(lines) > LISTED:
        out.print(f"    and {len(lines) - LISTED} more; --all lists them", style="dim")
