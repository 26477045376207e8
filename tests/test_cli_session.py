"""Options of a session on the command line: each changes something, or is refused in one line."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from engine.backends import registry
from engine.backends.opencl.backend import OpenCLBackend
from engine.config import ForwardType, GpuMode, MemoryMode, PathMode, PowerMode, Precision
from engine.errors import ConfigError
from engine.ir.graph import Node
from parallax.cli import main
from parallax.session_options import add_session, schedule
from tests.command_line import DEVICES, OPENCL, Captured, refused, save_chain, save_relu
from tests.model_writing import model_bytes, node

pytestmark = pytest.mark.one_driver

X = np.array([[-1, 2, -3, 4]], np.float32)
HIDDEN = 1 / (1 + np.exp(-X.astype(np.float64)))


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=X)
    return save_chain(tmp_path)


def ran(capsys: Captured, *argv: object) -> dict[str, Any]:
    """What a run says in JSON."""
    capsys.readouterr()
    assert main(["run", *(str(a) for a in argv), "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


# ---------------------------------------------------------------------- saved tensors
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("names", [["hidden"], ["*"], ["x", "hidden"]])
def test_saved_tensors_stand_beside_the_outputs_in_the_archive(
    capsys: Captured, chain: Path, tmp_path: Path, device: str, names: list[str]
) -> None:
    files = "--inputs", tmp_path / "x.npz", "--outputs", tmp_path / "y.npz"
    saves = [word for name in names for word in ("--save", name)]
    data = ran(capsys, chain, "--device", device, "--precision", "high", *files, *saves)
    with np.load(tmp_path / "y.npz") as archive:
        saved = set(archive.files)
        np.testing.assert_allclose(archive["hidden"], HIDDEN, rtol=1e-6)
        exponentials = np.exp(HIDDEN)
        np.testing.assert_allclose(archive["file"], exponentials / exponentials.sum(), rtol=1e-6)
    assert saved == ({"hidden", "file"} if names == ["*"] else {*names, "file"})
    assert {s["name"] for s in data["saved"]} == saved - {"file"}
    assert [o["name"] for o in data["outputs"]] == ["file"]


# ---------------------------------------------------------------------- paths
@pytest.mark.parametrize(
    "options",
    [("--from", "hidden", "--to", "file"), ("--from", "second", "--path-mode", "op")],
)
def test_a_path_runs_on_the_tensor_it_starts_at(
    capsys: Captured, chain: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    np.savez(tmp_path / "hidden.npz", hidden=np.repeat(HIDDEN.astype(np.float32), 3, axis=0))
    data = ran(capsys, chain, "--device", "cpu", "--inputs", tmp_path / "hidden.npz", *options)
    assert data["inputs"] == {"hidden": "float32[3, 4]"}
    expected = np.exp(HIDDEN) / np.exp(HIDDEN).sum()
    assert data["outputs"][0]["max"] == pytest.approx(expected.max(), rel=1e-6)
    random = ran(capsys, chain, "--device", "cpu", "--shape", "hidden=5,4", *options)
    assert random["inputs"] == {"hidden": "float32[5, 4]"}


def test_the_sink_of_an_operator_path_is_computed_only_when_included(
    capsys: Captured, chain: Path
) -> None:
    path = "--device", "cpu", "--from", "first", "--to", "second", "--path-mode", "op"
    assert [o["name"] for o in ran(capsys, chain, *path)["outputs"]] == ["hidden"]
    included = ran(capsys, chain, *path, "--include-sink")
    assert [o["name"] for o in included["outputs"]] == ["file"]


# ---------------------------------------------------------------------- trace
@pytest.mark.parametrize("device", DEVICES)
def test_a_trace_shows_every_operator_with_what_it_computed(
    capsys: Captured, chain: Path, tmp_path: Path, device: str
) -> None:
    options = chain, "--device", device, "--inputs", tmp_path / "x.npz", "--precision", "high"
    rows = ran(capsys, *options, "--trace")["trace"]
    assert [(r["operator"], r["name"]) for r in rows] == [
        ("Sigmoid 'first'", "hidden"),
        ("Softmax 'second'", "file"),
    ]
    assert rows[0]["max"] == pytest.approx(HIDDEN.max(), rel=1e-6)
    assert ran(capsys, *options)["trace"] is None
    assert main(["run", *map(str, options), "--trace"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("Sigmoid 'first' on ")
    assert "hidden float32[1, 4]: 0.0474259 .. 0.982014" in first
    assert second.startswith("Softmax 'second' on ")


# ---------------------------------------------------------------------- fallback
@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ((), [(False, "session: kernels are compiled"), (False, "first run")]),
        (("--trace",), [(False, "session: kernels are compiled"), (True, "first run")]),
        (("-q",), [(True, "session: kernels are compiled"), (True, "first run")]),
    ],
)
def test_a_first_run_says_what_it_waits_for(
    options: tuple[str, ...],
    stages: list[tuple[bool, str]],
    capsys: Captured,
    chain: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a terminal, where that shows nothing else meanwhile."""
    told: list[tuple[bool, str]] = []

    @contextmanager
    def progress(name: str, *, silent: bool = False) -> Iterator[Callable[[str, int, int], None]]:
        assert name == chain.name
        yield lambda stage, done, total: told.append((silent, stage))

    monkeypatch.setattr("parallax.run.progress", progress)
    assert main(["run", str(chain), "--device", "cpu", *options]) == 0
    assert told == stages


