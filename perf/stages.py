"""First, tuned, cached and steady: what a user waits for, each in the process it belongs to.

- first: a fresh process with empty driver caches, from the file to the first outputs;
- tuned: after kernel tuning; this version has only TUNING_NONE, so the column says why it is empty;
- cached: a fresh process with the driver caches that the one before it filled;
- steady: synced latency, after warm-up, in the second process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perf.latency import Latency
from perf.launch import Worker, cold_cache
from perf.machine import FOREIGN_SHARE_MAX, Neighbours

UNTUNED = "no tuning in this version (TUNING_NONE)"


@dataclass(frozen=True)
class Start:
    """One process from the model file to its outputs; times in ns.

    Attributes:
        create_ns: session creation, modules imported and model read included.
        first_ns: the first inference, host arrays to host arrays; second_ns: the next one.
        sections_ns: create_ns by section: import, read, context, plan (passes, memory plan,
            binding), lower, build (programs), prepare (packing and the rest), upload.
    """

    create_ns: int
    first_ns: int
    second_ns: int
    sections_ns: dict[str, int]

    @property
    def total_ns(self) -> int:
        """From the file to the first outputs."""
        return self.create_ns + self.first_ns


@dataclass(frozen=True)
class Stages:
    """The columns of one model on one device at one precision.

    Attributes:
        foreign_share: of the processors, used by other programs during the steady runs.
        tuned: why this column is empty.
    """

    model: str
    device: str
    requested_precision: str
    precision: str
    first: Start
    cached: Start
    steady: Latency
    commands: int
    fallbacks: tuple[tuple[str, str], ...]
    foreign_share: float
    notes: tuple[str, ...]
    tuned: str = field(default=UNTUNED)

    def to_json(self) -> dict[str, Any]:
        """Plain data; ns throughout."""
        return {**asdict(self), "steady": self.steady.to_json()}


def stages(
    model: Path,
    feeds: Path,
    *,
    device: str = "cpu",
    precision: str = "high",
    runs: int = 64,
    threads: int | None = None,
) -> Stages:
    """Measure one model in two fresh processes.

    Args:
        feeds: a file of `perf.arrays` with every input; gives the shapes too.
        device: "cpu" or an OpenCL selector.

    Raises:
        WorkerError: the model, the device or the inputs were refused; the message says why.
    """
    options = {
        "model": str(model),
        "device": device,
        "precision": precision,
        "threads": threads if device == "cpu" else None,
        "feeds": str(feeds),
    }
    with tempfile.TemporaryDirectory(prefix="parallax-cold-") as folder:
        with Worker(threads, cold_cache(folder)) as worker:
            first = worker.ask("load", **options)
        with Worker(threads, cold_cache(folder)) as worker:
            cached = worker.ask("load", **options)
            neighbours = Neighbours()
            steady = Latency.from_json(worker.ask("measure", runs=runs))
            foreign_share = neighbours.foreign_share()
    return Stages(
        model=model.name,
        device=first["device"],
        requested_precision=precision,
        precision=first["precision"],
        first=_start(first),
        cached=_start(cached),
        steady=steady,
        commands=first["commands"],
        fallbacks=tuple((title, reason) for title, reason in first["fallbacks"]),
        foreign_share=foreign_share,
        notes=tuple(_notes(first, precision, foreign_share)),
    )


def _start(reply: Mapping[str, Any]) -> Start:
    return Start(**{name: reply[name] for name in Start.__dataclass_fields__})


def _notes(reply: Mapping[str, Any], precision: str, foreign_share: float) -> list[str]:
    notes = []
    if foreign_share > FOREIGN_SHARE_MAX:
        notes.append(f"not quiet: other programs used {foreign_share:.0%} of the processors")
    if reply["device"].startswith("Intel"):
        notes.append("Intel's runtime keeps no kernels on disk: cached is a second cold start")
    if reply["device"].startswith("NumPy"):
        notes.append("the CPU backend compiles nothing: first and cached differ by file caches")
    if reply["precision"] != precision:
        notes.append(f"{precision} was asked for, {reply['precision']} is effective here")
    return notes
