"""Rows of cells: what is clear, what a person has to say, and what is no header."""

import pytest

from engine.diagnostics.lines.rows import Meant, decimal_of, problems, rows_in


@pytest.mark.parametrize(
    ("values", "sign"),
    [
        (["13.4", "5"], "."),
        (["13,4", "5"], ","),
        (["5", "neg"], "."),
        (["0,123"], ","),
        (["<1,5"], ","),
        (["1,234", "5,6"], ","),
        (["1,234"], ""),
        (["1.234", "250.000"], ""),
        (["1,234,567"], ""),
        (["1,234.5"], ""),
        (["1,2", "1.2"], ""),
        (["12,15,18,9"], ""),
        (["1,25-OH", "5"], "."),
    ],
)
def test_a_sign_that_may_be_of_thousands_is_not_clear(values: list[str], sign: str) -> None:
    assert decimal_of(values) == sign


@pytest.mark.parametrize(
    "first",
    ["S-17;Asha Rao;HIV;neg", "S-17;4711;HIV;neg;2026-11-27 10:15:00", "S-17;Asha Rao;Test;neg"],
)
def test_a_first_row_with_a_patient_is_no_header(first: str) -> None:
    cells = first.split(";")
    rows = rows_in([f"{first}\r\n{';'.join(['9' * len(cells[0]), *cells[1:3], '1.5', *cells[4:]])}\r\n".encode()])
    assert rows is not None
    assert rows.columns == tuple(str(at) for at in range(1, len(cells) + 1))
    assert len(rows.cells) == 2


@pytest.mark.parametrize("head", ["Probennummer;Verfahren;Ergebnis", "Sample ID;Test;T3 unit;Result 1"])
def test_a_header_names_columns(head: str) -> None:
    rows = rows_in([f"{head}\r\n{';'.join(['7'] * len(head.split(';')))}\r\n".encode()])
    assert rows is not None
    assert rows.columns == tuple(head.split(";"))


def test_a_name_of_a_column_that_a_layout_cannot_have_is_told() -> None:
    for name in ("a{b", 'a"b', "a\\b", "a\u0085b", "a\u2028b"):
        rows = rows_in([f"Sample;Test;Result;{name}\n1;2;3;4\n".replace('"', '""').encode()])
        if rows is not None:
            meant = Meant(columns={"specimen": "Sample", "test": "Test", "value": "Result"})
            assert [one for one in problems(rows, meant) if "a sign that a layout cannot have" in one], name
