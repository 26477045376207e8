"""Folders for as long as something is measured; those of killed processes go at the next start.

A folder holds a lock file, locked for as long as its process lives: the system lets go of it,
however that ends. So a lock that can be taken is proof that nobody uses the folder any more.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

NAME = re.compile(r"parallax-(bench|cold|features|gate|memory|peers|scenario)-\w+")
LOCK = ".lock"


class Scratch:
    """A new folder in the system's place for temporary files; use as a context manager.

    Args:
        purpose: one of those in `NAME`.

    Attributes:
        name: its path.
    """

    def __init__(self, purpose: str) -> None:
        sweep()
        self._folder = tempfile.TemporaryDirectory(prefix=f"parallax-{purpose}-")
        self.name = self._folder.name
        assert NAME.fullmatch(Path(self.name).name), purpose
        unseen = Path(self.name, f"{LOCK}.new")
        self._lock = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unseen.rename(Path(self.name, LOCK))  # nobody sees it unlocked

    def cleanup(self) -> None:
        """Remove it with all that is in it; harmless the second time."""
        self._folder.cleanup()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, *_: object) -> None:
        self.cleanup()


def sweep() -> None:
    """Remove this user's folders whose processes are gone."""
    with os.scandir(tempfile.gettempdir()) as entries:
        found = [entry.path for entry in entries if NAME.fullmatch(entry.name)]
    for path in found:
        with suppress(OSError):
            if _is_abandoned(Path(path)):
                shutil.rmtree(path, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    """Whether the folder is this user's, and its lock can be had; raises OSError for no lock."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return False
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(lock)
    return True
