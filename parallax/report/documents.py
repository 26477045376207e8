"""What the stored JSON documents hold, as far as a report shows it; anything else is refused.

A document may come from anybody: every field is converted to the type that it must have, and one
that cannot be, or is not there, makes the whole document an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.document import SCHEMA_VERSION
from engine.errors import InputError

TEXT_MAX = 200
"""Characters of a name or sentence that are shown: the JSON has all."""
SPANS_MAX = 20_000
"""Of one timeline; more are not drawn."""


@dataclass(frozen=True)
class Check:
    """One output of one node, judged: a row of a model's graph, and of a cell of the matrix."""

    title: str
    operator: str
    output: str
    type: str
    kind: str
    on_device: bool
    verdict: str
    sigmas: float
    bounds: float
    exact: bool
    rounded: bool
    index: str
    got: float
    expected: float
    sigma: float
    bound: float
    failures: int
    count: int
    numbers: int
    note: str


@dataclass(frozen=True)
class Values:
    """A few values of a tensor around the worst element."""

    name: str
    type: str
    start: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class Verified:
    """One model on one driver at one precision."""

    model: str
    key: str
    driver: str
    precision: str
    same_as: str
    checks: tuple[Check, ...]
    fallbacks: tuple[tuple[str, str], ...]
    bugs: tuple[str, ...]
    failing: tuple[Values, ...]
    exit_code: int


@dataclass(frozen=True)
class Tried:
    """An operator that `selftest` tried on one driver at one precision."""

    driver: str
    operator: str
    precision: str
    passed: int
    failed: int
    skipped: int
    sigmas: float
    bounds: float
    messages: tuple[str, ...]


@dataclass(frozen=True)
class Timed:
    """A latency; times in ns, None where they were not measured.

    Attributes:
        medians_ns: of the launches, whose range is the interval.
    """

    model: str
    driver: str
    precision: str
    origin: str
    min_ns: float
    p50_ns: float
    p90_ns: float
    medians_ns: tuple[float, ...]
    enqueue_ns: float | None
    busy_ns: float | None
    first_ns: float | None
    cached_ns: float | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Drawn:
    """One command of a timeline, on the host's clock, since the run began."""

    title: str
    kernel: str
    on_device: bool
    start_ns: float
    end_ns: float
    called_ns: float
    returned_ns: float


@dataclass(frozen=True)
class Lane:
    """One model's part of a profiled run.

    Attributes:
        shares: ns of work by title of the node. operators: the same by type of operator.
    """

    model: str
    spans: tuple[Drawn, ...]
    left_out: int
    shares: Mapping[str, float]
    operators: Mapping[str, float]
    naive_ns: float
    enqueue_ns: float


@dataclass(frozen=True)
class Profiled:
    """A profiled run of one model, or of several together; the parts make up synced."""

    model: str
    key: str
    driver: str
    precision: str
    synced_ns: float
    parts_ns: Mapping[str, float]
    overhead: float
    lanes: tuple[Lane, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """A fault that was planted."""

    name: str
    level: str
    verdict: str
    message: str


@dataclass(frozen=True)
class Document:
    """One stored JSON document, as far as it is shown.

    Attributes:
        error: why the command failed, of a document that says so; "" else.
    """

    path: str
    command: str
    date: str
    version: str
    devices: tuple[str, ...]
    error: str = ""
    interrupted: bool = False
    errors: tuple[tuple[str, str], ...] = ()
    verified: tuple[Verified, ...] = ()
    tried: tuple[Tried, ...] = ()
    timed: tuple[Timed, ...] = ()
    profiled: tuple[Profiled, ...] = ()
    faults: tuple[Fault, ...] = ()
    advice: tuple[str, ...] = field(default=())


# ---------------------------------------------------------------------- reading
def read(path: Path) -> Document:
    """A document.

    Raises:
        InputError: it cannot be read, is cut off, is no report of ours, is of a later version, or
            does not hold what its schema promises.
    """
    data = _json(path)
    command = _command(path, data)
    try:
        return _document(path, command, data)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{path}: it does not hold what a document of parallax.{command} does: {what}"
        ) from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip()) or "Unterminated" in error.msg
        reason = "it is cut off" if cut else f"{error.msg} in line {error.lineno}"
        raise InputError(f"{path}: it is not JSON: {reason}") from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InputError(f"{path}: it is not JSON of parallax: {type(error).__name__}") from error


