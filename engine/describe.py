"""From a session's plan to what it says of itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from engine.backends.protocol import LOW_IS_SLOW, Backend
from engine.config import DEFAULT_MODE, GpuMode, PowerMode, Precision, ScheduleConfig
from engine.execution.execution import Execution, HostCopy
from engine.execution.pipelines import Pipelines
from engine.info import (
    BorderInfo,
    Choice,
    CopyInfo,
    Loss,
    MemoryInfo,
    OperatorInfo,
    PipelineInfo,
    ResizeStatus,
    SessionInfo,
    Support,
)
from engine.ir.graph import Graph, Node
from engine.ops.compose import flops_of, nbytes_of
from engine.passes import are_typed


def describe_operator(execution: Execution, node: Node, reason: str = "") -> OperatorInfo:
    """One operator as it runs."""
    return OperatorInfo(
        name=node.name,
        type=node.op_type,
        title=node.title,
        backend=execution.where(node),
        reason=reason,
        flops=flops_of(node),
        nbytes=nbytes_of(node),
        is_view=any(out in execution.aliases for out in node.outputs),
    )


def describe_session(
    execution: Execution,
    pipelines: Pipelines,
    backends: Mapping[str, Backend],
    *,
    others: Collection[Execution],
    resize_status: ResizeStatus,
    saved: Collection[str],
    choices: tuple[str, ...],
    losses: Iterable[Loss],
) -> SessionInfo:
    """Everything about a session whose shapes are known.

    Args:
        others: its plans of other shapes.
    """
    parts = execution.parts
    return SessionInfo(
        pipelines=tuple(_pipelines(execution, pipelines, backends)),
        operators=tuple(op for part in parts for op in _operators(part)),
        copies=tuple(copy for part in parts for copy in _copies(part)),
        memory={n: _memory(parts, n, b, others) for n, b in backends.items()},
        model_nbytes=sum(constants_nbytes(part.graph, in_memory=True) for part in parts),
        resize_status=resize_status,
        saved=tuple(saved),
        choices=choices,
        losses=tuple(losses),
        borders=tuple(
            BorderInfo(border.node.title, tuple(v.name for v in border.values))
            for border in execution.borders
        ),
        stages_planned=execution.stages_planned,
    )


def _operators(execution: Execution) -> Iterator[OperatorInfo]:
    reasons = {p.node: p.reason for p in execution.placements}
    for node in execution.graph.nodes:
        if node.op_type != "Copy":
            yield describe_operator(execution, node, reasons.get(node, ""))


def _copies(execution: Execution) -> Iterator[CopyInfo]:
    for step in execution.steps:
        for value in step.node.inputs if step.node.op_type == "Copy" else ():
            if value is not None:
                yield CopyInfo(
                    tensor=value.name,
                    source=execution.home(value),
                    target=step.backend,
                    nbytes=value.known_type.nbytes,
                    through_host=isinstance(step.command, HostCopy),
                )


def describe_support(nodes: Collection[Node], backend: Backend) -> Support:
    """Which of the nodes a backend would run; one whose types are not known stays undecided."""
    typed = [node for node in nodes if are_typed((*node.inputs, *node.outputs))]
    answers = {node.title: backend.why_not(node) for node in typed}
    missing = {title: why for title, why in answers.items() if why is not None}
    undecided = len(nodes) - len(typed)
    supported = len(typed) - len(missing)
    return Support(backend.name, backend.info, supported, missing, undecided)


def constants_nbytes(graph: Graph, *, in_memory: bool = False) -> int:
    """Bytes of the distinct constants of a graph, or of those that are in host memory now."""
    constants = graph.constants()
    return sum(c.type.nbytes for c in constants if c.is_in_memory or not in_memory)


def _memory(
    parts: Sequence[Execution], name: str, backend: Backend, others: Collection[Execution]
) -> MemoryInfo:
    """Parts of one run take turns in the arena, and each keeps its own inputs and outputs."""
    arenas = [part.plan.arenas[name] for part in parts]
    arena = max(arenas, key=lambda arena: arena.peak_nbytes)
    largest = max([e.plan.arenas[name].peak_nbytes for e in others], default=0)
    kept = sum(e.kept_nbytes(name) for e in others)
    return MemoryInfo(
        on_device=backend.name != "cpu",
        weights_nbytes=sum(part.weights_nbytes(name) for part in parts),
        kept_nbytes=sum(part.kept_nbytes(name) for part in parts),
        arena_nbytes=arena.peak_nbytes,
        lower_bound_nbytes=max(arena.lower_bound_nbytes for arena in arenas),
        other_plans_nbytes=kept + max(largest - arena.peak_nbytes, 0),
    )


def _pipelines(
    execution: Execution, pipelines: Pipelines, backends: Mapping[str, Backend]
) -> list[PipelineInfo]:
    whole = [(execution.graph.inputs, execution.graph.outputs)]
    names = [([v.name for v in a], [v.name for v in b]) for a, b in whole]
    segments = [(list(s.inputs), list(s.outputs)) for s in pipelines.segments] or names
    described = []
    for config, mine, (inputs, outputs) in zip(
        pipelines.configs, pipelines.names, segments, strict=True
    ):
        primary = backends[mine[0]]
        cpu = next((backends[n] for n in mine if backends[n].name == "cpu"), None)
        described.append(
            PipelineInfo(
                device=primary.info,
                backend=mine[0],
                backups=mine[1:],
                precision=_precision(config, primary),
                mode=_mode(config, primary),
                num_threads=_threads(config, cpu),
                memory=_as_asked(config.backend_config.memory),
                power=_as_asked(config.backend_config.power),
                inputs=tuple(inputs),
                outputs=tuple(outputs),
            )
        )
    return described


def _precision(config: ScheduleConfig, backend: Backend) -> Choice:
    asked, got = config.backend_config.precision, backend.precision
    if asked is got:
        is_slow = got is Precision.LOW and backend.info.half_is_emulated
        return Choice(asked, got, LOW_IS_SLOW if is_slow else "")
    if backend.name == "cpu":
        return Choice(asked, got, "the CPU backend stores and computes in float32")
    assert asked is Precision.LOW
    return Choice(asked, got, f"{backend.info.name} has no cl_khr_fp16")


def _as_asked(option: Any) -> Choice:
    return Choice(option, option)


def _threads(config: ScheduleConfig, cpu: Backend | None) -> Choice:
    asked, got = config.num_threads, getattr(cpu, "num_threads", None)
    if asked == got:
        return Choice(asked, got)
    if cpu is None:
        return Choice(asked, got, "the CPU backend takes no part")
    if config.backend_config.power is PowerMode.LOW:
        return Choice(asked, got, "half of the cores")
    if asked is not None:
        return Choice(asked, got, "as many as there are cores")
    is_all = got == cpu.info.compute_units
    return Choice(asked, got, "all cores" if is_all else "another session of this Runtime set it")


def _mode(config: ScheduleConfig, backend: Backend) -> Choice:
    if backend.name == "cpu":
        return Choice(config.mode, None, "OpenCL modes do not apply to the CPU backend")
    reason = [] if config.mode else ["TUNING_NONE: no tuning level was asked for"]
    if config.mode is None or GpuMode.MEMORY_BUFFER not in config.mode:
        reason.append("MEMORY_BUFFER: every kernel works on buffers")
    return Choice(config.mode, config.effective_mode or DEFAULT_MODE, "; ".join(reason))
