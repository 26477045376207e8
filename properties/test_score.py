"""The general score tries what a fault reaches, and tells what noticed it."""

import sys

import pytest

from engine.ops import OPERATORS
from properties import fault as planting
from properties.fault import Fault, FaultError, code, spec
from properties.general import Place, Step, campaign
from properties.memory import Violation
from properties.reach import Record, reached, token_of
from properties.score import Results, Scored, _tried, table

pytestmark = pytest.mark.device_free

THIS = sys.modules[__name__]


def double(x):
    return 2 * x


def half(x):
    return x / 2


def notices():
    if double(2) != 4:
        raise Violation("4 is not 4")


STEPS = [
    Step("half", lambda place: half(2)),
    Step("double", lambda place: notices()),
    Step("raises", lambda place: {}[double(1)], "Relu"),
]


class Connection:
    def __init__(self):
        self.sent = []

    def send(self, message):
        self.sent.append(message)


def record(steps):
    rows = []
    for step in steps:
        with reached() as tokens:
            try:
                step.run(None)
                right = True
            except KeyError:
                right = False
        rows.append((step.name, 1.0, right, tokens))
    return Record.of(rows)


def tried(change):
    connection, known = Connection(), record(STEPS)
    fault = Fault("double-is-not", "kernel", code(f"{__name__}:double", change), lambda bench: None)
    planting.TOUCHED.clear()
    with fault.plant():
        (touched,) = planting.TOUCHED
        place = Place("cpu", None)
        return _tried(fault, place, STEPS, known, touched, connection), connection.sent


def test_only_steps_that_reach_a_fault_and_are_right_without_it_are_tried(tmp_path):
    known = record(STEPS)
    assert known.wrong == [2]
    assert known.steps([token_of(double.__code__)]).tolist() == [1]
    assert known.steps(None).tolist() == [0, 1]
    assert known.steps(["kernel unary"]).tolist() == []
    known.save(tmp_path / "known.npz")
    read = Record.load(tmp_path / "known.npz")
    assert read.steps([token_of(half.__code__)]).tolist() == [0]
    assert (read.names, read.wrong) == (known.names, known.wrong)


def test_a_fault_is_killed_by_the_step_that_notices_it_or_survives():
    scored, sent = tried(("2 * x", "3 * x"))
    assert (scored.verdict, scored.by, scored.said) == ("killed", "double", "4 is not 4")
    assert (scored.seconds, scored.steps, sent) == (2.0, 1, [("at", 1)])
    scored, _ = tried(("2 * x", "x + x"))
    assert (scored.verdict, scored.said) == ("survived", "every step that reaches it passes")


def test_changed_code_is_changed_for_all_and_put_back():
    held = double
    with code(f"{__name__}:double", ("2 * x", "5 * x"))():
        assert held(2) == THIS.double(2) == 10
    assert held(2) == 4
    with (
        pytest.raises(FaultError, match="does not contain"),
        code(f"{__name__}:double", ("7", ""))(),
    ):
        pass


def test_a_changed_spec_is_reached_by_the_functions_that_change():
    planting.TOUCHED.clear()
    with spec("Add", reference=lambda old: lambda inputs, attributes: inputs)():
        (touched,) = planting.TOUCHED
    assert touched is not None
    with reached() as tokens:
        OPERATORS["Add"].reference([1.0, 2.0], {})
    assert touched & tokens


def test_steps_of_a_campaign_have_names_of_their_own():
    names = [step.name for step in campaign(("cpu", "pocl-high"), 2)]
    assert len(set(names)) == len(names) > 2000


def test_results_are_kept_and_told_by_level(tmp_path):
    results = Results(tmp_path / "results.json")
    results.add(Scored("a", "kernel", "killed", blamed="Conv", is_named=True))
    results.add(Scored("b", "cpu", "survived", said="never reached"))
    results.add(Scored("c", "reference", "killed"))
    again = Results(tmp_path / "results.json")
    assert [*again.known.values()] == [*results.known.values()]
    assert table([*again.known.values()]) == [
        "kernels and host arguments: killed 1/2 (50%)",
        "reference and comparator: killed 1/1 (100%)",
        "first failing node of a random graph named rightly: 1/1",
        "survived: b (cpu): never reached",
    ]