def _command(path: Path, data: Any) -> str:
    schema = data.get("schema") if isinstance(data, dict) else None
    name, slash, version = str(schema).partition("/")
    if not name.startswith("parallax.") or not slash:
        raise InputError(f"{path}: it is no JSON document of parallax; --output writes one")
    command = name.removeprefix("parallax.")
    if version != str(SCHEMA_VERSION):
        raise InputError(
            f"{path}: its schema is {_text(schema)}, and this version of parallax reads "
            f"parallax.{_text(command)}/{SCHEMA_VERSION}"
        )
    if command not in SECTIONS:
        shown = ", ".join(SECTIONS)
        raise InputError(f"{path}: a report shows {shown}; this is of parallax {_text(command)}")
    return command


def _document(path: Path, command: str, data: Mapping[str, Any]) -> Document:
    failed = "error" in data
    devices = [f"{_text(d['platform'])} / {_text(d['name'])}" for d in data["devices"]]
    return Document(
        path=_text(str(path)),
        command=command,
        date=_text(data["date"]),
        version=_text(data["tool"]["version"]),
        devices=tuple(devices),
        error=_text(data["error"]) if failed else "",
        interrupted=bool(data.get("interrupted", False)),
        errors=tuple((_text(k), _text(v)) for k, v in dict(data.get("errors", {})).items()),
        **({} if failed else SECTIONS[command](data)),
    )


def _keys(data: Mapping[str, Any]) -> dict[str, str]:
    """What tells a model in one document from another: the hash of its file, else its path."""
    return {str(f["path"]): str(f["sha256"] or f["path"]) for f in data["files"]}


def _driver(device: Any) -> str:
    if isinstance(device, str):
        return _text(device)
    return f"{_text(device['platform'])} / {_text(device['name'])}"


# ---------------------------------------------------------------------- verify, selftest
def _verify(data: Mapping[str, Any]) -> dict[str, Any]:
    keys, verified, timed = _keys(data), [], []
    for model in data["models"]:
        name, driver = str(model["model"]), _driver(model["device"])
        for entry in model["precisions"]:
            verified.append(_verified(name, keys.get(name, name), driver, entry))
        for precision, latency in dict(model["latency"]).items():
            timed.append(_of_verify(name, driver, precision, latency))
    return {"verified": tuple(verified), "timed": tuple(timed)}


def _verified(name: str, key: str, driver: str, entry: Mapping[str, Any]) -> Verified:
    failure = entry["failure"]
    excerpts = []
    if failure is not None:
        excerpts = [*failure["inputs"], failure["output"], failure["expected"]]
    return Verified(
        model=_text(name),
        key=key,
        driver=driver,
        precision=_text(entry["requested"]),
        same_as=_text(entry["same_as"] or ""),
        checks=tuple(_check(check) for check in entry["checks"]),
        fallbacks=tuple((_text(f["title"]), _text(f["reason"])) for f in entry["fallbacks"]),
        bugs=tuple(_text(bug) for bug in entry["context_bugs"]),
        failing=tuple(
            Values(
                _text(e["name"]),
                _text(e["type"]),
                int(e["start"]),
                tuple(_text(str(v)) for v in e["values"]),
            )
            for e in excerpts
        ),
        exit_code=int(entry["exit_code"]),
    )


