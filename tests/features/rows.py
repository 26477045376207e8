"""The rows of the feature table, and for each where it stands.

HERE: the wanted behaviour is in the engine, and a test of this folder proves it. LATER: not built
yet; the test proves that asking for it is refused, in words or because there is no way to ask.
HARNESS: `conformance`, `properties` or `perf` does it; the test exercises the claim once more.
`lacks` says what of the wanted behaviour is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

HERE, LATER, HARNESS = "here", "later", "harness"


@dataclass(frozen=True)
class Row:
    """One feature.

    Attributes:
        covered_by: for HARNESS, "path::test" of what covers it in full.
    """

    title: str
    state: str = HERE
    covered_by: str = ""
    lacks: str = ""


ROWS = {
    1: Row("Load model from file or bytes"),
    2: Row("External weights"),
    3: Row("release_model"),
    4: Row("Create session"),
    5: Row("Multi-path session"),
    6: Row("Shared runtime"),
    7: Row("AUTO backend"),
    8: Row("Backup type"),
    9: Row("Per-operator fallback"),
    10: Row("Thread count and GPU mode"),
    11: Row("Tuning levels", LATER, lacks="all levels but TUNING_NONE"),
    12: Row("Tune result key", LATER, lacks="there is no tuning, so nothing has a key"),
    13: Row("Tuning on first run", LATER, lacks="tuning in the background"),
    14: Row("Cache file"),
    15: Row("Cache validation"),
    16: Row("Memory mode", lacks="MEMORY_IMAGE"),
    17: Row("Precision"),
    18: Row("Integer tensors"),
    19: Row("Compressed weights", LATER, lacks="quantised models"),
    20: Row("Winograd hint", LATER, lacks="Winograd kernels, and so a hint"),
    21: Row("Typed session options"),
    22: Row("Hints"),
    23: Row("resize_tensor and resize_session", lacks="tuned operators: there is no tuning"),
    24: Row("Incremental resize and shape cache", lacks="a new shape plans every operator again"),
    25: Row("run", lacks="an event that is returned: Tensor.wait and read_later stand for it"),
    26: Row("Callbacks"),
    27: Row("Default input and output"),
    28: Row("Unknown names", lacks="KeyError: it is an InputError, like every wrong name"),
    29: Row("save_tensors"),
    30: Row("Path"),
    31: Row("Tensor copy"),
    32: Row("Tensor map"),
    33: Row("Tensor wait", lacks="an event for each tensor: wait is for the queue"),
    34: Row("Layout"),
    35: Row("Session info: memory"),
    36: Row("Session info: work"),
    37: Row("Session info: backends"),
    38: Row("Session info: resize status"),
    39: Row("Module"),
    40: Row("Module clone"),
    41: Row("Command recording", lacks="device-side command buffers"),
    42: Row("OpenCL errors"),
    43: Row("Device selection"),
    44: Row("Zero-copy import"),
    45: Row(
        "Profiler",
        HARNESS,
        "perf/test_latency.py::test_every_launch_of_a_model_has_one_event_with_its_node",
        lacks="a Chrome trace",
    ),
    46: Row("Memory planner"),
    47: Row("Memory pools"),
    48: Row("Views and bounds of data movement", lacks="regions, which this engine does not have"),
    49: Row(
        "Comparator",
        HARNESS,
        "properties/test_comparator.py",
        lacks="a histogram and ULPs: errors are told in sigmas and shares of the bound",
    ),
    50: Row(
        "Per-layer comparison",
        HARNESS,
        "conformance/test_models.py::test_every_node_verifies_at_three_precisions",
    ),
    51: Row("Exit codes", HARNESS, "tests/test_cli.py::test_nothing_verified_exits_with_3"),
    52: Row(
        "Reference test",
        HARNESS,
        "properties/test_graphs.py::test_a_seeded_bug_shrinks_to_a_few_nodes",
        lacks="saved inputs: the seed, which is reported, makes them again",
    ),
    53: Row(
        "Benchmark",
        HARNESS,
        "perf/test_processes.py::test_the_stages_of_a_model_are_measured_and_add_up",
        lacks="p95, a confidence interval, and a tuned column that is not empty",
    ),
    54: Row(
        "Timing with synchronisation",
        HARNESS,
        "perf/test_latency.py::test_the_benchmarked_time_covers_the_work_of_the_device",
    ),
    55: Row(
        "Tolerance by precision",
        HARNESS,
        "tests/test_completeness.py::test_errors_fit_the_outputs_and_are_ordered",
    ),
    56: Row(
        "Test matrix",
        HARNESS,
        "properties/test_operators.py::test_results_lie_within_the_derived_error",
        lacks="a memory and a tuning axis, which have one value each",
    ),
    57: Row("Concurrency"),
    58: Row(
        "Determinism", HARNESS, "properties/test_graphs.py::test_reusing_memory_changes_no_bit"
    ),
    59: Row("Model info"),
    60: Row("Power and priority"),
    61: Row("Shutdown"),
}
