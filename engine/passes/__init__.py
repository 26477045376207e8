"""Device-free graph passes: load_passes once per model, bind_passes once per set of shapes."""

from __future__ import annotations

from collections.abc import Collection

from engine.passes import (
    fold_batch_norm,
    fold_bias,
    fold_constants,
    fold_scale,
    fuse_epilogue,
    fuse_hard_swish,
    fuse_layer_norm,
    inline_control_flow,
    remove_dead_nodes,
    remove_identities,
    scale_sums,
)
from engine.passes.assign_segments import assign_segments
from engine.passes.base import Pass, run_passes
from engine.passes.bind_shapes import bind_shapes, free_dimensions, open_list
from engine.passes.bind_values import bind_values, deciding_inputs, undecided_nodes
from engine.passes.cut_path import Cut, cut
from engine.passes.cut_stages import HostStep, Program, Stage, cut_stages
from engine.passes.infer_shapes import (
    are_typed,
    infer_unfolded,
    infer_where_known,
    pass_recalling,
)
from engine.passes.inferences import Inferences
from engine.passes.resolve_path import resolve_path
from engine.passes.segment import Segment


def load_passes(keep: Collection[str] = ()) -> tuple[Pass, ...]:
    """The passes that need no shapes and run once per model.

    Args:
        keep: names of values that must survive as values of their own, as inputs, constants or
            results of a node; constants that nothing reads any more are found in `Graph.kept`.
            "*" asks to keep whatever is left after all fusions, so it restrains nothing here.
    """
    kept = _names(keep)
    return (
        fold_constants.pass_keeping(kept),
        inline_control_flow.pass_keeping(kept),
        remove_dead_nodes.pass_keeping(kept),
        remove_identities.pass_keeping(kept),
        fold_bias.pass_keeping(kept),
        fold_batch_norm.pass_keeping(kept),
        fold_scale.pass_keeping(kept),
        fold_bias.pass_keeping(kept),
    )


def bind_passes(
    keep: Collection[str] = (), inferences: Inferences | None = None
) -> tuple[Pass, ...]:
    """The passes that follow bind_shapes.

    Args:
        keep: as for `load_passes`.
        inferences: what was inferred of other copies of the graph; it gains what is inferred now.
    """
    kept = _names(keep)
    return (
        pass_recalling(inferences),
        scale_sums.SCALE_SUMS,
        fold_constants.pass_keeping(kept),
        remove_dead_nodes.pass_keeping(kept),
        remove_identities.pass_keeping(kept),
        fold_scale.pass_keeping(kept),
        fold_bias.pass_keeping(kept),
        fuse_hard_swish.pass_keeping(kept),
        fuse_layer_norm.pass_keeping(kept),
        fuse_epilogue.pass_keeping(kept),
    )


def _names(keep: Collection[str]) -> frozenset[str]:
    return frozenset(() if keep == "*" else keep)


__all__ = [
    "Cut",
    "HostStep",
    "Inferences",
    "Pass",
    "Program",
    "Segment",
    "Stage",
    "are_typed",
    "assign_segments",
    "bind_passes",
    "bind_shapes",
    "bind_values",
    "cut",
    "cut_stages",
    "deciding_inputs",
    "free_dimensions",
    "infer_unfolded",
    "infer_where_known",
    "load_passes",
    "open_list",
    "resolve_path",
    "run_passes",
    "undecided_nodes",
]
