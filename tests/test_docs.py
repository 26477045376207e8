"""The documents are true: their links lead somewhere and their Python runs."""

import enum
import importlib
import inspect
import os
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import parallax as px
from parallax import BackendConfig, ForwardType, GpuMode, MemoryMode, ScheduleConfig
from properties.devices import selectors
from properties.faults import select

pytestmark = pytest.mark.one_driver

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NAME_MAP = (ROOT / "docs" / "mnn-name-map.md").read_text()


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_files(document):
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_named_paths_exist(document):
    for path in re.findall(
        r"`((?:engine|conformance|properties|perf|tests)/[\w/.]+)`", document.read_text()
    ):
        assert (ROOT / path).exists(), path


@pytest.mark.device_free
def test_the_readme_knows_how_many_models_the_main_job_verifies():
    count = len(list((ROOT / "fixtures" / "models").glob("*.onnx")))
    assert f"`{count} of {count} models verified`" in (ROOT / "README.md").read_text()


def test_the_page_of_the_package_leads_to_the_published_tree():
    setup = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")
    readme, tree = (ROOT / "README.md").read_text(), "https://example.org/tree/main/"
    links = re.findall(r"\]\(([^)]+)\)", setup["package_page"](readme, tree))
    assert f"{tree}docs/numerics.md" in links
    assert all(link.startswith("https:") for link in links)
    assert all((ROOT / link.removeprefix(tree)).exists() for link in links if tree in link)
    assert setup["urls"](tree)["Changelog"] == f"{tree}CHANGELOG.md"
    assert "](" not in setup["package_page"](readme, "")
    assert setup["urls"]("") == {}


EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))


@pytest.mark.parametrize("document", [*DOCUMENTS, *EXAMPLES], ids=name_of)
def test_nobody_needs_another_door_than_parallax(document):
    inside = r"^ *(?:import|from) (?:engine|conformance)\b|\bengine\.[A-Z]\w+[.(]"
    assert re.findall(inside, document.read_text(), re.MULTILINE) == []


def test_the_python_of_the_readme_runs():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("0")


