"""Names that would steer a terminal are shown, not obeyed: those of files and those of tensors."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from onnx import helper
from rich.console import Console

from conformance.visible import visible
from parallax import progress as bars
from parallax.cli import main
from tests.command_line import Captured, refused, save

pytestmark = pytest.mark.device_free

HOSTILE = "a\x1b[2Jb\x07\nparallax: 1 of 1 models verified\u202e\u2066\x85"
SHOWN = r"a\x1b[2Jb\x07\nparallax: 1 of 1 models verified\u202e\u2066\x85"
COMMANDS = (
    ("verify", "--no-latency"),
    ("verify", "--no-latency", "--quiet"),
    ("verify", "--engine", "onnxruntime"),
    ("run", "--trace"),
    ("info",),
    ("info", "--verbose"),
)


def steers(text: str) -> list[str]:
    return [c for c in text if c != "\n" and visible(c) != c]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """y = Relu(Softmax(x)), where everything is called something hostile."""
    x, h, y = (f"{name}{HOSTILE}" for name in "xhy")
    nodes = [
        helper.make_node("Softmax", [x], [h], name=f"s{HOSTILE}"),
        helper.make_node("Relu", [h], [y], name=f"r{HOSTILE}"),
    ]
    return save(tmp_path / f"{HOSTILE}.onnx", nodes, {x: [2, 4]}, [y], {})


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_names_are_printed_so_that_they_can_be_read(
    command: tuple[str, ...], model: Path, capsys: Captured
) -> None:
    name, *options = command
    device = [] if "--engine" in options else ["--device", "cpu"]
    assert main([name, str(model), *device, *options]) == 0
    found = capsys.readouterr()
    assert steers(found.out + found.err) == []
    assert "\nparallax: 1 of 1" not in f"\n{found.out}{found.err}"
    assert SHOWN.split()[0] in found.out


def test_an_error_shows_the_path_in_one_line(tmp_path: Path, capsys: Captured) -> None:
    (bad := tmp_path / f"{HOSTILE}.onnx").write_bytes(b"no model")
    for path in (bad, tmp_path / f"no{HOSTILE}.onnx"):
        message = refused(capsys, "run", path)
        assert steers(message) == []
        assert message.count("\n") == 1
        assert SHOWN in message


def test_a_folder_of_such_files_is_no_other(model: Path, capsys: Captured) -> None:
    (model.parent / f"bad{HOSTILE}.onnx").write_bytes(b"no model")
    assert main(["verify", str(model.parent), "--device", "cpu", "--no-latency"]) == 2
    found = capsys.readouterr()
    assert steers(found.out + found.err) == []
    assert "\nparallax: 1 of 1" not in f"\n{found.out}{found.err}"


def test_a_document_keeps_names_as_they_are(model: Path, capsys: Captured) -> None:
    assert main(["verify", str(model), "--device", "cpu", "--no-latency", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)["models"]
    assert report["model"] == str(model)
    assert list(report["shapes"]) == [f"x{HOSTILE}"]


def test_the_progress_shows_names_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=StringIO(), force_terminal=True, color_system=None, width=200)
    monkeypatch.setattr(bars, "Console", lambda **_: screen)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with bars.progress(f"m{HOSTILE}") as tell:
        tell(f"s{HOSTILE}", 1, 2)
    drawn = screen.file.getvalue()
    assert f"m{SHOWN} s{SHOWN}"[:80] in drawn
    assert not set(drawn) & {"\u202e", "\x07", "\x85"}
    assert "\x1b[2J" not in drawn
