"""A graph without what an engine does not run, so that the rest of it is judged."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx

from conformance.bundles.failing import AnyPlace, Case, NothingVerified, examine
from conformance.inputs import Feeds
from conformance.reduction.draft import Draft
from conformance.reduction.nodes import without
from conformance.reduction.tensors import tensors_by_reference
from engine.errors import ParallaxError

Kind = tuple[str, tuple[str, ...]]
"""An operator, and the dtypes and ranks of what a node of it reads."""


@dataclass
class Refusals:
    """What a place refused so far, kind by kind of node.

    Attributes:
        left_out: how many nodes of an operator were.
    """

    place: AnyPlace
    left_out: dict[str, int] = field(default_factory=dict)
    _refused: dict[Kind, bool] = field(default_factory=dict)

    def without(self, case: Case) -> Case | None:
        """The case without nodes that are refused alone; None where none is, or nothing is left.

        What is needed of them becomes an input, with the value of the float64 reference.
        """
        draft, values = Draft.of(case), tensors_by_reference(case)
        arrays = {**values, **draft.arrays()}
        gone = {i for i, node in enumerate(draft.nodes) if self._is_refused(draft, node, arrays)}
        smaller = without(draft, gone, values, bypass=False) if gone else None
        if smaller is None:
            return None
        for operator in (draft.nodes[i].op_type for i in gone):
            self.left_out[operator] = self.left_out.get(operator, 0) + 1
        return smaller.case()

    def _is_refused(self, draft: Draft, node: onnx.NodeProto, arrays: Feeds) -> bool:
        names = [n for n in node.input if n]
        if any(name not in arrays for name in names):
            return True  # nothing can stand in for what it reads
        kind = (node.op_type, tuple(f"{arrays[n].dtype}{arrays[n].ndim}" for n in names))
        if kind not in self._refused:
            feeds = {n: arrays[n] for n in names if n not in draft.constants}
            alone = Draft(
                draft.model, [node], draft.constants, feeds, [n for n in node.output if n]
            )
            self._refused[kind] = self._refuses(alone.case())
        return self._refused[kind]

    def _refuses(self, case: Case) -> bool:
        try:
            examine(case, self.place)
        except NothingVerified:
            return False
        except ParallaxError:
            return True
        return False
