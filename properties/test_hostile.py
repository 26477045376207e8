"""The attack of `python -m properties.hostile`: a slice of it, and proof that it would notice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from conformance.devices import config_of
from conformance.expectation import bound, expect, moved_by_storage
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.onnx_import.microsoft.schemas import DOMAIN
from properties.devices import selectors
from properties.hostile import attacks, wire
from properties.hostile.asked import Disagreement, call
from properties.hostile.calls import Drawn, schemas, turns_of
from properties.hostile.campaign import Campaign, Tally
from properties.hostile.cases import USUAL, Limits, Outcome, Result, load
from properties.hostile.disagreements import KNOWN
from properties.hostile.main import main
from properties.hostile.models import fixtures
from properties.hostile.planted import PLANTED, Planted
from properties.hostile.report import facts
from properties.hostile.schedule import Budget, requests
from properties.hostile.trial import Bench, attempt, nbytes_of
from properties.hostile.verdict import differences
from properties.hostile.witnesses import Court
from properties.hostile.worker import Orders, Request

pytestmark = pytest.mark.one_driver

SLICE = 1200
"""Cases in the slice; a campaign has a hundred times as many."""
OPERATOR_OF = {
    "raw_exception": "Elu",
    "hang": "Selu",
    "crash": "HardSwish",
    "memory": "ThresholdedRelu",
    "wrong_answer": "LeakyRelu",
    "misreading": "Celu",
}
TRIED = {"hang": 2, "memory": 2, "misreading": 16}
"""Calls of that operator, where not 8: some take time, of some few show it."""
TRIED_OTHERS = {"models": 120, "commands": 60}
"""Cases of an attack that has no operators."""
LIMITS = Limits(seconds=3.0, excess_nbytes=1 << 27)
"""Less than a campaign's, for time."""


def run(
    devices: tuple[str, ...],
    wanted: Iterable[Request],
    findings: Path | None = None,
    plant: Callable[[], Any] | None = None,
    limits: Limits = USUAL,
) -> Tally:
    make = partial(attacks.make, devices)
    campaign = Campaign(
        {a.name: a for a in make(lambda who: None)},
        lambda folder: Orders(make, folder / "log", folder / "dump", plant, limits),
        jobs=1,
        findings=findings,
    )
    campaign.run(iter(wanted), lambda tally: None)
    return campaign.tally


def cases_for(planted: Planted) -> list[Request]:
    operator = OPERATOR_OF.get(planted.plant.__name__)
    if operator is None:
        return [
            Request(planted.attack, 0, number) for number in range(TRIED_OTHERS[planted.attack])
        ]
    tried = TRIED.get(planted.plant.__name__, 8)
    return [Request(planted.attack, 0, number) for number in islice(turns_of([operator]), tried)]


def test_a_slice_of_the_attack_finds_nothing() -> None:
    tally = run(selectors(), requests(attacks.NAMES, 0, Budget(cases=SLICE)))
    assert facts(tally, 0.0)["findings"] == []
    assert tally.count == SLICE
    for attack, expected in {
        "models": "refused",
        "operators": "agreed",
        "commands": "refused",
    }.items():
        assert tally.outcomes[attack, expected] > 0


@pytest.mark.device_free
@pytest.mark.parametrize("planted", PLANTED, ids=lambda p: p.plant.__name__)
def test_a_planted_fault_is_found_and_kept(planted: Planted, tmp_path: Path) -> None:
    tally = run(("cpu",), cases_for(planted), tmp_path, planted.plant, LIMITS)
    found = [
        finding
        for (outcome, _, place), finding in tally.findings.items()
        if outcome == planted.outcome and planted.place in place
    ]
    assert found, sorted(tally.outcomes.items())
    (first, *_) = found
    assert first.file is not None
    case = load(first.file)
    assert run(("cpu",), [Request(case.attack, 0, -1, case)]).findings == {}


@pytest.mark.device_free
def test_a_case_is_the_same_for_the_same_seed_and_number() -> None:
    made = [attacks.make(("cpu",), lambda who: None) for _ in range(2)]
    for number in range(12):
        for one, other in zip(*made, strict=True):
            assert one.draw(3, number) == other.draw(3, number)