def test_strict_refuses_what_the_backup_would_run(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = OpenCLBackend.why_not

    def no_relu(self: OpenCLBackend, node: Node) -> str | None:
        return "no [kernel] here" if node.op_type == "Relu" else right(self, node)

    monkeypatch.setattr(OpenCLBackend, "why_not", no_relu)
    options = "run", str(save_relu(tmp_path)), "--device", OPENCL
    assert main([*options]) == 0
    assert "ran on cpu: Relu 'first': opencl: no [kernel] here" in capsys.readouterr().out
    message = refused(capsys, *options, "--strict")
    assert "Relu 'first' cannot run (strict: no fallback allowed)" in message


# ---------------------------------------------------------------------- cache
@pytest.fixture
def cached(chain: Path, tmp_path: Path) -> tuple[object, ...]:
    files = "--inputs", tmp_path / "x.npz", "--outputs", tmp_path / "y.npz"
    return chain, "--device", OPENCL, *files, "--cache", tmp_path / "kernels.cache"


def test_the_second_run_finds_its_kernels_in_the_cache(
    capsys: Captured, cached: tuple[object, ...], tmp_path: Path
) -> None:
    first = ran(capsys, *cached)["cache"]
    assert first["misses"]
    assert not first["hits"]
    result = (tmp_path / "y.npz").read_bytes()
    second = ran(capsys, *cached)["cache"]
    assert sorted(second["hits"]) == sorted(first["misses"])
    assert not second["misses"]
    assert (tmp_path / "y.npz").read_bytes() == result
    assert main(["run", *map(str, cached)]) == 0
    assert f"{len(second['hits'])} kernels were found in it, 0 were not" in capsys.readouterr().out


def test_verify_judges_kernels_from_the_cache_and_says_so(
    capsys: Captured, chain: Path, tmp_path: Path
) -> None:
    options = "--device", OPENCL, "--precision", "high", "--no-latency"
    argv = ["verify", str(chain), *options, "--cache", str(tmp_path / "kernels.cache")]
    assert main(argv) == 0
    assert "0 kernels were found in it, " in capsys.readouterr().out
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "kernels were found in it, 0 were not" in out
    assert "high: verified" in out


@pytest.mark.parametrize("place", [0.001, 0.1, 0.5, 0.999])
def test_a_damaged_cache_is_ignored_with_a_reason_and_changes_no_result(
    capsys: Captured, cached: tuple[object, ...], tmp_path: Path, place: float
) -> None:
    ran(capsys, *cached)
    result = (tmp_path / "y.npz").read_bytes()
    file = tmp_path / "kernels.cache"
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] ^= 0xFF
    file.write_bytes(data)
    report = ran(capsys, *cached)["cache"]
    assert report["reason"] or report["rejected"]
    assert report["misses"]
    assert (tmp_path / "y.npz").read_bytes() == result
    assert not ran(capsys, *cached)["cache"]["misses"]


def test_a_cache_that_cannot_be_written_is_refused(
    capsys: Captured, chain: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("not a cache")
    for file, words in (
        (tmp_path, "it is a folder"),
        (tmp_path / "absent" / "k", "there is no folder"),
        (tmp_path / "mine.txt", "is not a kernel cache"),
    ):
        for command in ("run", "info", "verify"):
            message = refused(capsys, command, chain, "--device", OPENCL, "--cache", file)
            assert words in message
    assert (tmp_path / "mine.txt").read_text() == "not a cache"


def test_a_cache_is_refused_where_nothing_is_compiled(capsys: Captured, chain: Path) -> None:
    for command in ("run", "info", "verify"):
        message = refused(capsys, command, chain, "--device", "cpu", "--cache", "k")
        assert "only OpenCL kernels" in message


# ---------------------------------------------------------------------- refused
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--save hiden", "did you mean 'hidden'?"),
        ("--from hiden --to file", "did you mean 'hidden'?"),
        ("--from frist --path-mode op", "did you mean 'first'?"),
        ("--from first --to file", "'first' is an operator; it computes 'hidden'"),
        ("--from file --to hidden", "needs tensor 'x'"),
        ("--from second --to first --path-mode op", "lies behind sink 'first'"),
        ("--to file", "inputs are empty"),
        ("--from hidden", "outputs are empty"),
        ("--from hidden --to file --include-sink", "include_sink belongs to mode op"),
        ("--from hidden --to file --path-mode operator", "'operator': expected one of op, tensor"),
        ("--path-mode op", "--path-mode belongs to a part of the model"),
        ("--include-sink", "--include-sink belongs to a part of the model"),
        ("--from hidden --to file --shape hiden=2,4", "'hiden' is no input"),
        ("--shape y=2,4", "no input named 'y'"),
        ("--shape x=2,5", "axis 1 is 5, the model fixes it to 4"),
        ("--threads 0", "num_threads=0"),
        ("--mode tuning_none", "applies to OpenCL only"),
        ("--backup cpu --strict", "exclude each other"),
        ("--backup gpu", "'gpu': expected one of cpu, opencl"),
        ("--memory lo", "did you mean low?"),
        ("--memory low", "needs quantised models"),
        ("--power high", "uses all cores at NORMAL already"),
        ("--power low --threads 1", "leave num_threads"),
    ],
)
def test_what_does_not_apply_is_refused_in_one_line(
    capsys: Captured, chain: Path, options: str, words: str
) -> None:
    for command in ("run", "info"):
        message = refused(capsys, command, chain, "--device", "cpu", *options.split())
        assert words in message
        assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--mode tuning_wide", "only TUNING_NONE exists"),
        ("--mode tuning_none+memory_image", "only MEMORY_BUFFER exists"),
        ("--mode tuning_none+tuning_fast", "exactly one TUNING level"),
        ("--mode memory_buffer", "exactly one TUNING level"),
        ("--mode tunning_none", "did you mean tuning_none?"),
        ("--mode 4", "expected one of tuning_none"),
        ("--strict --threads 1", "applies to CPU only"),
    ],
)
def test_what_opencl_does_not_take_is_refused_in_one_line(
    capsys: Captured, chain: Path, options: str, words: str
) -> None:
    message = refused(capsys, "run", chain, "--device", OPENCL, *options.split())
    assert words in message
    assert message.count("\n") == 1