def test_every_sub_command_of_the_readme_has_help():
    commands = set(
        re.findall(r"^\| `parallax ([\w-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    )
    expected = {"devices", "info", "run", "verify", "selftest", "bench", "profile", "report"}
    expected |= {"as-onnxruntime", "completion", "fuzz", "reduce", "replay"}
    assert commands == expected
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "parallax", command, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0
        assert "usage: parallax" in done.stdout


def test_every_folder_and_module_of_the_engine_has_a_row_in_the_architecture():
    lines = (ROOT / "docs" / "architecture.md").read_text().splitlines()
    rows = [line.split("|")[1:3] for line in lines if line.startswith("| `")]
    named = {name for cells in rows for name in re.findall(r"`([\w/.]+)`", " ".join(cells))}
    folders = [p.parent for p in ROOT.glob("engine/*/__init__.py")]
    modules = ROOT.glob("engine/[a-z]*.py")
    packages = [ROOT / name for name in ("conformance", "properties", "perf", "parallax", "tests")]
    missing = [
        name_of(p) for p in (*folders, *modules, *packages) if not {p.name, name_of(p)} & named
    ]
    assert missing == []


# ------------------------------------------------------------------------- adding an operator
ADDING = (ROOT / "docs" / "adding-an-operator.md").read_text()
CODE = {
    path: path.read_text()
    for folder in ("engine", "conformance", "properties", "tests")
    for suffix in ("py", "cl")
    for path in sorted((ROOT / folder).rglob(f"*.{suffix}"))
    if path != Path(__file__)
}


def test_the_quick_loop_selects_the_operator_and_its_faults():
    pytest_, faults = re.findall(r"^(pytest -q .*|python -m properties.faults .*)$", ADDING, re.M)
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(pytest_), "--collect-only"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    for file in re.findall(r"\w+/test_\w+\.py", pytest_):
        assert f"{file}::" in done.stdout, file
    for target in selectors():
        assert f"[Shrink-{target}" in done.stdout, target
    assert len(select([shlex.split(faults)[-1]])) == 2


def test_the_operator_that_the_document_follows_is_in_the_tree_as_quoted():
    (entry,) = re.findall(r"```python\n(.*?)```", ADDING, re.DOTALL)
    assert textwrap.indent(entry.rstrip(), " " * 4) in CODE[ROOT / "engine" / "ops" / "unary.py"]
    (kernel,) = re.findall(r"`(UNARY\(Shrink, .*)`", ADDING)
    assert f"{kernel}\n" in CODE[ROOT / "engine" / "backends" / "opencl" / "kernels" / "unary.cl"]


def test_every_name_in_the_document_is_in_the_code():
    code = "\n".join(CODE.values())
    names = set(re.findall(r"`([A-Za-z_]\w{3,})(?:\([\w, ]*\))?`", ADDING))
    assert len(names) > 25
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", code)] == []


# ------------------------------------------------------------------------- the name map
def rows_of(section: str) -> list[list[str]]:
    """The cells of a section's table, without its header; "" gives all tables."""
    start = NAME_MAP.index(f"\n## {section}")
    end = len(NAME_MAP) if not section else NAME_MAP.find("\n## ", start + 1)
    lines = [line for line in NAME_MAP[start:end].splitlines() if line.startswith("| ")]
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if "difference worth knowing" not in row]


def exists(name: str) -> bool:
    """Whether a dotted name leads somewhere: of the API, or from a package on."""
    parts = name.split(".")
    item: object = px
    if not hasattr(px, parts[0]):
        item = importlib.import_module(".".join(parts[:-1]))
        parts = parts[-1:]
    for part in parts:
        if not hasattr(item, part):
            return inspect.isclass(item) and declares(item, part) and part == parts[-1]
        item = getattr(item, part)
    return True


def declares(kind: type, attribute: str) -> bool:
    """Whether instances have it: a field, or set by `__init__`."""
    own = [base for base in kind.__mro__ if base.__module__.startswith("engine.")]
    return any(
        attribute in inspect.get_annotations(base) or f"self.{attribute}" in inspect.getsource(base)
        for base in own
    )


def test_every_python_name_of_the_map_exists():
    names = [name for row in rows_of("") for name in re.findall(r"`([^`]+)`", row[-2])]
    assert len(names) > 120
    assert [name for name in names if not exists(name)] == []


def test_the_check_of_names_can_fail():
    assert not exists("Session.no_such_method")
    assert not exists("OperatorInfo.no_such_field")


def test_the_map_names_every_row_or_says_none():
    assert [row for row in rows_of("") if "`" not in row[-2] and row[-2] != "none"] == []
    assert [row for row in rows_of("") if row[-2] == "none" and not row[-1]] == []


def test_every_session_mode_and_hint_is_mapped():
    assert [row[0] for row in rows_of("SessionMode")] == [str(i) for i in range(18)]
    assert [row[0] for row in rows_of("Hints") if row[0]] == [str(i) for i in range(19)]


def test_every_enumerator_of_the_configuration_is_mapped():
    enums = [e for e in vars(px).values() if inspect.isclass(e) and issubclass(e, enum.Enum)]
    members = [f"`{kind.__name__}.{member.name}`" for kind in enums for member in kind]
    assert len(members) > 20
    assert [member for member in members if member not in NAME_MAP] == []


def test_every_public_name_is_in_a_document():
    words = {w for document in DOCUMENTS for w in re.findall(r"\w+", document.read_text())}
    assert sorted(set(px.__all__) - words) == []


def mode(flags: GpuMode) -> ScheduleConfig:
    return ScheduleConfig(type=ForwardType.OPENCL, mode=flags)


REFUSED: list[Callable[[], object]] = [
    lambda: BackendConfig(precision="low_bf16"),
    lambda: BackendConfig(memory=MemoryMode.LOW),
    lambda: mode(GpuMode.TUNING_FAST),
    lambda: mode(GpuMode.TUNING_NORMAL),
    lambda: mode(GpuMode.TUNING_WIDE),
    lambda: mode(GpuMode.TUNING_HEAVY),
    lambda: mode(GpuMode.TUNING_NONE | GpuMode.MEMORY_IMAGE),
]


def test_what_later_versions_bring_is_refused_with_the_sentence_of_the_map():
    rows = [row[-1] for row in rows_of("") if "refused until then" in row[-1]]
    sentences = [re.findall("refused until then: `([^`]+)`", row)[0] for row in rows]
    raised = []
    for ask in REFUSED:
        with pytest.raises(px.ParallaxError) as refusal:
            ask()
        raised.append(str(refusal.value))
    assert len(sentences) == len(raised)
    for sentence in sentences:
        plain = sentence.replace("\\|", "|")
        assert any(message.startswith(plain) for message in raised), plain
