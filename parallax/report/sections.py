"""What the documents of each command give a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parallax.report.facts import (
    Check,
    Drawn,
    Fault,
    Lane,
    Peaks,
    Profiled,
    Spent,
    Timed,
    Tried,
    Values,
    Verified,
    Voted,
)
from parallax.report.fields import amount, maybe, number, one_of, positive, text

SPANS_MAX = 20_000
"""Of one timeline; more are not drawn."""
FINDINGS = {"driver": "driver suspect", "engine": "engine bug", "open": "undecided"}


def _keys(data: Mapping[str, Any]) -> dict[str, str]:
    """What tells a model in one document from another: the hash of its file, else its path."""
    return {str(f["path"]): str(f["sha256"] or f["path"]) for f in data["files"]}


def _driver(device: Any) -> str:
    if isinstance(device, str):
        return text(device)
    return f"{text(device['platform'])} / {text(device['name'])}"


# ---------------------------------------------------------------------- verify, selftest
def _verify(data: Mapping[str, Any]) -> dict[str, Any]:
    keys, verified, timed = _keys(data), [], []
    for model in data["models"]:
        name, driver = str(model["model"]), _driver(model["device"])
        for entry in model["precisions"]:
            verified.append(_verified(name, keys.get(name, name), driver, entry))
        for precision, latency in dict(model["latency"]).items():
            timed.append(_of_verify(name, driver, precision, latency))
    votes = tuple(_voted(vote) for vote in data.get("votes", ()))
    return {"verified": tuple(verified), "timed": tuple(timed), "votes": votes}


def _voted(vote: Mapping[str, Any]) -> Voted:
    return Voted(
        model=text(vote["model"]),
        precision=text(vote["precision"]),
        what=text(vote["what"]),
        output=text(vote["output"]),
        wrong=text(", ".join(vote["wrong"])),
        right=text(", ".join(vote["right"])),
        finding=FINDINGS[one_of(vote["finding"], tuple(FINDINGS))],
    )


def _verified(name: str, key: str, driver: str, entry: Mapping[str, Any]) -> Verified:
    failure = entry["failure"]
    excerpts = []
    if failure is not None:
        excerpts = [*failure["inputs"], failure["output"], failure["expected"]]
    return Verified(
        model=text(name),
        key=key,
        driver=driver,
        precision=text(entry["requested"]),
        same_as=text(entry["same_as"] or ""),
        checks=tuple(_check(check) for check in entry["checks"]),
        fallbacks=tuple((text(f["title"]), text(f["reason"])) for f in entry["fallbacks"]),
        bugs=tuple(text(bug) for bug in entry["context_bugs"]),
        failing=tuple(
            Values(
                text(e["name"]),
                text(e["type"]),
                int(e["start"]),
                tuple(text(str(v)) for v in e["values"]),
            )
            for e in excerpts
        ),
        exit_code=int(entry["exit_code"]),
    )


def _check(check: Mapping[str, Any]) -> Check:
    judged, known = check["judgement"], text(check.get("known", ""))
    verdict = one_of(check["verdict"], ("pass", "suspect", "fail"))
    numbers = {n: number(judged[n]) for n in ("sigmas", "bounds", "got", "expected")}
    return Check(
        title=text(check["title"]),
        operator=operator_of(check["title"]),
        output=text(check["output"]),
        type=text(check["type"]),
        kind=text(check["kind"]),
        on_device=bool(check["on_device"]),
        verdict="known" if known and verdict == "fail" else verdict,
        exact=bool(judged["exact"]),
        rounded=bool(judged["rounded"]),
        index=str(tuple(int(i) for i in judged["index"])),
        sigma=number(judged["sigma"]),
        bound=number(judged["bound"]),
        failures=int(judged["failures"]),
        count=int(judged["count"]),
        numbers=int(judged["numbers"]),
        note=known or text(check["note"]),
        **numbers,
    )


def operator_of(title: Any) -> str:
    """`Conv+Relu` of `Conv+Relu 'name'`."""
    return text(str(title).partition(" ")[0])


def _selftest(data: Mapping[str, Any]) -> dict[str, Any]:
    driver = _driver(data["devices"][0])
    messages: dict[tuple[str, str], list[str]] = {}
    for failure in data["failures"]:
        case = (str(failure["operator"]), str(failure["precision"]))
        said = f"{text(failure['message'])} - {text(failure['command'])}"
        messages.setdefault(case, []).append(said)
    tried = [
        Tried(
            driver=driver,
            operator=text(row["operator"]),
            precision=text(row["precision"]),
            passed=int(row["passed"]),
            failed=int(row["failed"]),
            skipped=int(row["skipped"]),
            sigmas=number(row["sigmas"]),
            bounds=number(row["bounds"]),
            messages=tuple(messages.get((str(row["operator"]), str(row["precision"])), ())),
        )
        for row in data["operators"]
    ]
    return {"tried": tuple(tried)}


# ---------------------------------------------------------------------- latencies
def _of_verify(name: str, driver: str, precision: str, latency: Mapping[str, Any]) -> Timed:
    synced = latency["synced"]
    return Timed(
        model=text(name),
        driver=driver,
        precision=text(precision),
        origin="verify",
        min_ns=number(synced["min_ns"]),
        p50_ns=number(synced["p50_ns"]),
        p90_ns=number(synced["p90_ns"]),
        medians_ns=(),
        enqueue_ns=maybe(latency["enqueue_ns_median"]),
        busy_ns=maybe(latency["device_busy_ns_median"]),
        first_ns=None,
        cached_ns=None,
        problems=(*map(text, latency["invalid"]), *map(text, latency["contradictions"])),
    )


def _bench(data: Mapping[str, Any]) -> dict[str, Any]:
    timed = [_of_bench(str(m["model"]), row) for m in data["models"] for row in m["rows"]]
    advice = [f"{text(m['model'])}: {text(m['advice']['sentence'])}" for m in data["models"]]
    return {"timed": tuple(timed), "advice": tuple(advice)}


def _of_bench(name: str, row: Mapping[str, Any]) -> Timed:
    stages = row["stages"]
    found, launches = stages["summary"], stages["launches"]
    differs = [text(row["differs"])] if row["differs"] else []
    return Timed(
        model=text(name),
        driver=_driver(stages["device"]),
        precision=text(row["precision"]),
        origin="bench",
        min_ns=number(found["synced"]["min_ns"]),
        p50_ns=number(found["synced"]["p50_ns"]),
        p90_ns=number(found["synced"]["p90_ns"]),
        medians_ns=tuple(number(x["steady"]["summary"]["synced"]["p50_ns"]) for x in launches),
        enqueue_ns=maybe(found["enqueue"]["p50_ns"]),
        busy_ns=maybe(found["busy_ns"]),
        first_ns=maybe(found["first_ns"]),
        cached_ns=maybe(found["cached_ns"]),
        problems=(*map(text, stages["invalid"]), *differs),
    )


# ---------------------------------------------------------------------- profiles
def _profile(data: Mapping[str, Any]) -> dict[str, Any]:
    keys, models = _keys(data), data["models"]
    measured = data["peaks"]
    peaks = Peaks(positive(measured["flops_per_s"]), positive(measured["nbytes_per_s"]))
    found = [_profiled(keys.get(str(m["model"]), ""), m, m, peaks) for m in models]
    if data["together"] is not None:
        head = {**models[0], "model": "all together"}
        found.append(_profiled("", head, data["together"], peaks))
    return {"profiled": tuple(found)}


def _profiled(
    key: str, head: Mapping[str, Any], found: Mapping[str, Any], peaks: Peaks
) -> Profiled:
    spent = found["account"]
    parts = ("device", "host", "submit", "rest")
    turns = zip(found["turns"], found["profiles"], strict=True)
    return Profiled(
        model=text(head["model"]),
        key=key,
        driver=_driver(head["device"]),
        precision=text(head["precision"]["effective"]),
        synced_ns=positive(spent["synced_ns"]),
        parts_ns={part: number(spent[f"{part}_ns"]) for part in parts},
        overhead=number(found["overhead"]),
        peaks=peaks,
        lanes=tuple(_lane(turn, profile) for turn, profile in turns),
        problems=(*map(text, found["invalid"]), *map(text, found["notes"])),
    )


def _lane(turn: Mapping[str, Any], profile: Mapping[str, Any]) -> Lane:
    run, offset = profile["timeline"], int(profile["clock"]["offset_ns"])
    spans = run["spans"]
    return Lane(
        model=text(turn["model"]),
        spans=tuple(_drawn(s, int(run["started_ns"]), offset) for s in spans[:SPANS_MAX]),
        left_out=max(len(spans) - SPANS_MAX, 0),
        shares={text(s["name"]): _work(s) for s in profile["nodes"]},
        operators=tuple(_spent(share) for share in profile["operators"]),
        naive_ns=number(turn["naive_ns"]),
        enqueue_ns=number(turn["enqueue_ns"]),
    )


def _spent(share: Mapping[str, Any]) -> Spent:
    return Spent(
        operator=text(share["name"]),
        launches=int(share["launches"]),
        ns=_work(share),
        flops=amount(share["flops"] or 0),
        nbytes=amount(share["nbytes"] or 0),
    )


def _work(share: Mapping[str, Any]) -> float:
    return amount(share["device_ns"]) + amount(share["host_ns"])


def _drawn(span: Mapping[str, Any], started_ns: int, offset_ns: int) -> Drawn:
    on_device = span["clock"] == "device"
    shift = started_ns - (offset_ns if on_device else 0)
    return Drawn(
        title=text(span["title"]),
        kernel=text(span["kernel"]),
        on_device=on_device,
        start_ns=float(int(span["start_ns"]) - shift),
        end_ns=float(int(span["end_ns"]) - shift),
        called_ns=float(int(span["called_ns"]) - started_ns),
        returned_ns=float(int(span["returned_ns"]) - started_ns),
    )


def _faults(data: Mapping[str, Any]) -> dict[str, Any]:
    names = ("name", "level", "verdict", "message")
    return {"faults": tuple(Fault(*(text(f[n]) for n in names)) for f in data["faults"])}


SECTIONS = {
    "verify": _verify,
    "bench": _bench,
    "profile": _profile,
    "selftest": _selftest,
    "faults": _faults,
}
"""What the documents of each command give a report."""