def _check(check: Mapping[str, Any]) -> Check:
    judged = check["judgement"]
    numbers = {n: _number(judged[n]) for n in ("sigmas", "bounds", "got", "expected")}
    return Check(
        title=_text(check["title"]),
        operator=operator_of(check["title"]),
        output=_text(check["output"]),
        type=_text(check["type"]),
        kind=_text(check["kind"]),
        on_device=bool(check["on_device"]),
        verdict=_one_of(check["verdict"], VERDICTS),
        exact=bool(judged["exact"]),
        rounded=bool(judged["rounded"]),
        index=str(tuple(int(i) for i in judged["index"])),
        sigma=_number(judged["sigma"]),
        bound=_number(judged["bound"]),
        failures=int(judged["failures"]),
        count=int(judged["count"]),
        numbers=int(judged["numbers"]),
        note=_text(check["note"]),
        **numbers,
    )


VERDICTS = ("pass", "suspect", "fail")


def operator_of(title: Any) -> str:
    """`Conv+Relu` of `Conv+Relu 'name'`."""
    return _text(str(title).partition(" ")[0])


def _selftest(data: Mapping[str, Any]) -> dict[str, Any]:
    driver = _driver(data["devices"][0])
    messages: dict[tuple[str, str], list[str]] = {}
    for failure in data["failures"]:
        case = (str(failure["operator"]), str(failure["precision"]))
        said = f"{_text(failure['message'])} - {_text(failure['command'])}"
        messages.setdefault(case, []).append(said)
    tried = [
        Tried(
            driver=driver,
            operator=_text(row["operator"]),
            precision=_text(row["precision"]),
            passed=int(row["passed"]),
            failed=int(row["failed"]),
            skipped=int(row["skipped"]),
            sigmas=_number(row["sigmas"]),
            bounds=_number(row["bounds"]),
            messages=tuple(messages.get((str(row["operator"]), str(row["precision"])), ())),
        )
        for row in data["operators"]
    ]
    return {"tried": tuple(tried)}


# ---------------------------------------------------------------------- latencies
def _of_verify(name: str, driver: str, precision: str, latency: Mapping[str, Any]) -> Timed:
    synced = latency["synced"]
    return Timed(
        model=_text(name),
        driver=driver,
        precision=_text(precision),
        origin="verify",
        min_ns=_number(synced["min_ns"]),
        p50_ns=_number(synced["p50_ns"]),
        p90_ns=_number(synced["p90_ns"]),
        medians_ns=(),
        enqueue_ns=_maybe(latency["enqueue_ns_median"]),
        busy_ns=_maybe(latency["device_busy_ns_median"]),
        first_ns=None,
        cached_ns=None,
        problems=(*map(_text, latency["invalid"]), *map(_text, latency["contradictions"])),
    )


def _bench(data: Mapping[str, Any]) -> dict[str, Any]:
    timed = [_of_bench(str(m["model"]), row) for m in data["models"] for row in m["rows"]]
    advice = [f"{_text(m['model'])}: {_text(m['advice']['sentence'])}" for m in data["models"]]
    return {"timed": tuple(timed), "advice": tuple(advice)}


def _of_bench(name: str, row: Mapping[str, Any]) -> Timed:
    stages = row["stages"]
    found, launches = stages["summary"], stages["launches"]
    differs = [_text(row["differs"])] if row["differs"] else []
    return Timed(
        model=_text(name),
        driver=_driver(stages["device"]),
        precision=_text(row["precision"]),
        origin="bench",
        min_ns=_number(found["synced"]["min_ns"]),
        p50_ns=_number(found["synced"]["p50_ns"]),
        p90_ns=_number(found["synced"]["p90_ns"]),
        medians_ns=tuple(_number(x["steady"]["summary"]["synced"]["p50_ns"]) for x in launches),
        enqueue_ns=_maybe(found["enqueue"]["p50_ns"]),
        busy_ns=_maybe(found["busy_ns"]),
        first_ns=_maybe(found["first_ns"]),
        cached_ns=_maybe(found["cached_ns"]),
        problems=(*map(_text, stages["invalid"]), *differs),
    )


