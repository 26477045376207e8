"""docs/operators.md is what the command writes; its witnesses are what test_witnessed hears."""

import pytest

from properties.devices import runtime, selectors
from properties.operator_table import FILE, opencl, table, witnessed, written

pytestmark = pytest.mark.one_driver


def test_the_table_of_operators_is_what_is_declared_and_measured() -> None:
    device = next(name for name in selectors() if name != "cpu")
    witnesses = {name: written(name) for name in witnessed()}
    assert table(opencl(device, runtime()), witnesses) == FILE.read_text()