@pytest.mark.device_free
def test_records_of_a_file_are_written_as_they_were_read() -> None:
    for _, data in fixtures():
        records = wire.read(data)
        assert records is not None
        assert wire.written(records) == data


@pytest.mark.device_free
def test_every_operator_is_called_at_every_opset_of_its_schemas() -> None:
    rng = np.random.default_rng(0)
    for op_type, versions in schemas().items():
        met = {Drawn(rng, op_type).schema.since_version for _ in range(12 * len(versions))}
        assert met == {schema.since_version for schema in versions}, op_type


@pytest.mark.device_free
def test_calls_of_chosen_operators_are_those_of_a_whole_campaign(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`--operator` leaves out what others have their turn for, and changes no case."""
    asked: list[Request] = []
    monkeypatch.setattr(Campaign, "run", lambda campaign, wanted, tell: asked.extend(wanted))
    chosen = ["--operator", "GRU", "--operator", "Unique"]
    keep = ["--device", "cpu", "--cases", "6", "--seed", "3", "--findings", str(tmp_path)]
    assert main([*chosen, *keep]) == 0
    operators = attacks.make(("cpu",), lambda who: None)[1]
    origins = [operators.draw(r.seed, r.number).origin for r in asked]
    assert [origin.split()[0] for origin in origins] == ["GRU", "Unique"] * 3
    everything = requests(["operators"], 3, Budget(cases=asked[-1].number + 1))
    assert set(asked) < set(everything)


@pytest.mark.device_free
def test_bad_usage_is_one_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("no.zip").write_bytes(b"PK")
    assert main(["--replay", "no.zip", "--device", "cpu"]) == 2
    assert "holds no case" in capsys.readouterr().err
    assert main(["--findings", "no.zip", "--device", "cpu"]) == 2
    assert "--findings no.zip" in capsys.readouterr().err
    assert main(["--operator", "Nothing", "--device", "cpu"]) == 2
    assert "no calls of Nothing are drawn" in capsys.readouterr().err
    assert main(["--device", "no such device"]) == 2
    assert "no such device" in capsys.readouterr().err
    for wrong in (["--budget", "soon"], ["--cases", "0"], ["--seed", "-1"], ["--attack", "all"]):
        with pytest.raises(SystemExit, match="2"):
            main(wrong)


@pytest.mark.device_free
def test_an_interrupt_keeps_what_was_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 130, and the counts in the document."""

    def interrupted(campaign: Campaign, wanted: Iterable[Request], tell: object) -> None:
        campaign.tally.add(Result("models", 0, "refused"))
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Campaign, "run", interrupted)
    assert main(["--device", "cpu", "--json"]) == 130
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["interrupted"]) == ("parallax.hostile/1", True)
    assert document["attacks"][0]["outcomes"] == {"refused": 1}


@pytest.mark.device_free
def test_outputs_too_large_for_references_are_not_judged() -> None:
    """10^7 elements, for which bounds would take 3.5 GB, more than a child has."""
    x, w = np.ones((3, 2, 1, 4), np.float32), np.ones((2, 34, 1, 2), np.float32)
    asked = call("ConvTranspose", 14, x, w, output_shape=[1, 100000])
    bench = Bench(("cpu",), Court(lambda who: None))
    assert attempt(bench, asked.data, dict(asked.feeds), "cpu") == Outcome("ran")


@pytest.mark.device_free
def test_an_error_may_carry_an_argument_over_a_jump() -> None:
    """Quotients of halves beside ties, which are rounded to either side."""
    x = np.arange(-200, 200, dtype=np.float16) / np.float16(50)
    asked = call("QuantizeLinear", 19, x, np.array(0.013, np.float16))
    bench = Bench(("cpu",), Court(lambda who: None))
    assert attempt(bench, asked.data, dict(asked.feeds), "cpu").name == "agreed"


