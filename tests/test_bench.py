"""`parallax bench`: what is measured, how it is shown, and what is advised; mostly made-up rows."""

from __future__ import annotations

import gc
import importlib.util
import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from engine.backends import registry
from engine.errors import ConfigError, DeviceError
from engine.timeline import DEVICE, Span, Timeline
from parallax.bench_advice import Advice, advise
from parallax.bench_candidates import candidates
from parallax.bench_table import HEADS, print_comparison
from parallax.cli import main
from perf.candidates import PEER, Candidate
from perf.comparison import Comparison, Row
from perf.latency import Latency, quiet_gc
from perf.profiled import Profile
from perf.rounds import Rounds
from perf.stages import Launch, Stages, Start
from tests.command_line import MLP, MODELS, OPENCL, Captured, refused, save_relu

pytestmark = pytest.mark.one_driver

RESNET = MODELS / "tiny_resnet.onnx"


def row(
    device: str,
    precision: str,
    *medians_us: int,
    start_ms: int = 100,
    differs: str = "",
    invalid: tuple[str, ...] = (),
    emulated: bool = False,
) -> Row:
    """A row of made-up figures: a median steady latency for each launch."""
    return Row(
        Stages(
            model="model.onnx",
            candidate=Candidate(device, precision),
            device=f"Platform / {device}",
            driver="1.0",
            precision=precision,
            launches=tuple(launch(us * 1000, start_ms, invalid) for us in medians_us),
            commands=12,
            fallbacks=(),
            half_is_emulated=emulated,
        ),
        differs=differs,
    )


