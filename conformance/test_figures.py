"""Numbers and tables for people: nothing that a reader needs is ever cut."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from conformance.figures import count, counted, figures, milliseconds, spread
from conformance.grid import print_grid

pytestmark = pytest.mark.one_driver


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.4159, "1.42"),
        (1.0, "1.00"),
        (0.02987, "0.0299"),
        (9.996, "10.0"),
        (99.96, "100"),
        (2491.4, "2491"),
        (-0.5, "-0.500"),
        (0.0, "0"),
        (4e-5, "0.0000400"),
        (4e-8, "4.00e-08"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_three_figures_of_a_number_are_shown(value: float, text: str) -> None:
    assert figures(value) == text


def test_a_time_is_in_milliseconds_and_a_spread_has_both_ends() -> None:
    assert milliseconds(1_420_000) == "1.42"
    assert spread((1.5, 0.984, 1.02)) == "0.98..1.50"
    assert spread((0.0123, 12.34)) == "0.0123..12.3"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (40, "40"), (999, "999"), (1600, "1.60 k"), (999_999, "1.00 M"), (3.86e9, "3.86 G")],
)
def test_little_work_is_counted_and_not_a_fraction_of_much(number: float, text: str) -> None:
    assert count(number) == text


def printed(width: int, heads: list[str], rows: list[list[str]]) -> list[str]:
    file = StringIO()
    print_grid(Console(file=file, width=width), heads, rows, names=2)
    return [line.rstrip() for line in file.getvalue().splitlines()]


LONG = "Portable Computing Language / pthread-Intel(R) Xeon(R) Processor"
NUMBERS = ["0.0299", "1.42", "2491", "0.98..1.02"]
HEADS = ["device", "at", "min", "p50", "p90", "range"]


@pytest.mark.parametrize("width", [10, 50, 60, 80, 100, 160])
@pytest.mark.parametrize("name", ["cpu", LONG, "[bold]odd[/bold]"])
def test_the_name_gives_way_and_every_number_stays_in_the_first_line_of_its_row(
    width: int, name: str
) -> None:
    lines = printed(width, HEADS, [[name, "normal", *NUMBERS]])
    assert lines[0].split()[-4:] == HEADS[2:]
    assert lines[1].split()[-4:] == NUMBERS
    if width >= 50:
        assert max(map(len, lines)) <= width
    if width == 160:
        assert lines[1].startswith(name)


def test_no_letter_of_a_name_is_lost_in_a_narrow_console() -> None:
    lines = printed(50, HEADS, [[LONG, "low", *NUMBERS]])
    column = "".join(line.partition("  ")[0].partition(" low")[0] for line in lines[1:])
    assert column.replace(" ", "").startswith("PortableComputingLanguage/pthread")
    assert "Processor" in column.replace(" ", "")


def test_one_thing_is_singular() -> None:
    assert [counted(n, "run") for n in (0, 1, 1500)] == ["0 runs", "1 run", "1,500 runs"]
    assert [counted(n, "try", "tries") for n in (1, 2)] == ["1 try", "2 tries"]
