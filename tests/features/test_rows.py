"""No row of the feature table is without a test, and what the rows refer to exists."""

import ast
from pathlib import Path

from tests.features.rows import HARNESS, HERE, LATER, ROWS

HERE_FOLDER = Path(__file__).parent
ROOT = HERE_FOLDER.parents[1]


def marked() -> dict[str, list[int]]:
    """The row numbers of every test of this folder."""
    found = {}
    for path in sorted(HERE_FOLDER.glob("test_*.py")):
        for item in ast.parse(path.read_text()).body:
            if isinstance(item, ast.FunctionDef):
                numbers = [
                    argument.value
                    for call in item.decorator_list
                    if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "row"
                    for argument in call.args
                    if isinstance(argument, ast.Constant)
                ]
                found[f"{path.name}::{item.name}"] = numbers
    return found


def test_the_table_has_sixty_one_rows_and_says_what_later_rows_lack():
    assert list(ROWS) == list(range(1, 62))
    for number, row in ROWS.items():
        assert row.state in (HERE, LATER, HARNESS), number
        assert row.state != LATER or row.lacks, number
        assert (row.state == HARNESS) == bool(row.covered_by), number


def test_every_row_has_a_test():
    tested = {number for numbers in marked().values() for number in numbers}
    missing = {number: ROWS[number].title for number in ROWS if number not in tested}
    assert not missing
    assert tested <= set(ROWS)


def test_what_covers_a_row_elsewhere_exists():
    for number, row in ROWS.items():
        if row.covered_by:
            path, _, name = row.covered_by.partition("::")
            assert f"def {name or 'test_'}" in (ROOT / path).read_text(), number
