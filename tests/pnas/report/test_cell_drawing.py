"""Drawings of cells."""

import pytest

from pnas.report import cell_drawing


@pytest.mark.parametrize("columns", range(1, 9))
def test_lines_from_inputs_never_cross_operations(columns):
    for number in range(1, 2 * columns + 1):
        places = cell_drawing._spread(number, columns)
        assert len(set(places)) == number and places == sorted(places)
        assert all(0 <= place <= columns and (2 * place).is_integer() for place in places)
        assert places == [columns - place for place in reversed(places)]