def launch(ns: int, start_ms: int, invalid: tuple[str, ...]) -> Launch:
    times_ns = (ns - ns // 50, ns, ns + ns // 50)
    span = Span("Relu 'r'", "relu", DEVICE, 0, 0, 0, ns)
    observed = Timeline((span,), enqueue_ns=ns, synced_ns=ns, launched=1)
    steady = Latency("fake", True, times_ns, times_ns, 0, Profile.of([observed]), invalid, ())
    return Launch(Start(start_ms * 10**6, 0, 0, {}), steady, 0.0)


FAST = row("intel", "high", 1000, 1010, 990)
TIED_HALF = row("intel", "normal", 980, 1000, 1000)
SLOW_LOW = row("intel", "low", 5900, 5900, 5900, emulated=True)
OTHER = row("pocl", "high", 2000, 2100, 1900)
PEER_FASTER = row(PEER, "high", 500, 500, 505)
PEER_SLOWER = row(PEER, "high", 3000, 3030, 2970)
PEER_TIED = row(PEER, "high", 1020, 990, 1000)


# ---------------------------------------------------------------------- advice
def test_the_fastest_is_advised_with_its_options_and_the_distance_of_the_next() -> None:
    found = advise([OTHER, FAST])
    assert found.sentence == (
        "Use --device intel --precision high here, because it is the fastest: 1.00 ms, and the "
        "next, pocl at high, takes 2.00 times as long (1.92..2.08)."
    )
    assert found.warnings == ()


def test_of_two_equally_fast_the_more_exact_is_advised_and_the_tie_is_said() -> None:
    sentence = advise([TIED_HALF, FAST]).sentence
    assert sentence.startswith("Use --device intel --precision high here")
    assert "most exact" in sentence
    assert "as fast: intel at normal (0.98..1.01)" in sentence


def test_of_two_equally_fast_and_exact_both_are_named() -> None:
    twin = row("pocl", "high", 1005, 1005, 1005)
    sentence = advise([twin, FAST]).sentence
    assert sentence.startswith("Use --device intel --precision high here")
    assert "others are as fast: pocl at high" in sentence
    assert "most exact" not in sentence


def test_a_row_is_slower_only_where_it_was_slower_in_every_round() -> None:
    once_equal = row("pocl", "low", 5000, 5000, 1010)
    assert "as fast: pocl at low" in advise([FAST, once_equal]).sentence
    always = row("pocl", "low", 5000, 5000, 1100)
    assert "the next, pocl at low, takes" in advise([FAST, always]).sentence


def test_a_row_whose_shortest_run_is_as_short_is_not_slower() -> None:
    disturbed = row("pocl", "low", 5000, 5000, 5000)
    (first, *others) = disturbed.stages.launches
    times_ns = (950_000, *first.steady.synced_ns)
    calm = replace(first, steady=replace(first.steady, synced_ns=times_ns))
    disturbed = Row(replace(disturbed.stages, launches=(calm, *others)))
    assert "as fast: pocl at low (0.98..5.05)" in advise([FAST, disturbed]).sentence


def test_a_precision_that_is_slower_than_a_more_exact_one_is_called_so() -> None:
    (warning,) = advise([FAST, SLOW_LOW, OTHER]).warnings
    assert warning == (
        "On intel, low is slower than high, which is more exact: it takes 5.90 times as long "
        "(5.84..5.96): half arithmetic is emulated; do not use it."
    )
    not_emulated = row("intel", "low", 5900, 5900, 5900)
    (warning,) = advise([FAST, not_emulated]).warnings
    assert "emulated" not in warning


def test_a_less_exact_precision_is_compared_within_its_device() -> None:
    assert advise([FAST, row("pocl", "low", 3000)]).warnings == ()
    assert advise([row("pocl", "high", 3000, 3000), row("pocl", "low", 1000, 1000)]).warnings == ()


def test_another_engine_that_is_faster_is_said_to_be() -> None:
    sentence = advise([FAST, OTHER, PEER_FASTER]).sentence
    assert sentence.startswith("onnxruntime is 2.00 times as fast here (1.96..2.02); of Parallax ")
    assert "use --device intel --precision high here" in sentence


def test_another_engine_that_is_slower_or_as_fast_is_said_to_be() -> None:
    assert advise([FAST, PEER_SLOWER]).sentence.endswith(
        "; onnxruntime takes 3.00 times as long (3.00..3.00)."
    )
    assert advise([FAST, PEER_TIED]).sentence.endswith(
        "; onnxruntime is as fast within the noise (0.98..1.02)."
    )


@pytest.mark.parametrize("bad", [{"invalid": ("I5: too short",)}, {"differs": "it differs"}])
def test_a_row_that_is_not_believed_never_wins_and_is_never_compared_with(bad: dict) -> None:
    wrong = row("pocl", "low", 1, 1, 1, start_ms=1, **bad)
    found = advise([wrong, FAST, OTHER])
    assert found.sentence.startswith("Use --device intel --precision high here")
    assert "pocl at low" not in f"{found.sentence} {found.warnings}"
    wrong_peer = row(PEER, "high", 1, 1, 1, **bad)
    assert "onnxruntime" not in advise([wrong_peer, FAST, OTHER]).sentence
    assert advise([wrong]).sentence.startswith("No advice")
    assert advise([wrong, PEER_FASTER]).sentence.startswith("No advice")


@pytest.mark.parametrize("only", [FAST, PEER_FASTER])
def test_a_single_row_is_no_comparison(only: Row) -> None:
    assert "nothing was measured beside it" in advise([only]).sentence
    assert advise([only]).warnings == ()


def test_a_slow_start_is_worth_a_word_and_so_is_a_single_launch() -> None:
    (warning,) = advise([row("intel", "high", 100, 100, start_ms=2400), OTHER]).warnings
    assert warning == (
        "For a single inference pocl at high is quicker: 100 ms from the file to the outputs, "
        "against 2400."
    )
    (warning,) = advise([row("intel", "high", 100), row("cpu", "high", 900)]).warnings
    assert "One launch" in warning


def test_a_device_with_blanks_in_its_name_is_quoted() -> None:
    assert "--device 'my gpu' --precision" in advise([row("my gpu", "high", 10), OTHER]).sentence


# ---------------------------------------------------------------------- the table
LONG = "Portable Computing Language / pthread-Intel(R) Xeon(R) Processor"
ROWS = (
    PEER_FASTER,
    replace(FAST, error=1e-6),
    row(LONG, "normal", 68, 71),
    row("0.0", "low", 2, 2, invalid=("I5: the clock stopped",)),
    row("cpu", "high", 30, 30, differs="its outputs differ from those of onnxruntime by 0.500"),
)
COMPARISON = Comparison(
    "a/[very] long model name.onnx", {"x": "float32[1,4]"}, ROWS, {"1.0 at low": "no\nfp16"}
)


def shown(width: int, comparison: Comparison = COMPARISON, *, notes: bool = True) -> str:
    file = StringIO()
    out = Console(file=file, width=width)
    print_comparison(comparison, Advice("Use it."), out, notes=notes, details=notes)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 160])
