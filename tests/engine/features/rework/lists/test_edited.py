"""Two versions of a message beside each other."""

from collections import Counter

import pytest

from engine.features.rework.lists.edited import MOST_COMPARED, MOST_SHOWN, Line, lines_changed, whose_changed

ASTM = b"H|\\^&|||XN\rP|1||7|9||SHARMA^ANITA\rO|1|S1^2||^^^HGB|R\rR|1|^^^HGB|14\rL|1|N\r"
HL7 = b"MSH|^~\\&|XN|LAB|||1||ORU^R01|C1|P|2.5\rPID|1||7^^^H||SHARMA\rOBR|1|O1|F1|CBC\rOBX|1|NM|HGB||14\r"


def test_only_changed_lines_and_their_neighbours_are_shown() -> None:
    old = "".join(f"line {n}\n" for n in range(20))
    assert lines_changed(old, old) == []
    assert lines_changed(old, old.replace("line 9\n", "lime 9\n")) == [
        Line("…"),
        Line(" ", ("line 7", "", "")),
        Line(" ", ("line 8", "", "")),
        Line("-", ("li", "n", "e 9")),
        Line("+", ("li", "m", "e 9")),
        Line(" ", ("line 10", "", "")),
        Line(" ", ("line 11", "", "")),
    ]
    signs = [
        one.sign for one in lines_changed(old, old.replace("line 3\n", "").replace("line 15\n", "line 15\nmore\n"))
    ]
    assert signs == ["…", " ", " ", "-", " ", " ", "…", " ", " ", "+", " ", " "]


def test_a_changed_line_is_beside_the_one_before() -> None:
    assert [(one.sign, "".join(one.parts)) for one in lines_changed("a1\nb1\n", "a2\nb2\n")] == [
        ("-", "a1"),
        ("+", "a2"),
        ("-", "b1"),
        ("+", "b2"),
    ]
    assert [one.sign for one in lines_changed("a\nb\n", "c\n")] == ["-", "-", "+"]


def test_a_space_at_the_end_is_a_change() -> None:
    assert lines_changed("a\n", "a \n") == [Line("-", ("a", "", "")), Line("+", ("a", " ", ""))]


@pytest.mark.parametrize("count", [MOST_COMPARED // 2, MOST_COMPARED + 1, 100_000])
def test_of_many_changed_lines_the_first_are_shown(count: int) -> None:
    found = lines_changed("a\n" * count, "b\n" * count)
    assert len(found) == min(2 * count, 2 * MOST_SHOWN + 1)
    assert sum(one.cut for one in found) == max(2 * count - 2 * MOST_SHOWN, 0)
    found = lines_changed("same\n" * count, "same\n" * count + "more\n")
    assert [one.sign for one in found] == ["…", " ", " ", "+"]


@pytest.mark.parametrize(("gone", "come"), [(2000, 3), (2000, 1500), (3, 2000), (1000, 1)])
def test_a_long_change_shows_both_parts_and_says_that_it_is_cut(gone: int, come: int) -> None:
    found = lines_changed("".join(f"{n} old\n" for n in range(gone)), "".join(f"{n} new\n" for n in range(come)))
    signs = Counter(one.sign for one in found)
    assert (signs["-"], signs["+"]) == (min(gone, MOST_SHOWN), min(come, MOST_SHOWN))
    cuts = [one.cut for one in found if one.cut]
    assert cuts == [count - MOST_SHOWN for count in (gone, come) if count > MOST_SHOWN]


# what is replaced by what, and the fields that this changes
WHOSE = [
    (HL7, b"7^^^H", b"8^^^H", [("PID[1]-3", "7^^^H", "8^^^H", True)]),
    (HL7, b"SHARMA", b"", [("PID[1]-5", "SHARMA", "", True)]),
    (HL7, b"SHARMA", b"M\xfcLLER", [("PID[1]-5", "SHARMA", "MüLLER", True)]),
    (HL7, b"|O1|", b"|O2|", [("OBR[1]-2", "O1", "O2", False)]),
    (HL7, b"PID|1|", b"PID|2|", []),
    (HL7, b"|14", b"|15", []),
    (HL7, b"PID|1||7^^^H||SHARMA\r", b"", [("PID[1]-3", "7^^^H", "", True), ("PID[1]-5", "SHARMA", "", True)]),
    (ASTM, b"P|1||7|9|", b"P|1||8|9|", [("P[1]-4", "7", "8", True)]),
    (ASTM, b"SHARMA", b"VERMA", [("P[1]-7", "SHARMA^ANITA", "VERMA^ANITA", True)]),
    (ASTM, b"S1^2", b"S2^2", [("O[1]-3", "S1^2", "S2^2", False)]),
    (ASTM, b"|14", b"|15", []),
    (ASTM, b"\rP|1", b"\rP|2", []),
]


@pytest.mark.parametrize(("payload", "old", "new", "fields"), WHOSE)
def test_fields_that_say_whose_it_is(
    payload: bytes, old: bytes, new: bytes, fields: list[tuple[str, str, str, bool]]
) -> None:
    assert old in payload
    assert whose_changed(payload, payload.replace(old, new), "latin-1") == fields


def test_of_another_format_it_is_not_known() -> None:
    assert whose_changed(b'{"patient": 1}', b'{"patient": 2}', "utf-8") is None
