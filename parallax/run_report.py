"""What one run was, as JSON and in 100 columns."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console

from conformance.visible import escape
from engine.cache import CacheReport
from engine.ir.types import dtype_name
from engine.session import Session
from parallax.trace import Trace, summary, table

SAVED_LISTED = 20
"""Saved tensors in the table; the archive and the JSON hold all."""


def facts(
    args: argparse.Namespace,
    session: Session,
    feeds: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    saved: Mapping[str, np.ndarray],
    trace: Trace | None,
    cache: CacheReport | None,
) -> dict[str, Any]:
    """Everything about a run, in JSON types; keys are only ever added."""
    info = session.info()
    precision = info.pipelines[0].precision
    return {
        "model": args.model,
        "device": f"{info.device.platform} / {info.device.name}",
        "precision": {
            "requested": precision.requested,
            "effective": precision.effective,
            "reason": precision.reason,
        },
        "seed": None if args.inputs is not None else args.seed,
        "inputs": {k: f"{dtype_name(a.dtype)}{list(a.shape)}" for k, a in feeds.items()},
        "outputs": [summary(name, array) for name, array in outputs.items()],
        "saved": [summary(name, array) for name, array in saved.items()],
        "trace": None if trace is None else trace.rows,
        "fallbacks": [
            {"node": op.title, "backend": op.backend, "reason": op.reason} for op in info.fallbacks
        ],
        "copies": [asdict(copy) for copy in info.copies],
        "memory": {
            name: {
                "weights_nbytes": memory.weights_nbytes,
                "kept_nbytes": memory.kept_nbytes,
                "arena_nbytes": memory.arena_nbytes,
                "lower_bound_nbytes": memory.lower_bound_nbytes,
            }
            for name, memory in info.memory.items()
            if memory.peak_nbytes
        },
        "explanations": list(info.choices),
        "cache": None if cache is None else cache_facts(cache),
        "written": args.outputs,
    }


def cache_facts(report: CacheReport) -> dict[str, Any]:
    """A CacheReport in JSON types, with its sentences."""
    return {**asdict(report), "path": str(report.path), "sentences": str(report).splitlines()}


def print_facts(data: dict[str, Any], out: Console, *, notes: bool = True) -> None:
    """For people."""
    wanted, got = data["precision"]["requested"].value, data["precision"]["effective"].value
    why = f": {data['precision']['reason']}" if data["precision"]["reason"] else ""
    precision = f"precision {got}" + ("" if got == wanted else f" (asked for {wanted}{why})")
    out.print(f"[bold]{escape(data['model'])}[/] on {escape(data['device'])}, {escape(precision)}")
    inputs = ", ".join(f"{n} {t}" for n, t in data["inputs"].items())
    origin = "given" if data["seed"] is None else f"random, seed {data['seed']}"
    out.print(f"inputs ({origin}): {escape(inputs)}")
    _print_memory(data["memory"], out)
    out.print(table("output", data["outputs"]))
    if data["saved"]:
        out.print(table("saved", data["saved"][:SAVED_LISTED]))
        if len(data["saved"]) > SAVED_LISTED:
            out.print(f"and {len(data['saved']) - SAVED_LISTED} more saved", style="dim")
    for fallback in data["fallbacks"]:
        reason = escape(f"{fallback['node']}: {fallback['reason']}")
        out.print(f"ran on {fallback['backend']}: {reason}")
    sentences = *data["explanations"], *(data["cache"] or {"sentences": ()})["sentences"]
    for sentence in sentences if notes else ():
        out.print(escape(sentence), style="dim")
    if data["written"]:
        out.print(f"outputs written to {escape(data['written'])}")


def _print_memory(memory: Mapping[str, Mapping[str, int]], out: Console) -> None:
    for name, size in memory.items():
        arena, floor = size["arena_nbytes"], size["lower_bound_nbytes"]
        if arena:
            out.print(
                f"memory on {escape(name)}: arena {arena / 2**20:.3g} MiB, "
                f"{arena / max(floor, 1):.3f} times the largest live set"
            )