def test_every_number_of_the_table_is_readable_at_every_width(width: int) -> None:
    text = shown(width)
    for head in HEADS:
        assert re.search(rf"\b{head}\b", text)
    assert re.search(
        r"high +100 +100 +0\.490 +0\.500 +0\.515 +0\.500 +0\.500 +1\.00 +reference", text
    )
    assert re.search(r"normal +100 +100 +0\.0666 +0\.0694 +0\.0724 .* 0\.14\.\.0\.14", text)
    table = text.partition("not measured")[0].splitlines()[1:]
    assert max(len(line.rstrip()) for line in table) <= width


def test_what_is_wrong_with_a_row_stands_in_the_table_and_below_it() -> None:
    text = shown(100)
    assert re.search(r"0\.0 +low +100 +100( +-){6} +INVALID", text)
    assert re.search(r"cpu +high .*- +DIFFERS", text)
    assert "0.0 at low: INVALID: I5: the clock stopped" in text
    assert "cpu at high: its outputs differ from those of onnxruntime" in text
    assert "not measured: 1.0 at low: no\n" in text


def test_notes_can_be_left_out_but_the_advice_stays() -> None:
    text = shown(100, notes=False)
    assert "Use it." in text
    assert "TUNING_NONE" not in text
    assert "TUNING_NONE" in shown(100)


def test_launches_runs_and_noise_are_said() -> None:
    assert "3 launches each, 9 steady runs" in shown(160)
    assert "NOT QUIET" not in shown(160)
    busy = replace(FAST.stages.launches[0], foreign_share=0.5)
    noisy = Row(replace(FAST.stages, launches=(busy,)))
    assert "NOT QUIET: other programs used up to 50%" in shown(
        160, replace(COMPARISON, rows=(noisy,))
    )


def test_times_that_contradict_each_other_are_marked() -> None:
    first = FAST.stages.launches[0]
    observed = Timeline((Span("Relu 'r'", "relu", DEVICE, 0, 0, 0, 10**9),), 0, 10**9, 1)
    odd = replace(first, steady=replace(first.steady, profile=Profile.of([observed])))
    strange = replace(COMPARISON, rows=(Row(replace(FAST.stages, launches=(odd,))),))
    assert "device busy 1000 ms exceeds synced 1.00 ms" in " ".join(shown(80, strange).split())


# ---------------------------------------------------------------------- what is measured
def test_all_stands_for_every_device_at_every_precision_of_its_own() -> None:
    found = candidates("all", None)
    listed = {(c.device, c.precision) for c in found.candidates}
    assert ("cpu", "high") in listed
    assert (PEER, "high") in listed
    assert ("cpu", "normal") not in listed
    assert found.left_out["cpu at normal"] == "high is effective there"
    assert "float32 only" in found.left_out["cpu at low"]
    opencl = {c.device for c in found.candidates} - {"cpu", PEER}
    assert opencl == set(registry.opencl_selectors().values())
    assert all((device, "high") in listed for device in opencl)
    assert len(found.devices) == len(opencl) + 1


def test_one_device_takes_its_default_precision_and_a_list_takes_all() -> None:
    assert candidates(OPENCL, None).candidates == [Candidate(OPENCL, "normal")]
    assert candidates(" CPU", None).candidates == [Candidate("cpu", "high")]
    both = candidates(f"{OPENCL},cpu", "high").candidates
    assert both == [Candidate(OPENCL, "high"), Candidate("cpu", "high")]


def test_a_precision_that_nothing_takes_and_an_unknown_device_are_refused() -> None:
    with pytest.raises(ConfigError, match="float32 only"):
        candidates("cpu", "low")
    with pytest.raises(ConfigError, match="nothing to measure: cpu at low"):
        candidates("cpu,cpu", "low")
    with pytest.raises(DeviceError, match="matches no device"):
        candidates("cpu,no such device", None)


