"""Faults of a size that a number chosen by hand could hide are found all the same."""

from pathlib import Path

import pytest

from conformance import suspects, verify
from conformance.export import exported
from conformance.report import MIRROR, OUT_OF_BOUNDS, VERIFIED
from engine.ir.types import FLOAT
from properties.devices import opencl_backends, selectors
from properties.fault import code
from properties.fault_tolerances import LEAN, ONE_OF_MANY
from properties.mirrored import product_of
from properties.single import graph_of
from properties.tightness import main, measure, total

TINY = Path(__file__).parents[1] / "fixtures" / "models" / "tiny_resnet.onnx"
OPENCL = opencl_backends()
HIGH = next(t for t in OPENCL if t.backend.storage(FLOAT) == FLOAT)
DEVICE = next(s for s in selectors() if s != "cpu")


def product():
    """A model of 10,000 sums of 64 products."""
    case = product_of(0)
    given = {f"x{i}": x for i, x in enumerate(case.call.inputs)}
    return exported(graph_of(case)[0]).SerializeToString(), given


@pytest.mark.one_driver
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(ONE_OF_MANY, "1 of 10000 elements beyond 6 sigma", id="one of ten thousand"),
        pytest.param(LEAN, "errors lean to one side by", id="all of them by one sigma"),
    ],
)
def test_what_a_share_of_one_in_ten_thousand_would_clear_is_seen(fault, said, monkeypatch):
    model, given = product()
    with fault():
        report = verify(model, device=DEVICE, inputs=given, precisions=("high",))
        (check,) = report.precisions[0].failures
        assert (report.exit_code, check.settled) == (OUT_OF_BOUNDS, MIRROR)
        assert said in check.note
        monkeypatch.setattr(suspects, "_by_mirror", lambda suspect: None)
        monkeypatch.setattr("conformance.judge.bias", lambda found: 0.0)
        without = verify(model, device=DEVICE, inputs=given, precisions=("high",))
        assert without.exit_code == VERIFIED
    assert verify(model, device=DEVICE, inputs=given, precisions=("high",)).exit_code == VERIFIED


@pytest.mark.device_free
@pytest.mark.parametrize("off", ["64 * 2.0**-24", "1e-4", "1e-3"])
def test_what_the_rule_for_whole_models_could_hide_is_seen_node_by_node(off):
    """The dual-error rule of conformance/test_models.py and of test_voice.py has such numbers."""
    line = "np.matmul(weights, columns, out=out)"
    fault = code("engine.backends.cpu.conv:_conv", (line, f"{line}; out *= np.float32(1 + {off})"))
    assert verify(TINY, device="cpu").exit_code == VERIFIED
    with fault():
        report = verify(TINY, device="cpu")
    assert report.exit_code == OUT_OF_BOUNDS
    assert report.precisions[0].failures[0].title.startswith("Conv")


@pytest.mark.one_driver
def test_errors_are_set_beside_the_tolerances_of_other_tools():
    rows = [measure(HIGH, op_type, range(3)) for op_type in ("MatMul", "Exp")]
    whole = total(rows)
    assert whole.calls == 6
    assert 0 < whole.sigmas[-1] <= 6
    assert 0 < whole.bounds[-1] <= 1
    assert whole.tools["onnx"].blind > 0.5 * whole.elements


@pytest.mark.device_free
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--count", "0"), "expected at least 1 call"),
        (("--only", "Konv"), "no operator is called so"),
        (("--device", "no such device"), "no such device"),
    ],
)
def test_wrong_arguments_are_one_sentence_and_exit_code_2(arguments, said, capsys):
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("properties.tightness: ")
    assert said in captured.err
