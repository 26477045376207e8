"""Device-free graph passes: LOAD_PASSES once per model, bind_passes once per set of shapes."""

from __future__ import annotations

from collections.abc import Collection

from engine.passes import (
    fold_bias,
    fold_scale,
    fuse_epilogue,
    fuse_hard_swish,
    fuse_layer_norm,
    remove_dead_nodes,
    remove_identities,
)
from engine.passes.base import Pass, run_passes
from engine.passes.bind_shapes import bind_shapes, free_dimensions
from engine.passes.fold_batch_norm import FOLD_BATCH_NORM
from engine.passes.fold_constants import FOLD_CONSTANTS
from engine.passes.infer_shapes import INFER_SHAPES

LOAD_PASSES: tuple[Pass, ...] = (
    FOLD_CONSTANTS,
    remove_dead_nodes.pass_keeping(()),
    remove_identities.pass_keeping(()),
    fold_bias.pass_keeping(()),
    FOLD_BATCH_NORM,
    fold_scale.pass_keeping(()),
    fold_bias.pass_keeping(()),
)
"""They need no shapes and run once per model."""


def bind_passes(keep: Collection[str] = ()) -> tuple[Pass, ...]:
    """The passes that follow bind_shapes.

    Args:
        keep: names of values that must survive as values of their own. "*" asks to keep whatever
            is left after all fusions, so it restrains nothing here.
    """
    kept = frozenset(() if keep == "*" else keep)
    return (
        INFER_SHAPES,
        FOLD_CONSTANTS,
        remove_dead_nodes.pass_keeping(kept),
        remove_identities.pass_keeping(kept),
        fold_scale.pass_keeping(kept),
        fold_bias.pass_keeping(kept),
        fuse_hard_swish.pass_keeping(kept),
        fuse_layer_norm.pass_keeping(kept),
        fuse_epilogue.pass_keeping(kept),
    )


__all__ = [
    "LOAD_PASSES",
    "Pass",
    "bind_passes",
    "bind_shapes",
    "free_dimensions",
    "run_passes",
]