def test_a_device_that_is_not_there_is_refused_not_replaced(capsys: Captured, chain: Path) -> None:
    for command in ("run", "info"):
        assert "device 'zzz' matches no device" in refused(
            capsys, command, chain, "--device", "zzz"
        )


def test_what_auto_cannot_honour_is_refused(
    capsys: Captured, chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConfigError("this device has no priorities")

    monkeypatch.setattr(registry, "opencl_context", refuse)
    for device in ((), ("--device", "auto")):
        message = refused(capsys, "run", chain, *device, "--power", "high")
        assert "power=HIGH" in message
        assert "this device has no priorities" in message
        assert "precision=LOW" in refused(capsys, "run", chain, *device, "--precision", "low")


def test_every_option_of_a_session_reaches_its_configuration() -> None:
    parser = argparse.ArgumentParser()
    add_session(parser)
    words = (
        "--device 0.0 --precision low --backup opencl --mode tuning_none+memory_buffer "
        "--memory high --power low --save a --save b --from s --to t --path-mode op --include-sink"
    )
    config = schedule(parser.parse_args(words.split()))
    assert (config.type, config.device) == (ForwardType.OPENCL, "0.0")
    assert config.backup_type is ForwardType.OPENCL
    assert config.mode == GpuMode.TUNING_NONE | GpuMode.MEMORY_BUFFER
    assert config.save_tensors == ("a", "b")
    assert config.backend_config.precision is Precision.LOW
    assert config.backend_config.memory is MemoryMode.HIGH
    assert config.backend_config.power is PowerMode.LOW
    assert config.path is not None
    assert (config.path.inputs, config.path.outputs) == (("s",), ("t",))
    assert config.path.mode is PathMode.OP
    assert config.path.include_sink
    plain = schedule(parser.parse_args(["--device", "CPU", "--threads", "1", "--strict"]))
    assert (plain.type, plain.num_threads, plain.strict) == (ForwardType.CPU, 1, True)
    assert plain.backend_config.precision is Precision.HIGH
    assert schedule(parser.parse_args([])).type is ForwardType.AUTO


@pytest.mark.filterwarnings("default::engine.errors.ParallaxWarning")
def test_more_threads_than_cores_are_one_line_of_warning(
    chain: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cores = registry.cpu_threads()
    argv = ["run", str(chain), "--device", "cpu", "--threads", str(cores + 1)]
    assert main(argv) == 0
    told = f"num_threads={cores + 1}: {cores} are used, as many as there are cores"
    assert caplog.messages == [told]
    assert main([*argv, "-q"]) == 0
    assert caplog.messages == [told]


def test_a_run_shows_integers_in_full(tmp_path: Path, capsys: Captured) -> None:
    x = np.array([2**53 + 1, -(2**62) - 1])
    path = tmp_path / "relu.onnx"
    path.write_bytes(
        model_bytes([node("Neg", "x", "y")], {"x": [2]}, ["y"], dtype=TensorProto.INT64)
    )
    np.savez(tmp_path / "x.npz", x=x)
    argv = ["run", str(path), "--device", "cpu", "--inputs", str(tmp_path / "x.npz")]
    assert main(argv) == 0
    assert re.search(r"-9007199254740993 .* 4611686018427387905", capsys.readouterr().out)
    assert main([*argv, "--json"]) == 0
    (output,) = json.loads(capsys.readouterr().out)["outputs"]
    assert (output["min"], output["max"]) == (-(2**53) - 1, 2**62 + 1)
