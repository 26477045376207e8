"""What a kernel says of its arithmetic: formats, and in which order it adds up.

A declaration stands beside the kernel (`ORDERS` of a family) and says what its source does, once
more. The harness computes from it what an honest kernel gives, without looking at the source.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Sums:
    """How the terms of one output are added up, written as rows of `run` terms each.

    Attributes:
        run: terms of a row. lanes: partial sums; term i of a row goes to number i % lanes, row
            after row, each rounded once it is added.
        rest: where the terms behind the last whole `lanes` of a row go: to a partial sum of their
            own, which is added last, or to the first one.
        joined: how partial sums become one: halves onto halves, or neighbours by pairs, until one
            is left.
        piece: (rows, terms of a row) that have partial sums of their own; pieces are added to the
            total in their order, those of a row first. None: all is one piece.
    """

    run: int = 1
    lanes: int = 1
    rest: Literal["own", "first"] = "own"
    joined: Literal["halves", "neighbours"] = "halves"
    piece: tuple[int, int] | None = None


@dataclass(frozen=True)
class Order:
    """The arithmetic of one kernel.

    A product that is added to something may be rounded first or not, the same all over a kernel:
    compilers are free there. Built-in functions and divisions are as good as OpenCL C demands.

    Attributes:
        arithmetic: the format that each operation is rounded to.
        sums: of the terms of an output. Those of a convolution are input positions in ascending
            order, with the channels inside; of anything else, row-major.
        start: index of the input that a sum of products starts with, None for 0.
    """

    arithmetic: np.dtype
    sums: Sums = field(default_factory=Sums)
    start: int | None = None
