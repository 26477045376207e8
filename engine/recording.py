"""Runs that are recorded: each becomes a RunProfile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from engine.execution.execution import Execution, Step
from engine.execution.recorder import Recorder, profiling
from engine.ir.graph import Node
from engine.ops.compose import flops_of
from engine.profile import RunProfile, Work


def record(execution: Execution, drain: Callable[[], None]) -> RunProfile:
    """Run once, after a run that is not kept; returns when it is done, its outputs in place.

    Args:
        drain: returns when the queues that the execution uses are idle.
    """
    with profiling(execution.backends.values()):
        execution.enqueue_by(Recorder(execution.backends))
        return record_together([execution], drain)[0]


def record_together(
    executions: Sequence[Execution], drain: Callable[[], None]
) -> tuple[RunProfile, ...]:
    """Run one after the other, without waiting in between; all have the start and end of the whole.

    Inside `profiling` of their backends.
    """
    clock = time.perf_counter_ns
    recorders = [Recorder(execution.backends) for execution in executions]
    enqueue_ns: list[int] = []
    drain()
    started = clock()
    for execution, recorder in zip(executions, recorders, strict=True):
        before = clock()
        execution.enqueue_by(recorder)
        enqueue_ns.append(clock() - before)
    drain()
    done = clock()
    found = []
    for execution, recorder, taken in zip(executions, recorders, enqueue_ns, strict=True):
        timeline = recorder.timeline(
            started_ns=started,
            enqueued_ns=started + taken,
            done_ns=done,
            unfinished=recorder.unfinished,
        )
        work = tuple(_work(recorder.steps, execution.backends))
        found.append(RunProfile(work, timeline))
    return tuple(found)


def _work(steps: Sequence[Step], backends: Mapping[str, Any]) -> Iterator[Work]:
    by_title: dict[str, list[Step]] = {}
    for step in steps:
        by_title.setdefault(step.node.title, []).append(step)
    for title, same in by_title.items():
        node, backend = same[0].node, same[0].backend
        yield Work(
            title=title,
            type="+".join(op.op_type for op in node.body) or node.op_type,
            backend=backend,
            is_copy=node.op_type == "Copy",
            calls=len(same),
            flops=sum(flops_of(step.node) for step in same),
            nbytes=sum(_stored_nbytes(step.node, backends[step.backend]) for step in same),
        )


def _stored_nbytes(node: Node, backend: Any) -> int:
    types = [v.known_type for v in (*node.inputs, *node.outputs) if v is not None]
    return sum(t.size * int(backend.storage(t.dtype).itemsize) for t in types)
