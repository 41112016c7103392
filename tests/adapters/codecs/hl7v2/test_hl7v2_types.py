"""What is shown of MSH-9 is a code: never a name that a sender has put there."""

import pytest

from adapters.codecs.hl7v2 import message as hl7v2
from adapters.codecs.hl7v2.header import event_code, header, structure_code, type_code
from engine.mapping.functions.systems import codes_of
from engine.model.message import FormatOptions

NAMES = ("SHARMA", "ANITA", "RAM", "LAL", "ANI", "SHARMA ANITA", "4711", "RAM_LAL", "ORU_LAL", "")


def message(msh9: str) -> bytes:
    return rf"MSH|^~\&|AN|LAB|LIS|H|20260301||{msh9}|1|P|2.5.1".encode() + b"\rPID|1||4711\r"


def test_every_code_of_the_tables_is_known() -> None:
    for table, known in (("v2-0076", type_code), ("v2-0003", event_code)):
        codes = [code for code in codes_of(table) or () if code != "Varies"]
        assert codes
        assert [code for code in codes if known(code) != code] == []


@pytest.mark.parametrize("code", ["ZRU", "Z99", "ZX1"])
def test_local_types_are_known(code: str) -> None:
    assert type_code(code) == code


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_code(name: str) -> None:
    assert (type_code(name), event_code(name), structure_code(name)) == ("", "", "")


@pytest.mark.parametrize(
    ("msh9", "shown", "structure"),
    [
        ("ORU^R01^ORU_R01", "ORU^R01", "ORU_R01"),
        ("ORU^R01^SHARMA", "ORU^R01", "ORU_R01"),
        ("ADT^RAM^SHARMA ANITA", "ADT", "ADT"),
        ("RAM^LAL^ANI", "", ""),
        ("ORG^O20^SHARMA", "ORG^O20", "ORG_O20"),
        ("ZRU^Z01", "ZRU^Z01", "ZRU_Z01"),
    ],
)
def test_nothing_else_of_msh_9_is_shown(msh9: str, shown: str, structure: str) -> None:
    parsed = hl7v2.parse(message(msh9), FormatOptions())
    assert (header(message(msh9)).message_type, parsed.message_type, parsed.structure) == (shown, shown, structure)
