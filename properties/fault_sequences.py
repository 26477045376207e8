"""Faults of sequences: which tensors they are made of, in which order."""

from __future__ import annotations

from typing import Any

from engine.passes.lay_out_sequences import Sequences, Tensors
from engine.runtime import Runtime
from properties.choose import SeededChoose
from properties.control_flow import check_control_flow, config_on
from properties.fault import Bench, Fault, attribute
from properties.sequences import draw

MODELS = 60


def hunt(where: Bench) -> None:
    """Random models on the CPU backend."""
    with Runtime() as runtime:
        for seed in range(MODELS):
            where.step()
            check_control_flow(draw(SeededChoose(seed)), runtime, config_on("cpu"))


def _one_off_from_the_end(old: Any) -> Any:
    """Negative positions count from the place behind the last tensor, not from the last."""

    def position(
        self: Sequences, node: Any, index: int, count: int, *rest: Any, **more: Any
    ) -> Any:
        at = old(self, node, index, count, *rest, **more)
        given = node.inputs[index].constant if index < len(node.inputs) else None
        return at if given is None or given.reshape(()) >= 0 else max(at - 1, 0)

    return position


def _inserted_after(old: Any) -> Any:
    def insert(self: Sequences, node: Any) -> Tensors:
        made, new = old(self, node), self._tensor(node, 1)
        values = [*made.values]
        at = len(values) - 1 - values[::-1].index(new)
        values.insert(min(at + 1, len(values) - 1), values.pop(at))
        return Tensors(made.dtype, tuple(values))

    return insert


def _first_erased(old: Any) -> Any:
    """Where no position is given."""

    def erase(self: Sequences, node: Any) -> Tensors:
        made = old(self, node)
        values = self._sequence(node).values
        return made if len(node.inputs) > 1 else Tensors(made.dtype, values[1:])

    return erase


def _smaller_first(old: Any) -> Any:
    return lambda self, node, extent: old(self, node, extent)[::-1]


SEQUENCE_FAULTS: tuple[Fault, ...] = tuple(
    Fault(name, "pass", attribute(Sequences, method, change), hunt)
    for name, method, change in (
        ("sequence-position-from-the-end-is-one-off", "_position", _one_off_from_the_end),
        ("sequence-insert-puts-it-behind", "_insert", _inserted_after),
        ("sequence-erase-takes-the-first", "_erase", _first_erased),
        ("sequence-split-begins-with-the-smaller-part", "_sizes", _smaller_first),
    )
)
