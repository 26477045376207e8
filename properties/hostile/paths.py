"""Things that may lie where a command expects a file, and the proof that they lie there still."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

Make = Callable[[Path], None]


def _folder(path: Path) -> None:
    path.mkdir()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _device(path: Path) -> None:
    """A null device of the case's own; only root may make one."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        path.write_bytes(b"")


def _link(path: Path) -> None:
    target = path.with_name("target")
    target.write_bytes(b"somebody's data")
    path.symlink_to(target.name)


def _locked(path: Path) -> None:
    path.write_bytes(b"somebody's data")
    path.chmod(0)


def _foreign(path: Path) -> None:
    path.write_bytes(b"somebody's data")


def _nothing(path: Path) -> None:
    return


KINDS: dict[str, Make] = {
    "nothing": _nothing,
    "folder": _folder,
    "fifo": _fifo,
    "loop": _loop,
    "dangling": _dangling,
    "device": _device,
    "link": _link,
    "locked": _locked,
    "foreign": _foreign,
}
"""What can be made at a path."""

NAMES = (
    "it",
    "-",
    "--",
    "é\u202e",
    "a b",
    "new\nline",
    "x" * 300,
    "it.onnx",
    "a/b",
    "\udcff",
    "",
    ".",
    "..",
)
"""Names that a user's file may have."""


def seal(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Type of everything in a folder, and the contents of what is or leads to somebody's data."""
    found = {}
    for path in sorted(folder.iterdir()):
        mode = stat.S_IFMT(path.lstat().st_mode)
        is_file = mode == stat.S_IFREG
        found[path.name] = (mode, path.read_bytes()[:64] if is_file else b"")
    return found


def broken(before: dict[str, tuple[int, bytes]], folder: Path) -> str:
    """What a command destroyed, in a word or two; "" for nothing."""
    after = seal(folder)
    for name, (mode, data) in before.items():
        if name not in after:
            return "a file is gone"
        if after[name][0] != mode:
            return f"a {KIND_OF.get(mode, 'special file')} was replaced"
        if data.startswith(b"somebody's") and after[name][1] != data:
            return "somebody's data were overwritten"
    return ""


KIND_OF = {
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "device",
    stat.S_IFLNK: "link",
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
}