# ---------------------------------------------------------------------- profiles
def _profile(data: Mapping[str, Any]) -> dict[str, Any]:
    keys, models = _keys(data), data["models"]
    found = [_profiled(keys.get(str(m["model"]), ""), m, m) for m in models]
    if data["together"] is not None:
        found.append(_profiled("", {**models[0], "model": "all together"}, data["together"]))
    return {"profiled": tuple(found)}


def _profiled(key: str, head: Mapping[str, Any], found: Mapping[str, Any]) -> Profiled:
    spent = found["account"]
    parts = ("device", "host", "submit", "rest")
    turns = zip(found["turns"], found["profiles"], strict=True)
    return Profiled(
        model=_text(head["model"]),
        key=key,
        driver=_driver(head["device"]),
        precision=_text(head["precision"]["effective"]),
        synced_ns=_positive(spent["synced_ns"]),
        parts_ns={part: _number(spent[f"{part}_ns"]) for part in parts},
        overhead=_number(found["overhead"]),
        lanes=tuple(_lane(turn, profile) for turn, profile in turns),
        problems=(*map(_text, found["invalid"]), *map(_text, found["notes"])),
    )


def _lane(turn: Mapping[str, Any], profile: Mapping[str, Any]) -> Lane:
    run, offset = profile["timeline"], int(profile["clock"]["offset_ns"])
    spans = run["spans"]
    return Lane(
        model=_text(turn["model"]),
        spans=tuple(_drawn(s, int(run["started_ns"]), offset) for s in spans[:SPANS_MAX]),
        left_out=max(len(spans) - SPANS_MAX, 0),
        shares={_text(s["name"]): _work(s) for s in profile["nodes"]},
        operators={_text(s["name"]): _work(s) for s in profile["operators"]},
        naive_ns=_number(turn["naive_ns"]),
        enqueue_ns=_number(turn["enqueue_ns"]),
    )


def _work(share: Mapping[str, Any]) -> float:
    return _number(share["device_ns"]) + _number(share["host_ns"])


def _drawn(span: Mapping[str, Any], started_ns: int, offset_ns: int) -> Drawn:
    on_device = span["clock"] == "device"
    shift = started_ns - (offset_ns if on_device else 0)
    return Drawn(
        title=_text(span["title"]),
        kernel=_text(span["kernel"]),
        on_device=on_device,
        start_ns=float(int(span["start_ns"]) - shift),
        end_ns=float(int(span["end_ns"]) - shift),
        called_ns=float(int(span["called_ns"]) - started_ns),
        returned_ns=float(int(span["returned_ns"]) - started_ns),
    )


def _faults(data: Mapping[str, Any]) -> dict[str, Any]:
    names = ("name", "level", "verdict", "message")
    return {"faults": tuple(Fault(*(_text(f[n]) for n in names)) for f in data["faults"])}


SECTIONS = {
    "verify": _verify,
    "bench": _bench,
    "profile": _profile,
    "selftest": _selftest,
    "faults": _faults,
}
"""What the documents of each command give a report."""


# ---------------------------------------------------------------------- types
def _text(value: Any) -> str:
    """A string, printable and not too long; TypeError for another type."""
    if not isinstance(value, str):
        raise TypeError(f"a string is expected, not {type(value).__name__}")
    return "".join(_printable(value))


def _printable(text: str) -> Iterator[str]:
    cut = len(text) > TEXT_MAX
    shown = f"{text[: TEXT_MAX // 2]} … {text[-TEXT_MAX // 2 :]}" if cut else text
    yield from (c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)


def _number(value: Any) -> float:
    """A number, or one of the strings that stand for infinities and NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"a number is expected, not {type(value).__name__}")
    return float(value)


def _positive(value: Any) -> float:
    number = _number(value)
    if not math.isfinite(number) or number <= 0:
        raise ValueError(f"a time is expected, not {number}")
    return number


def _maybe(value: Any) -> float | None:
    return None if value is None else _number(value)


def _one_of(value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"one of {', '.join(known)} is expected")
    return str(value)
