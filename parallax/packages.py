"""Where the packages beside this one are found, whatever else has their names.

`engine`, `conformance`, `properties` and `perf` are top-level names, so a file of a user's may have
one of them too, and the working directory comes first where Python looks. The command line is a
process of our own: there the working directory is no place to look. A program that imports
`parallax` is the user's: there nothing is moved, and one ImportError says what to rename.

This module is the first that runs, and imports only what Python has imported already.
"""

import importlib.util
import os
import sys

HOME = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
NAMES = ("engine", "conformance", "properties", "perf")


def claim() -> None:
    """Make sure that every package is ours; raises ImportError."""
    if is_command():
        leave_working_directory()
        catch_interrupts()
    for name in NAMES:
        found, ours = place_of(name), os.path.join(HOME, name)
        if found is None or os.path.realpath(found) in (ours, os.path.join(ours, "__init__.py")):
            continue
        message = (
            f"parallax has a package '{name}' in {ours}, but under that name Python takes {found}: "
            "rename or move the latter, or start Python in another folder"
        )
        raise ImportError(message, name=name, path=found)


def is_command() -> bool:
    """Whether this process is the command line, not a program that imports `parallax`."""
    first = "".join(sys.argv[:1])
    if first == "-m":  # so while Python looks for the module
        return sys.orig_argv[-len(sys.argv)].removeprefix("-m") == "parallax"
    return os.path.splitext(os.path.basename(first))[0] == "parallax"


def leave_working_directory() -> None:
    """Take the working directory from the path, unless it holds this very package."""
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:
        return  # nothing can be found there
    if here != HOME:
        sys.path[:] = [p for p in sys.path if p and os.path.realpath(p) != here]


def catch_interrupts() -> None:
    """Let Ctrl-C end this process with a word, also while Python still imports or ends."""
    import signal

    signal.signal(signal.SIGINT, interrupted)


def interrupted(*_: object) -> None:
    """Say so, and end at once with 130."""
    os.write(2, b"parallax: interrupted\n")
    os._exit(130)


def place_of(name: str) -> str | None:
    """What `import name` takes: a file, or a folder without `__init__.py`; None for nothing."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None) if module else importlib.util.find_spec(name)
    if spec is not None:
        return spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    return getattr(module, "__file__", None) or (repr(module) if module else None)
