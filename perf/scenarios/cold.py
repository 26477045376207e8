"""Cold, warm and steady: fresh processes with empty and with filled caches on disk.

Of each model: import, session, first and second inference and steady runs, once with nothing in the
driver's and Parallax's caches and then with what that start left there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perf.arrays import save_arrays
from perf.invariants import built_while_steady, warmed
from perf.launch import Worker, cold_cache
from perf.scenarios.outcome import COUNT, MS, Figure, Outcome, distinct
from perf.scenarios.tenants import Tenancy, Tenant
from perf.scratch import Scratch

WARM = 2
"""Launches that find the caches filled."""
SECTIONS = ("import", "read", "context", "plan", "lower", "build", "prepare", "upload")
Start = dict[str, Any]


def play(tenancy: Tenancy, rounds: int) -> Outcome:
    """One cold and `WARM` warm processes for each model, `rounds` steady runs in each."""
    times: dict[str, tuple[int, ...]] = {}
    figures: list[Figure] = []
    invalid: list[str] = []
    notes: list[str] = []
    for tenant in tenancy.tenants:
        with Scratch("scenario") as folder:
            starts = [_start(tenancy, tenant, Path(folder), rounds) for _ in range(1 + WARM)]
        cold, warm = starts[0], starts[1:]
        caches = cold["files"] > 0
        if not caches:
            notes.append("nothing is kept on disk here: warm is a second cold start")
        steady = tuple(ns for start in starts for ns in start["synced_ns"])
        for kind, some in (("cold", [cold]), ("warm", warm)):
            for stage in ("create", "first", "second"):
                ns = tuple(start[f"{stage}_ns"] for start in some)
                times[f"{tenant.name}, {kind}: {_STAGES[stage]}"] = ns
            times[f"{tenant.name}, {kind}: steady"] = tuple(
                ns for start in some for ns in start["synced_ns"]
            )
            figures += _figures(f"{tenant.name}, {kind}", some[0])
        firsts = [start["first_ns"] for start in warm]
        invalid += warmed(cold["first_ns"], firsts, steady, caches=caches)
        invalid += [s for x in starts for s in built_while_steady(x["rebuilt"], x["new_files"])]
    return Outcome("cold", times, tuple(figures), distinct(invalid), distinct(notes))


_STAGES = {"create": "from the file to a session", "first": "first", "second": "second"}


def _figures(head: str, start: Start) -> list[Figure]:
    spent = {name: start["sections_ns"].get(name, 0) for name in SECTIONS}
    longest = max(spent, key=lambda name: spent[name])
    meaning = "of making the session, the longest of its parts"
    return [
        Figure(f"{head}: {longest}", spent[longest], MS, meaning),
        Figure(f"{head}: programs compiled", start["builds"], COUNT, "from source, by Parallax"),
    ]


def _start(tenancy: Tenancy, tenant: Tenant, folder: Path, rounds: int) -> Start:
    """One process from its beginning to its steady runs; its caches are in the folder."""
    feeds, caches = folder / "feeds", folder / "caches"
    caches.mkdir(exist_ok=True)
    save_arrays(feeds, tenant.model.feeds)
    with Worker(tenancy.threads, cold_cache(str(caches))) as worker:
        model = str(tenant.model.path)
        start = tenancy.candidate.load(worker, model, str(feeds), tenancy.threads)
        builds, files = worker.ask("builds")["builds"], _files(caches)
        steady = worker.ask("synced", runs=rounds, discard=0)
        rebuilt = worker.ask("builds")["builds"] - builds
        return {
            **start,
            "synced_ns": steady["synced_ns"],
            "builds": builds,
            "rebuilt": rebuilt,
            "files": files,
            "new_files": _files(caches) - files,
        }


def _files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))
