"""`parallax report`: what the page shows, for whom, and what it refuses; no browser is needed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import pytest

from parallax.cli import main
from parallax.report import charts
from parallax.report.arranged import arrange
from parallax.report.documents import read
from parallax.report.facts import Drawn, Lane, Peaks, Profiled, Spent
from parallax.report.page import NBYTES_MAX
from tests.command_line import Captured, refused, save_relu

pytestmark = pytest.mark.device_free

HOSTILE = "</title></script><script>alert(1)</script><img src=x onerror='alert(2)'>\"'&\u202e\x07"
VOID = {"meta", "br", "input"}


# ---------------------------------------------------------------------- documents
def hostile_model(folder: Path) -> Path:
    path = save_relu(folder)
    model = onnx.load(path)
    model.graph.node[0].name = HOSTILE
    path = folder / "<b>relu & co.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the commands write about one model with hostile names, on the CPU."""
    folder = tmp_path_factory.mktemp("stored")
    model = hostile_model(folder)
    files = {name: folder / f"{name}.json" for name in ("verify", "profile", "selftest")}
    cpu = ("--device", "cpu", "-q", "--output")
    assert main(["verify", str(model), *cpu, str(files["verify"])]) == 0
    assert main(["profile", str(model), "--runs", "1", *cpu, str(files["profile"])]) == 0
    tried = ["selftest", "--quick", "--operator", "Relu", *cpu, str(files["selftest"])]
    assert main(tried) == 0
    head = json.loads(files["verify"].read_text())
    files["bench"], files["faults"] = folder / "bench.json", folder / "faults.json"
    files["bench"].write_text(json.dumps(bench_of(head)))
    faults = [{"name": "f", "level": "kernel", "verdict": "survived", "message": HOSTILE}]
    files["faults"].write_text(json.dumps({**envelope(head, "faults"), "faults": faults}))
    return files


def envelope(head: dict[str, Any], command: str) -> dict[str, Any]:
    kept = {key: head[key] for key in ("tool", "date", "files", "devices")}
    return {"schema": f"parallax.{command}/1", **kept}


def bench_of(head: dict[str, Any]) -> dict[str, Any]:
    synced = {"min_ns": 900_000, "p50_ns": 1_000_000, "p90_ns": 2_000_000}
    summary = {"synced": synced, "enqueue": synced, "busy_ns": None}
    launches = [
        {"steady": {"summary": {"synced": {"p50_ns": p50}}}} for p50 in (950_000, 1_050_000)
    ]
    stages = {
        "device": HOSTILE,
        "summary": {**summary, "first_ns": 5_000_000, "cached_ns": None},
        "launches": launches,
        "invalid": ["I5: a clock went wrong"],
    }
    row = {"precision": "high", "differs": "", "stages": stages}
    model = {"model": HOSTILE, "rows": [row], "advice": {"sentence": f"use {HOSTILE}"}}
    return {**envelope(head, "bench"), "models": [model], "errors": {HOSTILE: "no model"}}


def changed(path: Path, target: Path, change: Callable[[Any], object]) -> Path:
    data = json.loads(path.read_text())
    change(data)
    target.write_text(json.dumps(data))
    return target


def fail(data: dict[str, Any]) -> None:
    """Make the first node of a document of verify one that is out of bounds."""
    entry = data["models"][0]["precisions"][0]
    check = entry["checks"][0]
    check["verdict"] = check["judgement"]["verdict"] = "fail"
    worst = {"index": [0, 3], "got": "nan", "expected": 0.25, "sigmas": "inf", "bounds": "inf"}
    check["judgement"] |= {**worst, "failures": 1, "exact": False}
    known = {**check, "title": "Mul 'known'", "known": "this driver rounds down"}
    entry["checks"].append(known)
    voted = {"model": "m", "precision": "high", "what": HOSTILE, "output": "r"}
    data["votes"] = [{**voted, "wrong": ["pocl"], "right": ["intel"], "finding": "driver"}]
    data["models"][0]["stale"] = ["entry 3 fails no more"]
    excerpt = {
        "name": "x",
        "type": "float32[1,4]",
        "index": [0, 3],
        "start": 1,
        "values": [1, "nan"],
    }
    entry["failure"] = {"check": check, "inputs": [excerpt], "output": excerpt, "expected": excerpt}


