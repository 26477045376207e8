"""What the command line writes and prints: nothing of the user's is lost, one JSON for all."""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import shtab
from onnx import helper

from conformance import files
from parallax import cli
from parallax.cli import main
from tests.command_line import MLP, OPENCL, Captured, refused, save, save_relu
from tests.control_flow_models import BOOL, COUNTING, FLOAT, graph, serialised
from tests.model_writing import node

pytestmark = pytest.mark.one_driver

ROOT = Path(__file__).parents[1]
ON_CPU = ("--device", "cpu")
OF_A_MODEL = ("info", "run", "verify", "bench", "profile")
ALONE: dict[str, list[object]] = {
    "devices": [],
    "fuzz": [*ON_CPU, "--count", "1"],
    "selftest": [*ON_CPU, "--quick", "--operator", "Relu"],
}
"""What the commands without a model are given where they run."""


def sub_parsers() -> dict[str, argparse.ArgumentParser]:
    (commands,) = (a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    return {name: p for name, p in commands.choices.items() if name != "completion"}


def writing_options() -> Iterator[tuple[str, str]]:
    """Every (command, option) that names a file to write."""
    for command, parser in sub_parsers().items():
        for action in parser._actions:
            if action.dest in files.WRITTEN:
                yield command, action.option_strings[0]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_relu(tmp_path)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


# ---------------------------------------------------------------------- nothing is overwritten
def test_every_option_that_takes_a_file_is_known_to_the_guard() -> None:
    for command, parser in sub_parsers().items():
        for action in parser._actions:
            if getattr(action, "complete", None) is shtab.FILE:
                assert action.dest in {*files.WRITTEN, *files.READ}, (command, action.dest)


def test_every_command_can_write_its_document() -> None:
    writing = {c for c, option in writing_options() if option == "--output"}
    assert writing == set(sub_parsers()) - {"as-onnxruntime"}  # whose output is a program's


@pytest.mark.parametrize(("command", "option"), list(writing_options()))
def test_no_command_writes_over_an_input_a_model_or_a_file_of_the_users(
    capsys: Captured, model: Path, command: str, option: str
) -> None:
    folder = model.parent
    (folder / "link.json").symlink_to(model)
    os.link(model, folder / "hard.json")
    shutil.copy(MLP, folder / "other.onnx")
    (folder / "linked.json").symlink_to(folder / "other.onnx")
    (folder / "notes.txt").write_text("mine")
    before = snapshot(folder)
    targets = ["relu.onnx", "link.json", "hard.json", "other.onnx", "linked.json", "new.onnx"]
    if option != "--cache":  # which says itself what it refuses
        targets.append("notes.txt")
    for target in targets:
        if command in ALONE and target in ("link.json", "hard.json"):
            continue  # it has no inputs; the link's end is a model, the hard link's name is none
        subject = [] if command in ALONE else [str(model)]
        message = refused(capsys, command, *subject, option, folder / target)
        assert target in message
        assert "cannot write there" in message
        assert snapshot(folder) == before


def test_a_folder_of_models_keeps_its_models_and_their_external_data(
    capsys: Captured, model: Path
) -> None:
    folder = model.parent
    (folder / "weights.json").write_text("external data")
    os.link(model, folder / "model.json")
    for target, words in (("weights.json", "is not a JSON report"), ("model.json", "an input")):
        assert words in refused(capsys, "verify", folder, "--output", folder / target)


def test_a_report_may_lie_among_the_models_and_be_written_again(model: Path) -> None:
    target = model.with_name("report.json")
    for _ in range(2):
        assert main(["verify", str(model.parent), *ON_CPU, "-q", "--output", str(target)]) == 0


def test_arrays_never_replace_the_arrays_that_were_read(capsys: Captured, model: Path) -> None:
    x = model.with_name("x.npz")
    np.savez(x, x=np.ones((1, 4), np.float32))
    message = refused(capsys, "run", model, *ON_CPU, "--inputs", x, "--outputs", x)
    assert "an input of this command" in message


def test_arrays_of_the_users_are_kept_and_permissions_too(capsys: Captured, model: Path) -> None:
    mine, ours = model.with_name("weights.npz"), model.with_name("y.npz")
    np.savez(mine, w=np.ones(3))
    assert "is not an .npz archive of parallax" in refused(
        capsys, "run", model, *ON_CPU, "--outputs", mine
    )
    for _ in range(2):
        assert main(["run", str(model), *ON_CPU, "--outputs", str(ours)]) == 0
        ours.chmod(0o600)
    assert stat.S_IMODE(ours.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["loop.npz", "n" * 300, "日" * 84, "", "."], ids=range(5))
def test_impossible_names_are_explained(capsys: Captured, model: Path, name: str) -> None:
    model.with_name("loop.npz").symlink_to("loop.npz")
    target = f"{model.parent}/{name}" if len(name) > 1 else name
    assert "cannot write" in refused(capsys, "run", model, *ON_CPU, "--outputs", target)


def test_arrays_that_lie_about_their_size_are_refused(capsys: Captured, model: Path) -> None:
    header = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
    np.lib.format.write_array_header_1_0(header, shape)
    lie, text = model.with_name("lie.npz"), model.with_name("text.npz")
    with zipfile.ZipFile(lie, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(24))
    text.write_text("no archive")
    assert "lie.npz" in refused(capsys, "run", model, *ON_CPU, "--inputs", lie)
    assert "expected an .npz file" in refused(capsys, "run", model, *ON_CPU, "--inputs", text)


def test_two_options_never_write_one_file(capsys: Captured, model: Path) -> None:
    same = model.with_name("same")
    message = refused(capsys, "run", model, *ON_CPU, "--outputs", same, "--output", same)
    assert "what --output writes" in message


def test_a_report_of_before_is_replaced_and_a_link_to_it_followed(model: Path) -> None:
    target, link = model.with_name("report.json"), model.with_name("link")
    link.symlink_to(target)
    for _ in range(2):
        assert main(["info", str(model), "--output", str(link)]) == 0
        assert json.loads(target.read_text())["schema"] == "parallax.info/1"
    assert link.is_symlink()


def a_device(path: Path) -> None:
    """One of our own that swallows what is written, as /dev/null does."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # a long path does not fit


@pytest.mark.parametrize("make", [os.mkfifo, a_device, a_socket], ids=["pipe", "device", "socket"])
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize(("command", "option"), list(writing_options()))
def test_what_is_no_regular_file_is_left_alone(
    capsys: Captured,
    model: Path,
    command: str,
    option: str,
    linked: bool,
    make: Callable[[Path], None],
) -> None:
    target, link = model.with_name("target"), model.with_name("link")
    make(target)
    link.symlink_to(target)
    before = target.lstat()
    subject = [] if command in ALONE else [model, "--device", OPENCL]
    takes_no_device = command == "report" or (command == "info" and option == "--output")
    subject = subject[:1] if takes_no_device else subject
    message = refused(capsys, command, *subject, option, link if linked else target)
    assert "it is not a regular file" in message
    assert target.lstat() == before
    assert link.is_symlink()
    assert {p.name for p in model.parent.iterdir()} == {"relu.onnx", "target", "link"}


@pytest.mark.parametrize(("command", "option"), list(writing_options()))
def test_a_dash_is_explained(
    capsys: Captured, model: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str
) -> None:
    monkeypatch.chdir(model.parent)
    subject = [] if command in ALONE else [model]
    message = refused(capsys, command, *subject, option, "-")
    assert "--json prints to standard output" in message
    assert not Path("-").exists()


# ---------------------------------------------------------------------- one JSON
def document(capsys: Captured, *argv: object) -> dict:
    assert main([*(str(a) for a in argv), "--json"]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out, parse_constant=pytest.fail)


@pytest.mark.parametrize("command", [*ALONE, *OF_A_MODEL])
def test_json_is_one_document_with_tool_date_files_and_devices(
    capsys: Captured, command: str, tmp_path: Path
) -> None:
    argv: list[object] = [command, *ALONE.get(command, [MLP, *ON_CPU])]
    argv += ["--runs", 11] if command == "bench" else []
    found = document(capsys, *argv, "--output", tmp_path / "same.json")
    assert found["schema"] == f"parallax.{command}/1"
    assert found["tool"]["name"] == "parallax"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["date"])
    assert found == json.loads((tmp_path / "same.json").read_text())
    assert found["devices"][-1]["platform"] == "NumPy"
    if command not in ALONE:
        assert found["files"][0]["path"] == str(MLP)
        assert len(found["files"][0]["sha256"]) == 64


@pytest.mark.parametrize("command", [*ALONE, *OF_A_MODEL])
def test_every_key_of_a_document_is_documented(capsys: Captured, command: str) -> None:
    argv = [command, *ALONE.get(command, [MLP, *ON_CPU])]
    argv += ["--runs", 11] if command == "bench" else []
    text = (ROOT / "docs" / "json.md").read_text()
    common, _, rest = text.partition("\n## ")
    own = next(s for s in rest.split("\n## ") if s.startswith(f"`parallax {command}`"))
    described = set(re.findall(r"`(\w+)`", common + own))
    assert set(document(capsys, *argv)) <= described


# ---------------------------------------------------------------------- interruptions
def interrupted_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user presses Ctrl-C when `count` precisions are judged."""
    job = importlib.import_module("conformance.verify")._Job
    right, judged = job.judge, []

    def judge(self: object, precision: object) -> object:
        if len(judged) == count:
            raise KeyboardInterrupt
        judged.append(precision)
        return right(self, precision)

    monkeypatch.setattr(job, "judge", judge)


def test_ctrl_c_keeps_the_precisions_that_are_finished(
    capsys: Captured, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_after(1, monkeypatch)
    target = model.with_name("report.json")
    argv = ["verify", str(model), str(MLP), "--device", OPENCL, "--output", str(target)]
    assert main(argv) == 130
    captured = capsys.readouterr()
    assert "high: verified" in captured.out
    assert "normal: verified" not in captured.out
    assert "interrupted" in captured.out
    assert "parallax: interrupted" in captured.err
    data = json.loads(target.read_text())
    assert data["interrupted"]
    assert data["exit_code"] == 130
    (found,) = data["models"]
    assert found["interrupted"]
    assert [p["requested"] for p in found["precisions"]] == ["high"]


def test_ctrl_c_keeps_the_models_that_are_finished(
    capsys: Captured, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_after(1, monkeypatch)
    target = model.with_name("report.json")
    assert main(["verify", str(model), str(MLP), *ON_CPU, "--output", str(target)]) == 130
    data = json.loads(target.read_text())
    assert [m["interrupted"] for m in data["models"]] == [False, True]
    assert "relu.onnx" in capsys.readouterr().out


def parallax(*argv: object, redirect: str = "", after: str = "") -> subprocess.CompletedProcess:
    words = " ".join(map(str, argv))
    code = f"{sys.executable} -m parallax {words} {redirect} {after}"
    return subprocess.run(
        ["bash", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("argv", ["--help", "devices", "devices --json", "completion bash"])
def test_a_full_disk_is_no_verdict(argv: str) -> None:
    done = parallax(argv, redirect=">/dev/full")
    assert done.returncode == 2
    assert done.stderr == "parallax: standard output cannot be written: No space left on device\n"


def test_a_closed_output_does_no_harm_to_the_file(model: Path) -> None:
    target = model.with_name("report.json")
    done = parallax("verify", model, *ON_CPU, "--output", target, redirect=">&-")
    assert done.returncode == 2
    assert done.stderr == "parallax: standard output cannot be written: it is closed\n"
    assert json.loads(target.read_text())["exit_code"] == 0


@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&- <&-", "2>/dev/full"])
@pytest.mark.parametrize(
    ("argv", "code"), [("--help", 2), ("run nothing.onnx", 2), ("bench --nothing", 2)]
)
def test_streams_that_take_nothing_change_no_code(redirect: str, argv: str, code: int) -> None:
    done = parallax(argv, redirect=redirect)
    helped = argv == "--help" and not redirect.startswith(">")
    assert done.returncode == (0 if helped else code)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:surrogateescape", "utf-8:strict"])
@pytest.mark.parametrize("command", ["info", "run", "verify"])
def test_a_path_that_the_output_cannot_write_is_escaped(
    model: Path, command: str, encoding: str
) -> None:
    folder = model.parent / "日本\udcff"
    folder.mkdir()
    strange = model.rename(folder / "é.onnx")
    done = subprocess.run(
        [sys.executable, "-m", "parallax", command, strange, *ON_CPU],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert b"internal error" not in done.stderr
    written = "日本\\udcff".encode() if "utf" in encoding else b"\\u65e5\\u672c\\udcff"
    assert written in done.stdout


STAGES = ("engine.backends", "numpy", "onnx", "parallax.verify_command", "parallax.cli", "pyopencl")
"""Modules in the order of their imports, the last of them on demand, while a command runs."""


@pytest.mark.parametrize("module", STAGES)
def test_ctrl_c_is_never_a_traceback(model: Path, module: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "parallax", "verify", str(model)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rstrip().endswith(f" {module}"):  # it is imported now: not a matter of time
                break
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=120)[1]
    assert process.returncode == 130, error
    assert "parallax: interrupted\n" in error
    assert "Traceback" not in error


def test_ctrl_c_ends_a_loop_that_never_does(tmp_path: Path) -> None:
    state = [*COUNTING, ("s", FLOAT, None)]
    body = [
        node("ReduceSum", "s", "m", keepdims=0),
        node("Cast", "m", "on", to=BOOL),
        node("Identity", "s", "r"),
    ]
    loop = node("Loop", "- - x", "y", body=graph(body, state, "on r"))
    path, x = tmp_path / "endless.onnx", tmp_path / "x.npz"
    path.write_bytes(serialised(graph([loop], [("x", FLOAT, [1, 2])], "y")))
    np.savez(x, x=np.ones((1, 2), np.float32))
    words = ("run", path, "--inputs", x, *ON_CPU, "-v")
    command = [sys.executable, "-m", "parallax", *map(str, words)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("ready for x [1, 2]" in line for line in process.stderr)
        time.sleep(0.5)  # it runs by now; if not, the test shows less
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=120)[1]
    assert process.returncode == 130, error
    assert "parallax: interrupted" in error
    assert "Traceback" not in error


def test_a_failure_is_a_document_too(capsys: Captured, tmp_path: Path) -> None:
    for command in ("info", "run", "verify", "bench"):
        assert main([command, str(tmp_path / "absent.onnx"), "--json"]) == 2
        found = json.loads(capsys.readouterr().out)
        assert found["schema"] == f"parallax.{command}/1"
        assert "absent.onnx" in found["error"]


def test_a_reader_that_goes_away_is_no_verdict(model: Path) -> None:
    code = (
        f"{sys.executable} -m parallax verify {model} {MLP} --device cpu | head -1; "
        'exit "${PIPESTATUS[0]}"'
    )
    done = subprocess.run(
        ["bash", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 141, done.stderr
    assert done.stderr == ""
    assert str(model) in done.stdout


# ---------------------------------------------------------------------- how it looks
@pytest.mark.parametrize("columns", [60, 80, 160])
def test_piped_output_respects_columns_and_has_no_trailing_blanks(
    capsys: Captured, model: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["verify", str(model), str(MLP), *ON_CPU, "--no-latency"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    tables = [line for line in lines if "float32[" in line]
    assert tables
    assert max(map(len, tables)) <= columns


def test_quiet_leaves_one_line_for_a_model(capsys: Captured, model: Path) -> None:
    assert main(["verify", str(model), *ON_CPU, "--quiet"]) == 0
    assert capsys.readouterr().out == f"{model}: high verified\n"


@pytest.mark.parametrize("shell", shtab.SUPPORTED_SHELLS)
def test_every_command_is_completed(capsys: Captured, shell: str) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command in sub_parsers():
        assert command in script


def test_bash_completes_an_option(tmp_path: Path) -> None:
    program = 'eval "$("$0" -m parallax completion bash)"; complete -p parallax'
    done = subprocess.run(
        ["bash", "-c", program, sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "parallax" in done.stdout, done.stderr


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_every_help_fits_and_ends_with_examples(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in sub_parsers():
        assert main([command, "--help"]) == 0
        shown = capsys.readouterr().out
        tail = shown.partition("\n\n")[2]
        assert max(map(len, tail.splitlines())) <= columns
        assert f"  parallax {command}" in tail.partition("examples:")[2]


# ---------------------------------------------------------------------- found by strangers
@pytest.mark.parametrize("columns", ["0", "-5", "", "wide"])
def test_columns_that_are_no_width_are_as_if_unset(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["info", str(MLP), *ON_CPU]) == 0
    assert "operators" in capsys.readouterr().out


def test_names_are_printed_as_they_are(capsys: Captured, model: Path) -> None:
    path = model.rename(model.with_name(":star:.onnx"))
    assert main(["info", str(path), *ON_CPU]) == 0
    assert ":star:.onnx" in capsys.readouterr().out


def test_misuse_is_a_document_too(capsys: Captured, model: Path) -> None:
    assert main(["run", str(model), "--json", "--seed", "foo"]) == 2
    captured = capsys.readouterr()
    assert "usage: parallax run" in captured.err
    found = json.loads(captured.out)
    assert (found["schema"], found["exit_code"]) == ("parallax.run/1", 2)
    assert "--seed" in found["error"]


def test_a_failure_replaces_the_report_of_a_success(capsys: Captured, model: Path) -> None:
    report = model.with_name("report.json")
    assert main(["run", str(model), *ON_CPU, "--output", str(report)]) == 0
    assert "error" not in json.loads(report.read_text())
    assert main(["run", str(model), *ON_CPU, "--save", "zzz", "--output", str(report)]) == 2
    found = json.loads(report.read_text())
    assert "zzz" in found["error"]
    assert [f["path"] for f in found["files"]] == [str(model)]
    assert len(found["files"][0]["sha256"]) == 64


def test_a_command_prints_one_document_at_most(capsys: Captured, tmp_path: Path) -> None:
    node = helper.make_node("Alien", ["x"], ["y"], domain="com.acme")
    path = save(tmp_path / "a.onnx", [node], {"x": [4]}, ["y"], {}, {"": 17, "com.acme": 1})
    assert main(["info", str(path), *ON_CPU, "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert "com.acme" in found["session_problem"]


def test_what_is_no_model_is_said_in_words(capsys: Captured, tmp_path: Path) -> None:
    (tmp_path / "pipes").mkdir()
    os.mkfifo(tmp_path / "pipes" / "b.onnx")
    for given, words in (
        ("", "is empty"),
        ("/dev/null", "neither a file nor a folder"),
        (str(tmp_path / "pipes"), "holds no .onnx file"),
        (str(tmp_path / "pipes" / "b.onnx"), "neither a file nor a folder"),
    ):
        assert main(["verify", given, *ON_CPU]) == 2
        assert words in capsys.readouterr().err


def test_a_trace_respects_columns(
    capsys: Captured, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["run", str(model), *ON_CPU, "--trace"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60
