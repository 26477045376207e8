"""The attack by hostile archives and paths, through the command line."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from onnx import TensorProto, helper

from conformance.report import BAD_INPUT, NOTHING_VERIFIED, OUT_OF_BOUNDS
from properties.hostile.archives import archive, damaged, plain
from properties.hostile.cases import Case, Outcome, random_of
from properties.hostile.paths import KINDS, NAMES, broken, seal
from properties.hostile.places import ROOT, place_in_text

INTERNAL_ERROR = 70
SPAWNED_SHARE = 0.004
"""Of cases that take a process of their own, which is slow: lost outputs and other encodings."""
DEVICE = ("--device", "cpu")
TEMPLATES: tuple[tuple[str, ...], ...] = (
    ("run", "model.onnx", "--inputs", "PATH", *DEVICE),
    ("run", "model.onnx", "--inputs", "x.npz", "--outputs", "PATH", *DEVICE),
    ("run", "model.onnx", "--inputs", "x.npz", "--output", "PATH", *DEVICE),
    ("run", "model.onnx", "--inputs", "x.npz", "--cache", "PATH", *DEVICE),
    ("info", "PATH"),
    ("info", "model.onnx", "--output", "PATH"),
    ("verify", "model.onnx", "--inputs", "PATH", *DEVICE),
    ("verify", "model.onnx", "--inputs", "x.npz", "--expect", "PATH", *DEVICE),
    ("verify", "PATH", *DEVICE),
)
ARCHIVE_TEMPLATES: tuple[tuple[str, ...], ...] = (
    ("run", "model.onnx", "--inputs", "PATH", *DEVICE),
    ("run", "model.onnx", "--inputs", "PATH", *DEVICE),
    ("run", "model.onnx", "--inputs", "PATH", "--json", *DEVICE),
    ("verify", "model.onnx", "--inputs", "PATH", *DEVICE),
    ("verify", "model.onnx", "--inputs", "x.npz", "--expect", "PATH", *DEVICE),
)
SPAWNED = ("stdout full", "stdout closed", "ascii", "reader gone")


class Commands:
    """Gives a command an archive or a path that no user should, and reads what it says."""

    name = "commands"

    def warm(self) -> None:
        """Nothing: the first cases do."""

    def draw(self, seed: int, number: int) -> Case:
        """Damaged archives and strange paths take turns."""
        rng = random_of(self.name, seed, number)
        files = {"model.onnx": relu(), "x.npz": archive([("x.npy", plain())])}
        options: dict[str, Any] = {"process": ""}
        if number % 2:
            told, files["PATH"] = damaged(rng)
            argv = ARCHIVE_TEMPLATES[int(rng.integers(len(ARCHIVE_TEMPLATES)))]
            options.update(kind="", name="it.npz")
        else:
            argv = TEMPLATES[int(rng.integers(len(TEMPLATES)))]
            kind = list(KINDS)[int(rng.integers(len(KINDS)))]
            name = NAMES[0] if rng.random() < 0.5 else NAMES[int(rng.integers(len(NAMES)))]
            options.update(kind=kind, name=name.encode("utf-8", "surrogateescape").decode("latin1"))
            told = f"{kind} named {name[:12]!r}"
        if rng.random() < SPAWNED_SHARE:
            options["process"] = SPAWNED[int(rng.integers(len(SPAWNED)))]
        options["argv"] = list(argv)
        return Case(self.name, f"{' '.join(argv)}: {told}", files, options)

    def attempt(self, case: Case) -> Outcome:
        """Run the command in a folder of its own."""
        name = case.options["name"].encode("latin1").decode("utf-8", "surrogateescape")
        with _folder(case, name) as folder:
            before, outside = seal(folder), sorted(folder.parent.iterdir())
            argv = [name if a == "PATH" else a for a in case.options["argv"]]
            code, said = _run(argv, case.options["process"])
            if harm := broken(before, folder):
                return Outcome("wrong answer", harm, said[-200:])
            if sorted(folder.parent.iterdir()) != outside:
                return Outcome("wrong answer", "a file outside the folder", said[-200:])
        return read(argv, code, said)


def read(argv: Sequence[str], code: int, said: str) -> Outcome:
    """What an exit code and messages mean."""
    last = said.strip().splitlines()[-1][:300] if said.strip() else ""
    if code == INTERNAL_ERROR:
        kind = re.findall(r"internal error, please report: (\w+)", said)
        return Outcome("raw exception", f"{place_in_text(said)} {''.join(kind[:1])}", last)
    allowed = {0, BAD_INPUT, 141}
    if argv[0] == "verify":
        allowed |= {OUT_OF_BOUNDS, NOTHING_VERIFIED}
    if code not in allowed:
        return Outcome("raw exception", f"exit code {code}", last)
    return Outcome("accepted" if code == 0 else "refused", "", last)


def relu() -> bytes:
    """y = Relu(x) over float32[n, 4]."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [x], [y])
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    return bytes(model.SerializeToString())


@contextlib.contextmanager
def _folder(case: Case, name: str) -> Iterator[Path]:
    """The case's files in an otherwise empty folder, which is the working directory meanwhile."""
    outside, before = Path(tempfile.mkdtemp()), Path.cwd()
    folder = outside / "inside"
    folder.mkdir()
    try:
        for member, data in case.files.items():
            (folder / (name if member == "PATH" else member)).write_bytes(data)
        with contextlib.suppress(OSError, ValueError):
            if case.options["kind"]:
                KINDS[case.options["kind"]](folder / name)
        os.chdir(folder)
        yield folder
    finally:
        os.chdir(before)
        shutil.rmtree(outside, ignore_errors=True)


def _run(argv: Sequence[str], process: str) -> tuple[int, str]:
    """Exit code, and all that was said; with --debug, so that a traceback says where it was."""
    argv = [*argv, "--debug"]
    if process:
        return _spawn(argv, process)
    # The command line lies above this package: it is attacked as a program, not used.
    main = importlib.import_module("parallax.cli").main
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(argv)
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else BAD_INPUT
    return code, said.getvalue()


def _spawn(argv: Sequence[str], process: str) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if process == "ascii":
        environment |= {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "parallax", *argv]
    if process == "stdout closed":
        command = ["sh", "-c", '"$@" >&-', "sh", *command]
    if process == "reader gone":
        command = ["sh", "-c", '"$@" | true; exit 0', "sh", *command]
    full = open("/dev/full", "w") if process == "stdout full" else None  # noqa: SIM115
    try:
        done = subprocess.run(
            [os.fsencode(a) for a in command if "\0" not in a],
            env=environment,
            stdout=full or subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        if full is not None:
            full.close()
    return done.returncode, (done.stdout or b"").decode("latin1") + done.stderr.decode("latin1")
