"""The page: one HTML file that loads nothing, at most 2 MB, every value escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

from conformance.figures import count, figures, milliseconds
from engine.errors import ConfigError
from engine.version import VERSION
from parallax.report import charts
from parallax.report.arranged import Arranged

NBYTES_MAX = 2_000_000
ROWS = (500, 100, 25, 5)
"""Rows of a table: as many of these as fit."""
CHARTS = (
    charts.bounds,
    charts.parts,
    charts.roofline,
    charts.sigmas,
    charts.strip,
    charts.swimlane,
)
"""What the template draws with."""
LABEL_MAX = 30
"""Characters left of a track."""


def page(found: Arranged) -> bytes:
    """The HTML of the largest tables that fit.

    Raises:
        ConfigError: jinja2 is not there, or there is too much even with short tables.
    """
    template = _template()
    style, script = _asset("page.css"), _asset("page.js")
    faults = [fault for document in found.documents for fault in document.faults]
    votes = [vote for document in found.documents for vote in document.votes]
    for most in ROWS:
        text: str = template.render(
            page=found,
            faults=faults,
            votes=votes,
            sections=_sections(found, has_faults=bool(faults), has_votes=bool(votes)),
            most=most,
            version=VERSION,
            style=style,
            script=script,
            hashes={"style": _hash(style), "script": _hash(script)},
        )
        html = text.encode()
        if len(html) <= NBYTES_MAX:
            return html
    raise ConfigError(
        f"the report would have {len(html)} bytes, {NBYTES_MAX} at most; give it fewer documents"
    )


def _template() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise ConfigError(
            f"parallax report needs jinja2, which cannot be imported ({error}); "
            'install it: pip install "parallax-engine[report]"'
        ) from error
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        loader=jinja2.FunctionLoader(_source),
    )
    environment.filters.update(at=_at, count=count, figures=figures, ms=_ms, label=_label)
    for chart in CHARTS:
        environment.globals[chart.__name__] = chart
    return environment.get_template("page.html.jinja")


def _source(name: str) -> str:
    return (resources.files("parallax.report") / name).read_text(encoding="utf-8")


def _asset(name: str) -> Any:
    """Style or script of ours, which stands in the page as it is."""
    from markupsafe import Markup

    return Markup(_source(name))


def _hash(text: str) -> str:
    """As a content security policy names it: nothing else may run, whatever a name says."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _sections(found: Arranged, *, has_faults: bool, has_votes: bool) -> list[tuple[str, str]]:
    present = {
        ("runs", "runs"): True,
        ("matrix", "conformance"): bool(found.matrix),
        ("votes", "drivers"): has_votes,
        ("distributions", "errors"): bool(found.checks),
        ("graphs", "models"): bool(found.graphs),
        ("latency", "latency"): bool(found.timed),
        ("time", "time"): bool(found.profiled),
        ("faults", "faults"): has_faults,
    }
    return [section for section, is_there in present.items() if is_there]


def _at(number: float) -> str:
    """A coordinate."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _ms(nanoseconds: float | None) -> str:
    return "" if nanoseconds is None else milliseconds(nanoseconds)


def _label(text: str) -> str:
    return text if len(text) <= LABEL_MAX else f"{text[:12]}…{text[13 - LABEL_MAX :]}"
