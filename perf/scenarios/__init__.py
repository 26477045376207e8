"""Scenarios: what sharing a device does to latency, each as one function of a `Tenancy`.

Every scenario runs the user's own models, several at once, on one runtime. It gives an `Outcome`:
times, figures, the invariants that were broken, and the records of one window.
"""

from perf.scenarios.catalogue import SCENARIOS, Scenario, play
from perf.scenarios.outcome import Figure, Memory, Outcome
from perf.scenarios.tenants import Model, Tenancy, Tenant, open_tenancy

__all__ = [
    "SCENARIOS",
    "Figure",
    "Memory",
    "Model",
    "Outcome",
    "Scenario",
    "Tenancy",
    "Tenant",
    "open_tenancy",
    "play",
]
