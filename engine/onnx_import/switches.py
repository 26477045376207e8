"""Integer attributes that switch something on or off: 0 and 1 have a meaning, nothing else has.

Engines differ in what they take 2 for (on, off, or an error), so it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import ModelError

SWITCHES = frozenset(
    {
        *("allowzero", "antialias", "broadcast", "ceil_mode", "count_include_pad"),
        *("detect_negative", "detect_positive", "exclude_outside", "exclusive", "fmod"),
        *("is_test", "keepdims", "new_axis", "noop_with_empty_axes", "reverse", "saturate"),
        *("select_last_index", "spatial", "storage_order", "training_mode", "transA", "transB"),
        *("upper", "align_corners", "largest", "sorted", "inverse", "onesided"),
        *("center_point_box", "is_case_sensitive"),
        *("input_forget", "layout", "linear_before_reset", "output_sequence"),
        *("transBatchA", "transBatchB", "channels_last", "unidirectional"),
        *("do_rotary", "interleaved", "is_causal", "rotary_interleaved"),
    }
)
"""Names, which ONNX gives no other meaning in any operator that Parallax takes."""


def check_switches(title: str, attributes: Mapping[str, Any]) -> None:
    """Raise ModelError for a switch that is neither 0 nor 1."""
    for name in SWITCHES & attributes.keys():
        if attributes[name] not in (0, 1):
            raise ModelError(f"{title}: {name}={attributes[name]}, expected 0 or 1")