def report(target: Path, *documents: Path) -> str:
    assert main(["report", *map(str, documents), "-o", str(target), "-q"]) == 0
    return target.read_text()


# ---------------------------------------------------------------------- the page
class Reader(HTMLParser):
    """What a browser makes of a page, as far as it is asserted here."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: dict[str, str] = {}
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes), "an attribute twice"
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.scripts[self.open[-1]] = self.scripts.get(self.open[-1], "") + data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(stored: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    failing = changed(stored["verify"], folder / "failing.json", fail)
    return report(folder / "report.html", *stored.values(), failing)


def test_nothing_of_a_name_becomes_markup(page: str) -> None:
    found = Reader(page)
    counts = Counter(tag for tag, _ in found.tags)
    assert counts["script"] == counts["style"] == 1
    assert counts["img"] == counts["b"] == 0
    attributes = {name for _, given in found.tags for name in given}
    assert not [name for name in attributes if name.startswith("on")]
    assert "style" not in attributes, "the policy forbids it"
    assert "<script>alert(1)</script>" in found.text, "names are shown as they are"
    assert "\u202e" not in page
    assert "\x07" not in page


def test_the_policy_lets_only_our_script_and_style_in(page: str) -> None:
    found = Reader(page)
    (policy,) = (m["content"] for m in found.all("meta") if "http-equiv" in m)
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(found.scripts[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_the_page_loads_nothing(page: str) -> None:
    found = Reader(page)
    loading = {"src", "data", "srcset", "poster", "action", "xlink:href", "background"}
    assert not [given for _, given in found.tags if loading & set(given)]
    assert all(str(given["href"]).startswith("#") for given in found.all("a"))
    assert not re.search(r"https?:|url\(|@import|fetch|XMLHttp", page)


def test_links_lead_somewhere_and_a_reader_of_the_screen_finds_a_way(page: str) -> None:
    found = Reader(page)
    ids = [given["id"] for _, given in found.tags if "id" in given]
    assert len(ids) == len(set(ids))
    assert {str(a["href"])[1:] for a in found.all("a")} <= set(ids)
    named = (given.get("aria-labelledby") for _, given in found.tags)
    assert {name for name in named if name} <= set(ids)
    assert found.all("html")[0]["lang"] == "en"
    assert all("scope" in given for given in found.all("th"))
    for svg in found.all("svg"):
        assert svg.get("aria-hidden") == "true" or svg["role"] == "img"
        assert svg.get("aria-hidden") == "true" or {"aria-label", "aria-labelledby"} & set(svg)
    regions = [g for g in found.all("div") if g.get("class") == "wide"]
    assert all(g["tabindex"] == "0" and g["role"] == "region" for g in regions)
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert levels.count(1) == 1


def test_a_cell_leads_to_the_worst_element(page: str) -> None:
    text = re.sub(r"\s+", " ", Reader(page).text)
    assert "element (0, 3) of r: got nan, expected 0.25" in text
    assert "1 of 4 elements out of bounds" in text
    assert "✗ fail inf (" in text
    assert re.search(r"<details id=\"cell-\d+-0\" open>", page)
    assert "! known" in text, "it is no failure of the engine's"
    assert "this driver rounds down" in text
    assert "driver suspect</title></script>" in text.replace("driver suspect ", "driver suspect")
    assert "entry 3 fails no more" in text
    assert "Around the worst element of the first failure" in text


def test_all_kinds_of_documents_are_shown(page: str) -> None:
    text = re.sub(r"\s+", " ", Reader(page).text)
    for words in (
        "0 of 1 were found",
        "0.950 .. 1.05",
        "I5: a clock went wrong",
        "selftest: ",
        "unexplained ",
        "FLOP/s over FLOP per byte",
        "use </title></script>",
        "no model",
    ):
        assert words in text, words
    assert "of the time" in page, "the profile is of the model that was verified"


def channel(value: int) -> float:
    c = value / 255
    return c / 12.92 if c <= 0.04045 else float(((c + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    red, green, blue = (channel(int(digits[i : i + 2], 16)) for i in (0, 2, 4))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_boxes_stand_out_in_both_themes(theme: str) -> None:
    """WCAG 2.2: 4.5 to 1 for text, 3 to 1 for what charts are made of."""
    style = (resources.files("parallax.report") / "page.css").read_text()
    light, dark = re.split(r"@media \(prefers-color-scheme: dark\)", style)
    block = light if theme == "light" else dark
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]+);", block.partition("}")[0]))
    assert contrast("#000", "#fff") == 21
    for ground in ("ground", "panel"):
        for name in ("ink", "dim", "link", "pass", "suspect", "fail"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        for name in ("bar", "off", *(f"m{i}" for i in range(charts.COLOURS))):
            assert contrast(colours[name], colours[ground]) >= 3, (name, ground)


# ---------------------------------------------------------------------- size
def test_long_tables_are_cut_until_the_page_fits(
    capsys: Captured, stored: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grow(data: dict[str, Any]) -> None:
        entry = data["models"][0]["precisions"][0]
        entry["checks"] = [{**entry["checks"][0], "title": f"Op 'n{i}'"} for i in range(600)]

    assert NBYTES_MAX == 2_000_000
    monkeypatch.setattr("parallax.report.page.NBYTES_MAX", 200_000)
    large = changed(stored["verify"], tmp_path / "large.json", grow)
    page = report(tmp_path / "r.html", large)
    assert 100_000 < len(page.encode()) <= 200_000
    assert page.count("500 more are not shown here; the JSON has them") == 2
    capsys.readouterr()
    monkeypatch.setattr("parallax.report.page.NBYTES_MAX", 10_000)
    message = refused(capsys, "report", large, "-o", tmp_path / "r.html")
    assert "10000 at most; give it fewer documents" in message


# ---------------------------------------------------------------------- charts
def test_a_distribution_counts_every_value_once() -> None:
    bins = charts.distribution([0.1, 0.5, 0.6, 7.0, float("inf"), float("nan")], (0.5, 1), 100)
    assert [(b.label, b.count) for b in bins] == [("up to 0.5", 2), ("up to 1", 1), ("above 1", 3)]
    assert bins[2].box.height == 100


def drawn(start: float, end: float) -> Drawn:
    return Drawn("Relu 'r'", "relu", True, start, end, start, start)


def made_up(lane: Lane) -> Profiled:
    parts = {"device": 250_000.0, "host": 0.0, "submit": 250_000.0, "rest": 500_000.0}
    return Profiled("m", "", "d", "high", 1e6, parts, 1.0, Peaks(64e9, 16e9), (lane,), ())


def test_an_operator_stands_below_the_roof_by_what_it_lacks() -> None:
    """At 4 operations a byte this roof has its ridge."""
    half = Spent("Half", 1, 1e3, 32e3, 8e3)
    copying = Spent("Copy", 1, 1e3, 0, 8e3)
    found = charts.roofline(made_up(Lane("m", (), 0, {}, (half, copying), 0, 0)))
    assert found is not None
    (dot,) = found.dots
    (_, slope), (ridge, top), (end, flat) = found.roof
    assert (
        dot.x == pytest.approx(ridge) == pytest.approx(1000 * 8 / 16)
    )  # 2 to the 2 lies half-way between -6 and 10
    assert slope > dot.y > top == flat
    assert end == 1000
    assert dot.label == "Half of m: 32.0 GFLOP/s at 4.00 FLOP/B, 50% of the roof"
    assert charts.roofline(made_up(Lane("m", (), 0, {}, (copying,), 0, 0))) is None


def test_commands_too_near_to_be_seen_apart_become_one_box() -> None:
    spans = [drawn(0, 400_000), *(drawn(500_000 + i, 500_000 + i + 0.5) for i in range(50))]
    lane = Lane("m", tuple(spans), 0, {}, (), 0, 0)
    profile = made_up(lane)
    queue = charts.swimlane(profile)[-1]
    assert [(box.x, box.width) for box in queue.boxes] == [(0, 400), (500, charts.NARROWEST)]
    assert queue.boxes[1].label.startswith("50 commands, ")
    boxes = charts.parts(profile)
    assert [(box.x, box.width) for box in boxes] == [(0, 250), (250, 250), (500, 500)]
    assert sum(box.width for box in boxes) == charts.WIDTH


def test_a_share_of_time_belongs_to_the_same_model_driver_and_precision(
    stored: dict[str, Path], tmp_path: Path
) -> None:
    def other(data: dict[str, Any]) -> None:
        data["models"][0]["precision"]["effective"] = "low"

    verified = read(stored["verify"])
    (graph,) = arrange([verified, read(stored["profile"])]).graphs
    assert sum(node.share or 0 for node in graph.nodes) > 0
    elsewhere = read(changed(stored["profile"], tmp_path / "p.json", other))
    (graph,) = arrange([verified, elsewhere]).graphs
    assert not graph.has_shares


# ---------------------------------------------------------------------- refusals
def of_models(value: object) -> Callable[[Any], object]:
    return lambda data: data.update(models=value)


def verdict(value: object) -> Callable[[Any], object]:
    return lambda d: d["models"][0]["precisions"][0]["checks"][0].update(verdict=value)


def index(value: object) -> Callable[[Any], object]:
    return lambda d: d["models"][0]["precisions"][0]["checks"][0]["judgement"].update(index=value)


def sigma(value: object) -> Callable[[Any], object]:
    return lambda d: d["models"][0]["precisions"][0]["checks"][0]["judgement"].update(sigma=value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(schema="parallax.verify/2"), "reads parallax.verify/1"),
        (lambda d: d.update(schema="parallax.info/1"), "this is of parallax info"),
        (lambda d: d.update(schema=7), "it is no JSON document of parallax"),
        (lambda d: d.pop("schema"), "it is no JSON document of parallax"),
        (lambda d: d.pop("models"), "no 'models'"),
        (of_models(5), "does not hold what a document of parallax.verify does"),
        (of_models([None]), "does not hold what a document of parallax.verify does"),
        (verdict("maybe"), "one of pass, suspect, fail is expected"),
        (verdict([]), "one of pass, suspect, fail is expected"),
        (sigma({}), "a number is expected, not dict"),
        (sigma("<b>"), "could not convert"),
        (sigma(10**400), "does not hold what a document of parallax.verify does"),
        (index([float("inf")]), "does not hold what a document of parallax.verify does"),
    ],
)
def test_a_document_that_is_not_as_its_schema_says_is_refused(
    capsys: Captured,
    stored: dict[str, Path],
    page: str,
    tmp_path: Path,
    change: Callable[[Any], object],
    said: str,
) -> None:
    wrong = changed(stored["verify"], tmp_path / "wrong.json", change)
    (tmp_path / "r.html").write_text(page)
    argv = "report", stored["verify"], wrong, "-o", tmp_path / "r.html"
    message = refused(capsys, *argv)
    assert said in message
    assert str(wrong) in message
    assert message.count("\n") == 1
    assert (tmp_path / "r.html").read_text() == page


def test_a_time_that_cannot_be_is_refused(
    capsys: Captured, stored: dict[str, Path], tmp_path: Path
) -> None:
    def back_in_time(data: dict[str, Any]) -> None:
        data["models"][0]["profiles"][0]["operators"][0]["host_ns"] = -1e308

    wrong = changed(stored["profile"], tmp_path / "wrong.json", back_in_time)
    message = refused(capsys, "report", wrong, "-o", tmp_path / "r.html")
    assert "an amount is expected, not -1e+308" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is cut off"),
        (b"[" * 100_000, "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b'{"schema": "parallax.verify/1", "models": [}', "it is not JSON: "),
        (b"[1, 2]", "it is no JSON document of parallax"),
        (b'{"schema": "parallax.' + b"x" * 5000 + b'/1"}', "this is of parallax xxx"),
    ],
)
def test_what_is_no_document_is_refused(
    capsys: Captured, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "d.json").write_bytes(content)
    message = refused(capsys, "report", tmp_path / "d.json", "-o", tmp_path / "r.html")
    assert said in message
    assert len(message) < 1000
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.98])
def test_a_document_that_is_cut_off_is_refused(
    capsys: Captured, stored: dict[str, Path], tmp_path: Path, kept: float
) -> None:
    whole = stored["verify"].read_bytes().rstrip()
    (tmp_path / "d.json").write_bytes(whole[: int(len(whole) * kept)])
    message = refused(capsys, "report", tmp_path / "d.json", "-o", tmp_path / "r.html")
    assert "it is not JSON: " in message
    assert not (tmp_path / "r.html").exists()


def test_a_page_is_written_over_nothing_but_a_page(
    capsys: Captured, stored: dict[str, Path], tmp_path: Path
) -> None:
    document = tmp_path / "v.json"
    document.write_bytes(stored["verify"].read_bytes())
    assert "it is an input" in refused(capsys, "report", document, "-o", document)
    (tmp_path / "mine.html").write_text("<!DOCTYPE html><p>mine</p>")
    said = refused(capsys, "report", document, "-o", tmp_path / "mine.html")
    assert "it exists and is not a report of parallax" in said
    assert "no folder" in refused(capsys, "report", document, "-o", tmp_path / "no" / "r.html")
    assert "-o REPORT.html" in refused(capsys, "report", document)
    assert "No such file" in refused(capsys, "report", tmp_path / "no.json", "-o", tmp_path / "r")
    assert "Is a directory" in refused(capsys, "report", tmp_path, "-o", tmp_path / "r.html")
    report(tmp_path / "r.html", document)
    report(tmp_path / "r.html", document)


def test_a_command_that_failed_is_a_line_of_the_page(capsys: Captured, tmp_path: Path) -> None:
    failed = tmp_path / "failed.json"
    assert main(["verify", str(tmp_path / "no.onnx"), "--output", str(failed)]) == 2
    failed.write_text(json.dumps(json.loads(failed.read_text()) | {"error": HOSTILE}))
    text = Reader(report(tmp_path / "r.html", failed)).text
    assert "failed: </title></script>" in text


def test_the_command_has_a_document_too(
    capsys: Captured, stored: dict[str, Path], tmp_path: Path
) -> None:
    page = tmp_path / "r.html"
    assert main(["report", str(stored["verify"]), "-o", str(page), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "parallax.report/1"
    assert data["html"] == str(page)
    assert data["nbytes"] == page.stat().st_size
    assert [d["command"] for d in data["documents"]] == ["verify"]
    described = (Path(__file__).parents[1] / "docs" / "json.md").read_text()
    own = described.partition("## `parallax report`")[2].partition("\n## ")[0]
    assert {"documents", "html", "nbytes"} <= set(re.findall(r"`(\w+)`", own))


def test_without_jinja2_the_extra_is_named(
    capsys: Captured, stored: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    message = refused(capsys, "report", stored["verify"], "-o", tmp_path / "r.html")
    assert 'pip install "parallax-engine[report]"' in message
    assert not (tmp_path / "r.html").exists()