def test_without_onnxruntime_all_says_so_and_its_name_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert candidates("all", "high").left_out[PEER] == "not installed"
    with pytest.raises(ConfigError, match="pip install"):
        candidates(PEER, None)


# ---------------------------------------------------------------------- real runs
def test_devices_and_onnxruntime_are_measured_side_by_side(
    capsys: Captured, tmp_path: Path
) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "x.npz", image=x)
    argv = ["--device", f"{PEER},cpu,{OPENCL}", "--precision", "high", "--launches", "2"]
    data = tmp_path / "bench.json"
    argv += ["--runs", "6", "--inputs", str(tmp_path / "x.npz"), "--output", str(data)]
    assert main(["bench", str(RESNET), *argv]) == 0
    text = capsys.readouterr().out
    assert "2 launches each, 6 steady runs" in " ".join(text.split())
    (model,) = json.loads(data.read_text())["models"]
    assert model["advice"]["sentence"] in " ".join(text.split())
    rows = {entry["device"]: entry for entry in model["rows"]}
    assert set(rows) == {PEER, "cpu", OPENCL}
    assert model["reference"] == PEER
    for device, entry in rows.items():
        assert len(entry["ratios"]) == 2
        assert (entry["output_error"] is None) == (device == PEER)
        assert entry["stages"]["summary"]["synced"]["n"] == 6
        assert entry["differs"] is None
    latencies = [entry["stages"]["summary"]["synced"]["p50_ns"] for entry in model["rows"]]
    assert latencies == sorted(latencies)


def test_a_device_that_cannot_run_the_model_is_listed_unless_all_fail(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Candidate, worker: object, *_: object, **__: object) -> dict:
        if self.device in broken:
            from perf.launch import WorkerError

            raise WorkerError(f"{self.device} is broken")
        return right(self, worker, *_, **__)

    right, broken = Candidate.load, {"cpu"}
    monkeypatch.setattr(Candidate, "load", fail)
    argv = ["bench", MLP, "--device", f"{PEER},cpu", "--launches", "1", "--runs", "1"]
    assert main([str(a) for a in argv]) == 0
    assert "not measured: cpu at high: cpu is broken" in capsys.readouterr().out
    broken.add(PEER)
    message = refused(capsys, *argv)
    assert "cpu is broken" in message
    assert f"{PEER} is broken" in message


def test_inputs_belong_to_one_model_and_must_fit_it(capsys: Captured, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", wrong=np.zeros(3))
    inputs = "--inputs", tmp_path / "x.npz", "--device", "cpu"
    assert "there are several" in refused(capsys, "bench", MODELS, *inputs)
    assert "no tensor named 'wrong'" in refused(capsys, "bench", RESNET, *inputs)
    shape = "--shape", "image=1,3,32,32"
    assert "exclude each other" in refused(capsys, "bench", RESNET, *inputs, *shape)


def test_ctrl_c_keeps_the_launches_that_have_ended(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Rounds.take

    def take(self: Rounds, launches: int, runs: int, tell: object) -> None:
        right(self, 1, runs)
        raise KeyboardInterrupt

    monkeypatch.setattr(Rounds, "take", take)
    data = tmp_path / "bench.json"
    argv = ["bench", str(MLP), str(save_relu(tmp_path)), "--device", "cpu", "--runs", "1"]
    assert main([*argv, "--output", str(data)]) == 130
    captured = capsys.readouterr()
    assert "interrupted: what stands above is finished" in captured.out
    document = json.loads(data.read_text())
    assert document["interrupted"]
    (model,) = document["models"]
    assert model["interrupted"]
    assert len(model["rows"][0]["ratios"]) == 1


def test_of_several_models_one_that_cannot_be_read_is_reported(
    capsys: Captured, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"junk")
    quick = ["--device", "cpu", "--runs", "1", "--launches", "1"]
    assert main(["bench", str(bad), str(MLP), *quick]) == 2
    captured = capsys.readouterr()
    assert "bad.onnx" in captured.err
    assert "cpu" in captured.out


@pytest.mark.device_free
def test_measuring_leaves_garbage_collection_as_the_user_had_it() -> None:
    gc.collect()
    gc.freeze()
    frozen = gc.get_freeze_count()
    with quiet_gc():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen > 0