@pytest.mark.device_free
def test_an_error_may_carry_a_number_to_its_neighbour_in_half() -> None:
    """What is normalised in float lies beside ties of half, to which it is then cast."""
    x = np.linspace(-700, 700, 4096, dtype=np.float32).reshape(64, 64)
    asked = call("RMSNormalization", 23, x, np.full(64, 0.2512, np.float16))
    bench = Bench(("cpu",), Court(lambda who: None))
    assert attempt(bench, asked.data, dict(asked.feeds), "cpu").name != "wrong answer"


def chained(x: np.ndarray, *op_types: str, dead: int = 0) -> tuple[bytes, dict[str, np.ndarray]]:
    """Operators one after the other, and as many times the last result is doubled for nobody."""
    names = ["x", *(f"v{i}" for i in range(len(op_types)))]
    nodes = [helper.make_node(op, [names[i]], [names[i + 1]]) for i, op in enumerate(op_types)]
    twice = [names[-1], *(f"twice{i}" for i in range(dead))]
    nodes += [
        helper.make_node("Concat", [twice[i]] * 2, [twice[i + 1]], axis=0) for i in range(dead)
    ]
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info(names[-1], kind, None)],
    )
    imports = [helper.make_opsetid("", 14)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return model.SerializeToString(), {"x": x}


@pytest.mark.device_free
def test_an_error_may_carry_an_argument_out_of_the_domain() -> None:
    """The first result is 1 in half, of which the second is infinite, and beyond in float64."""
    x = np.linspace(0.76, 0.763, 16, dtype=np.float16)
    bench = Bench(("cpu",), Court(lambda who: None))
    assert attempt(bench, *chained(x, "Atanh", "Atanh"), "cpu").name != "wrong answer"


@pytest.mark.device_free
def test_what_is_never_computed_takes_no_memory() -> None:
    data, feeds = chained(np.ones(1 << 16, np.float32), "Abs", dead=30)
    interpreter = Interpreter.from_buffer(data)
    assert nbytes_of(bound(interpreter, feeds)) == 1 << 18


@pytest.mark.device_free
def test_a_vector_of_scales_along_an_axis_that_a_scalar_lacks_is_refused() -> None:
    scales = np.ones(5, np.float32)
    asked = call(f"{DOMAIN}::DequantizeLinear", 20, np.int8(3), scales, np.ones(5, "i1"), axis=0)
    with pytest.raises(ParallaxError, match="axis=0 is outside a tensor of rank 0"):
        Interpreter.from_buffer(asked.data)


@pytest.mark.device_free
@pytest.mark.parametrize("size", [2.0**33, 1.0])
def test_roundings_that_matter_are_not_another_meaning(size: float) -> None:
    """Beside a large bias the keys of all places are one number in float, and not in float64."""
    x = np.linspace(-1, 1, 10, dtype=np.float32).reshape(2, 5, 1)
    weights, bias = np.ones((1, 6), np.float32), np.zeros(6, np.float32)
    bias[2] = size
    asked = call(f"{DOMAIN}::Attention", 1, x, weights, bias, num_heads=1)
    bench = Bench(("cpu",), Court(lambda who: None))
    assert attempt(bench, asked.data, dict(asked.feeds), "cpu").name == "agreed"
    graph = bound(Interpreter.from_buffer(asked.data), asked.feeds)
    (moved,) = moved_by_storage(graph, asked.feeds).values()
    assert (moved.max() > 0.01) == (size > 1)


@pytest.mark.device_free
@pytest.mark.parametrize("known", KNOWN, ids=lambda k: f"{k.witness}-{min(k.op_types)}")
def test_a_known_disagreement_still_holds(known: Disagreement) -> None:
    shown = known.shown()
    assert known.applies(shown)
    bench = Bench(("cpu",), Court(lambda who: None))
    interpreter = Interpreter.from_buffer(shown.data)
    with interpreter.create_session(config_of(bench.target("cpu")), bench.runtime) as session:
        session.run(shown.feeds)
        (backend,) = session.execution.backends.values()
    graph = bound(interpreter, shown.feeds)
    outputs = bench.court.ask(known.witness, shown.data, shown.feeds)
    expected = expect(graph, shown.feeds, backend)
    differs = bool(differences(outputs, expected, has_own=shown.has_own))
    assert differs or not known.everywhere
