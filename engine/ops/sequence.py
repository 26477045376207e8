"""Operators on sequences and optionals, which no backend sees: they are laid out with a plan.

What they mean is in `engine/passes/lay_out_sequences.py`.
Source: https://github.com/onnx/onnx/blob/main/docs/Operators.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LaidOut:
    """What must be known of such an operator before any plan.

    Attributes:
        known: positions of the inputs whose values it must know: positions, sizes.
        reads: its attributes.
        makes_list: whether its result is a sequence or optional.
        of_length: whether its result depends on nothing but how many tensors there are.
    """

    known: tuple[int, ...] = ()
    reads: tuple[str, ...] = ()
    makes_list: bool = False
    of_length: bool = False


LAID_OUT: Mapping[str, LaidOut] = {
    "ConcatFromSequence": LaidOut(reads=("axis", "new_axis")),
    "Optional": LaidOut(reads=("type",), makes_list=True),
    "OptionalGetElement": LaidOut(),
    "OptionalHasElement": LaidOut(of_length=True),
    "SequenceAt": LaidOut(known=(1,)),
    "SequenceConstruct": LaidOut(makes_list=True),
    "SequenceEmpty": LaidOut(reads=("dtype",), makes_list=True),
    "SequenceErase": LaidOut(known=(1,), makes_list=True),
    "SequenceInsert": LaidOut(known=(2,), makes_list=True),
    "SequenceLength": LaidOut(of_length=True),
    "SplitToSequence": LaidOut(known=(1,), reads=("axis", "keepdims"), makes_list=True),
}
"""By ONNX's name."""
