"""Hypothesis profiles, devices in the header, refusals in the summary."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from engine.errors import DeviceError
from properties import devices
from properties.evidence import FOLDER
from properties.shared_examples import shared_database
from properties.single import REFUSALS, RUNS
from properties.witnessed import COUNTS

HEAVY = [HealthCheck.too_slow, HealthCheck.data_too_large]
SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
_shared = {"deadline": None, "suppress_health_check": HEAVY, "report_multiple_bugs": False}

settings.register_profile(
    "ci", derandomize=True, database=None, max_examples=20, phases=SHRINKING, **_shared
)
settings.register_profile("second_driver", settings.get_profile("ci"), max_examples=10)
settings.register_profile("dev", max_examples=25, **_shared)
settings.register_profile(
    "nightly",
    max_examples=300,
    phases=SHRINKING,
    database=shared_database(Path(".hypothesis/nightly")),
    **_shared,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure that has evidence becomes a bundle, where a folder is named for that."""
    report = yield
    evidence = getattr(call.excinfo.value, "evidence", None) if call.excinfo else None
    if evidence is not None and FOLDER in os.environ:
        said = evidence.keep(Path(os.environ[FOLDER]), item.nodeid)
        report.sections.append(("reproduction bundle", said))
    return report


def pytest_report_header() -> list[str]:
    profile = f"hypothesis profile: {os.environ.get('HYPOTHESIS_PROFILE', 'ci')}"
    try:
        return [*devices.report(), profile]
    except DeviceError as error:
        return [f"devices: {error}", profile]


def pytest_terminal_summary(terminalreporter) -> None:
    if RUNS:
        counts = ", ".join(f"{name} {n:,}" for name, n in RUNS.items())
        terminalreporter.write_line(f"calls executed and judged: {counts}")
    if COUNTS:
        counts = ", ".join(f"{n:,} {verdict}" for verdict, n in COUNTS.most_common())
        terminalreporter.write_line(f"features beside other engines: {counts}")
    grouped: dict[tuple[str, str], list[str]] = {}
    for (op_type, backend, reason), count in sorted(REFUSALS.items()):
        grouped.setdefault((backend, reason), []).append(f"{op_type} {count}")
    for (backend, reason), operators in grouped.items():
        terminalreporter.write_line(f"refused by {backend}: {reason}: {', '.join(operators)}")
