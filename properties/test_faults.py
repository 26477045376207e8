"""The harness notices seeded faults; `python -m properties.faults` plants all of them."""

import pytest

from properties.devices import selectors
from properties.fault import FaultError, kernel
from properties.faults import FAULTS, NEEDS_OPENCL, main, measure, select

pytestmark = pytest.mark.one_driver

SELECTOR = next((s for s in selectors() if s != "cpu"), "cpu")
SMOKE = (
    "unary-drops-tail",
    "unary-overruns-by-one",
    "relu-loses-nan",
    "half-store-truncates",
    "softmax-without-maximum",
    "slot-offset-off-by-one",
    "lifetime-one-step-short-unchecked",
    "batch-norm-folded-without-epsilon",
    "fusion-ignores-second-reader",
    "nan-passes",
    "nothing-is-compared",
    "cpu-changes-its-input",
    "reference-sigmoid-scaled",
)


def test_a_smoke_sample_of_faults_is_killed(record_property):
    chosen = [
        f for f in FAULTS if f.name in SMOKE and (SELECTOR != "cpu" or f.level not in NEEDS_OPENCL)
    ]
    results = [measure(fault, SELECTOR) for fault in chosen]
    killed = sum(r.verdict == "killed" for r in results)
    record_property("killed", f"{killed}/{len(results)}")
    print(f"killed {killed}/{len(results)} seeded faults on {SELECTOR}")
    assert [r for r in results if r.verdict != "killed"] == []


def test_names_of_faults_are_unique():
    assert len({f.name for f in FAULTS}) == len(FAULTS) >= 24
    assert set(SMOKE) <= {f.name for f in FAULTS}


def test_faults_are_selected_by_name_or_pattern():
    assert [f.name for f in select(["relu-loses-nan"])] == ["relu-loses-nan"]
    assert [f.name for f in select(["shrink-*", "min-is-max"])] == [
        "shrink-drops-bias",
        "shrink-includes-its-threshold",
        "min-is-max",
    ]
    assert select() == list(FAULTS)
    with pytest.raises(SystemExit, match=r"no fault named shrunk-\*"):
        select(["shrink-*", "shrunk-*"])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_every_fault_can_be_planted(fault):
    """Change properties/fault_*.py together with the code that a fault changes."""
    with fault.plant():
        pass


def test_a_fault_that_changes_nothing_is_an_error():
    with pytest.raises(FaultError, match="does not contain"), kernel("unary", ("no such", ""))():
        pass


def test_a_device_that_is_not_there_is_one_sentence_and_exit_code_2(capsys):
    assert main(["--device", "no such device"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("properties.faults: ")
    assert "no such device" in captured.err
